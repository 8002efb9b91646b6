"""Hypotheses in, scores out. No torch, and no downloads unless a metric is chosen that needs one.

No hypothesis is left out: an empty one is scored as empty, one without a reference is an error. Where the reference is
empty, because nothing is said, what is written is inserted; where all of a direction are, there is nothing to score it
by, and what was written is counted as `hallucinated`. Transcripts are scored per source language and once per
utterance, however many targets it was translated into.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol, TypeVar
from unicodedata import is_normalized

from rich.table import Table

from dragoman.errors import DataError
from dragoman.evaluation.metrics import METRICS, Metric, Score, ScoringPair, Side, choose
from dragoman.parallel import counted, in_order, single_threaded
from dragoman.records import Hypothesis
from dragoman.text.languages import Language, find
from dragoman.text.scripts import with_script

ALL = "all"
"""The direction of a summary: the mean over directions of a metric, the sum of a count."""

COUNTED = "count"
"""The signature of a number that was counted."""

_WORTH_STARTING = 10_000
"""Rows; fewer are scored in the seconds that processes take to start."""

Counts = Mapping[str, Callable[[Hypothesis], bool | None]]
"""What is counted beside the metrics, by name; None: there is nothing to ask of such a hypothesis."""

_Groups = dict[str, list[ScoringPair]]  # by direction, in the order of the file
_log = logging.getLogger(__name__)


class _Referenced(Protocol):
    @property
    def reference(self) -> str: ...


Referenced = TypeVar("Referenced", bound=_Referenced)


def score(
    hypotheses: Iterable[Hypothesis],
    metrics: Mapping[str, type[Metric]] | None = None,
    counts: Counts | None = None,
    workers: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Score]:
    """Every metric for every direction it suits, its mean, then how many outputs are empty, truncated, hallucinated.

    The metrics of transcripts are left out when no hypothesis at all has a transcript (a system that only
    translates) or none has a reference transcript. A hypothesis whose target is its source is a transcript
    only. The mean is over directions, each counting once, whatever its size. Texts in another Unicode form than their
    references are scored as they are, which is said.

    Args:
        hypotheses: One row for each utterance and target, with its references.
        metrics: By name; those that `choose` gives by default. They need not be of METRICS.
        counts: What is counted beside them; COUNTS by default.
        workers: Processes that share the directions, when there are rows enough to be worth their start.
        on_progress: Called with (scores done, total).

    Raises:
        DataError: A pair of utterance and target comes twice, a reference is missing, or the hypotheses of one
            utterance disagree on its language or reference transcript; the message names the utterance.
    """
    rows = list(hypotheses)
    if not rows:
        raise DataError("There are no hypotheses to score; generate some first.")
    _check_unique(rows)
    say_forms(rows)
    groups: dict[Side, _Groups] = {"transcript": _transcripts(rows), "translation": _translations(rows)}
    chosen = choose() if metrics is None else metrics
    planned = [_by_direction(name, metric, groups[metric.side]) for name, metric in chosen.items()]
    workers = workers if len(rows) >= _WORTH_STARTING else 1
    # a metric that is not in METRICS may hold a model: it is counted here
    shared = [job for jobs in planned for job in sorted(jobs, key=_target) if job.kind in METRICS.values()]
    results = counted(in_order(run, shared, min(workers, len(shared)), start=single_threaded), len(shared), on_progress)
    scored = dict(zip(map(id, shared), results, strict=True))
    scores = [score for jobs in planned for score in _with_mean([scored.get(id(job)) or run(job) for job in jobs])]
    return scores + _counts(rows, COUNTS if counts is None else counts)


@dataclass(frozen=True, slots=True)
class ScoringJob:
    """A metric and one direction's pairs: what is scored by itself, here or in another process."""

    name: str
    kind: type[Metric]
    direction: str
    pairs: list[ScoringPair]


def run(job: ScoringJob) -> Score:
    """The score of one direction."""
    metric = job.kind(_language(job.direction, job.pairs))
    return _row(job.name, job.direction, metric.score(job.pairs), len(job.pairs), metric.signature)


def table(scores: Sequence[Score]) -> Table:
    """One row per direction, one column per metric, the summary last, the signatures underneath.

    A direction also shows the error rate of its source language.
    """
    metrics = list(dict.fromkeys(score.metric for score in scores))
    cells = {(score.metric, score.direction): score for score in scores}
    signatures = dict.fromkeys(s.signature for s in scores if s.direction != ALL and s.signature != COUNTED)
    grid = Table("direction", caption="\n".join(signatures), caption_justify="left")
    for metric in metrics:
        grid.add_column(metric, justify="right")
    for direction in _directions(scores):
        if direction == ALL:
            grid.add_section()
        found = (cells.get((m, direction)) or cells.get((m, direction.split("-")[0])) for m in metrics)
        grid.add_row(direction, *map(_shown, found))
    return grid


def to_json(scores: Sequence[Score]) -> str:
    """The scores as a JSON list, with full precision and signatures."""
    return json.dumps([score.model_dump() for score in scores], ensure_ascii=False, indent=1) + "\n"


def _check_unique(rows: Sequence[Hypothesis]) -> None:
    seen: set[tuple[str, str]] = set()
    for row in rows:
        if (row.id, row.target) in seen:
            raise DataError(f"Utterance {row.id!r} has two hypotheses in {row.target}; remove one.")
        seen.add((row.id, row.target))


def _transcripts(rows: Sequence[Hypothesis]) -> _Groups:
    first: dict[str, Hypothesis] = {}
    for row in rows:
        other = first.setdefault(row.id, row)
        if (row.source, row.reference_transcript) != (other.source, other.reference_transcript):
            raise DataError(f"The rows of utterance {row.id!r} differ in source or reference transcript; fix them.")
    unique = list(first.values())
    if not any(row.transcript for row in unique) or not any(row.reference_transcript for row in unique):
        return {}
    groups: _Groups = defaultdict(list)
    for row in unique:
        reference = _required(row.reference_transcript, row, "transcript")
        groups[row.source].append(ScoringPair(row.transcript, reference))
    return with_speech(groups)


def _translations(rows: Sequence[Hypothesis]) -> _Groups:
    groups: _Groups = defaultdict(list)
    for row in rows:
        if row.target != row.source:
            reference = _required(row.reference, row, "translation")
            groups[_direction(row)].append(ScoringPair(row.translation, reference, row.reference_transcript or ""))
    return with_speech(groups)


def with_speech(groups: Mapping[str, list[Referenced]]) -> dict[str, list[Referenced]]:
    """The directions in which there is anything to be right about: some reference is not empty."""
    return {direction: rows for direction, rows in groups.items() if any(row.reference.strip() for row in rows)}


def say_forms(rows: Iterable[Hypothesis]) -> None:
    """Warn of texts whose letters and accents are composed where those of the reference are not, or the reverse: they
    look the same, and most metrics take them for others."""
    unlike = Counter(
        _direction(row)
        for row in rows
        if any(
            reference and {_form(text), _form(reference)} == {"NFC", "NFD"}
            for text, reference in ((row.translation, row.reference), (row.transcript, row.reference_transcript))
        )
    )
    for direction, count in unlike.items():
        _log.warning(
            "%s: %d texts are in another Unicode form (NFC, NFD) than their references, and are scored as they are;"
            " bring both into NFC to compare letters.",
            direction,
            count,
        )


def _form(text: str) -> str:
    """NFC or NFD where a text is in just one of them."""
    forms = [form for form in ("NFC", "NFD") if is_normalized(form, text)]
    return forms[0] if len(forms) == 1 else ""


def _required(reference: str | None, row: Hypothesis, side: Side) -> str:
    if reference is None:
        raise DataError(
            f"Hypothesis {row.id!r} ({_direction(row)}) has no reference {side}; give it one, or take the row out."
        )
    return reference


def _by_direction(name: str, kind: type[Metric], groups: _Groups) -> list[ScoringJob]:
    found = sorted(groups.items())
    return [
        ScoringJob(name, kind, direction, pairs)
        for direction, pairs in found
        if kind.suits(_language(direction, pairs))
    ]


def _language(direction: str, pairs: Sequence[ScoringPair]) -> Language:
    """That of the texts, as the references are written: the target of a translation, the source of a transcript."""
    return with_script(find(direction.split("-")[-1]), (pair.reference for pair in pairs))


def _target(job: ScoringJob) -> str:
    """What runs side by side, because metrics keep the n-grams of references that they have just seen."""
    return job.direction.split("-")[-1]


def _with_mean(scores: list[Score]) -> list[Score]:
    if not scores:
        return []
    signatures = " + ".join(sorted({score.signature for score in scores}))
    count = sum(score.count for score in scores)
    mean = fmean(score.value for score in scores)
    return [*scores, _row(scores[0].metric, ALL, mean, count, f"mean:{len(scores)}|{signatures}")]


def _counts(rows: Sequence[Hypothesis], counts: Counts) -> list[Score]:
    groups: dict[str, list[Hypothesis]] = defaultdict(list)
    for row in rows:
        groups[_direction(row)].append(row)
    asked = [
        (name, direction, [held for held in map(holds, group) if held is not None])
        for name, holds in counts.items()
        for direction, group in [*sorted(groups.items()), (ALL, list(rows))]
    ]
    return [_row(name, direction, sum(held), len(held), COUNTED) for name, direction, held in asked if held]


def _is_empty(row: Hypothesis) -> bool | None:
    return None if _is_speechless(row) else not _written(row)


def _is_truncated(row: Hypothesis) -> bool:
    return row.truncated


def _is_hallucinated(row: Hypothesis) -> bool | None:
    return bool(_written(row)) if _is_speechless(row) else None


def _is_speechless(row: Hypothesis) -> bool:
    reference = row.reference_transcript if row.target == row.source else row.reference
    return reference is not None and not reference.strip()


def _written(row: Hypothesis) -> str:
    return (row.transcript if row.target == row.source else row.translation).strip()


COUNTS: Counts = {"empty": _is_empty, "truncated": _is_truncated, "hallucinated": _is_hallucinated}
"""`hallucinated`: something is written where nothing is said, and its count is of such utterances."""


def _direction(row: Hypothesis) -> str:
    return row.source if row.target == row.source else f"{row.source}-{row.target}"


def _row(metric: str, direction: str, value: float, count: int, signature: str) -> Score:
    return Score(metric=metric, direction=direction, value=float(value), count=count, signature=signature)


def _directions(scores: Sequence[Score]) -> list[str]:
    """Every direction once; a source language alone only when nothing was translated from it."""
    names = dict.fromkeys(score.direction for score in scores if score.direction != ALL)
    sources = {name.split("-")[0] for name in names if "-" in name}
    return [*sorted(name for name in names if name not in sources), ALL]


def _shown(score: Score | None) -> str:
    if score is None:
        return ""
    if score.signature != COUNTED:
        return f"{score.value:.2f}"
    return f"{score.value:.0f}" + (f" of {score.count}" if score.metric == "hallucinated" else "")
