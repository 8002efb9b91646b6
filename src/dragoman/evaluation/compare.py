"""Is one system better than another? Per direction and over all, with both of sacreBLEU's tests. No torch.

Every other run is compared with the first. All must hold the same utterances, targets and references: a system is
not better for having left out what is hard. Sentences stand in the order of their ids, not of the files, so that
neither the order of rows nor that of the systems changes a p-value.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from statistics import fmean
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from dragoman.errors import DataError
from dragoman.evaluation.metrics import METRICS, Side, choose
from dragoman.evaluation.runs import Run
from dragoman.evaluation.score import ALL, say_forms, with_speech
from dragoman.evaluation.significance import (
    ALPHA,
    DECOMPOSED,
    Differences,
    PairedCounts,
    counts,
    differences,
    lower_is_better,
    signatures,
    value,
)
from dragoman.parallel import counted, in_order, single_threaded
from dragoman.records import Hypothesis
from dragoman.text.languages import Language, find
from dragoman.text.scripts import with_script

Verdict = Literal["better", "worse", "equal"]
_Rows = dict[tuple[str, str], Hypothesis]  # by utterance id and target, in this order
_log = logging.getLogger(__name__)


class Comparison(BaseModel):
    """One metric on one direction: `system` against `baseline`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    system: str
    baseline: str
    metric: str
    direction: str
    """As in a Score: `eng-deu`, `eng` for transcripts, `all` for the mean over directions."""
    count: int
    value: float
    baseline_value: float
    verdict: Verdict
    """Of the values alone, however small their difference."""
    p_bootstrap: float
    p_randomisation: float
    signature: str

    @property
    def significant(self) -> bool:
        """By both tests."""
        return max(self.p_bootstrap, self.p_randomisation) < ALPHA


@dataclass(frozen=True)
class Tally:
    """In how many directions a system is better, worse or equal by one metric, and how often significantly."""

    system: str
    baseline: str
    metric: str
    directions: int
    better: int
    better_significantly: int
    worse: int
    worse_significantly: int
    equal: int


class _Sentence(NamedTuple):
    utterance: str
    reference: str
    baseline: str
    system: str


@dataclass(frozen=True)
class _SignificanceJob:
    """One test; it is sent to another process."""

    metric: str
    direction: str
    sentences: tuple[_Sentence, ...]
    utterances: tuple[int, ...]
    """Which of its source language's utterances the sentences are."""
    num_utterances: int

    @property
    def language(self) -> Language:
        return _language(self.direction, self.sentences)


class _TestResult(NamedTuple):
    baseline: float
    system: float
    p_values: dict[str, float]
    shared: Differences
    """When all directions of the source language are drawn alike."""


def compare(
    runs: Sequence[Run],
    metrics: Sequence[str] = (),
    workers: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Comparison]:
    """Each run against the first, by each metric: its directions, then their mean.

    Args:
        runs: The baseline first; all of the same utterances, targets and references.
        metrics: By name; by default those of DECOMPOSED that are scored by default.
        workers: Processes that share the tests.
        on_progress: Called with (tests done, total).

    Raises:
        DataError: There are fewer than two runs, one has another utterance, target or reference than the first, a
            reference is missing, or a metric cannot be tested.
    """
    names = _testable(metrics)
    if len(runs) < 2:
        raise DataError("There is one run and nothing to compare it with; name two or more.")
    others = runs[1:]
    if len({run.name for run in others}) < len(others):
        raise DataError("A run is named twice; name each run that is compared with the first once.")
    first = _by_key(runs[0])
    for run in runs:
        say_forms(run.hypotheses)
    planned = [_jobs(names, runs[0], first, run) for run in others]
    if not all(planned):
        raise DataError("There is nothing to compare: the runs hold neither translations nor transcripts of both.")
    every = [job for jobs in planned for job in jobs]
    tested = counted(in_order(_test, every, min(workers, len(every)), start=single_threaded), len(every), on_progress)
    found: list[Comparison] = []
    for run, jobs in zip(others, planned, strict=True):
        for metric in dict.fromkeys(job.metric for job in jobs):
            chosen = [job for job in jobs if job.metric == metric]
            found += _compared(run.name, runs[0].name, chosen, islice(tested, len(chosen)))
    return found


def tallies(comparisons: Iterable[Comparison]) -> list[Tally]:
    """Wins, losses and ties over the directions, for each system and metric."""
    groups: dict[tuple[str, str, str], list[Comparison]] = defaultdict(list)
    for one in comparisons:
        if one.direction != ALL:
            groups[one.system, one.baseline, one.metric].append(one)
    return [_tally(key, group) for key, group in groups.items()]


def to_json(runs: Sequence[Run], comparisons: Sequence[Comparison]) -> str:
    """Everything, in full precision, with the signatures of metrics and tests."""
    whole = {
        "tests": signatures(),
        "runs": [_described(run) for run in runs],
        "tallies": [asdict(tally) for tally in tallies(comparisons)],
        "comparisons": [{**one.model_dump(), "significant": one.significant} for one in comparisons],
    }
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


def _testable(metrics: Sequence[str]) -> list[str]:
    chosen = list(choose(metrics))
    unfit = [name for name in chosen if name not in DECOMPOSED]
    if metrics and unfit:
        raise DataError(
            f"{unfit[0]} cannot be tested: it is not a function of sums over sentences; use {', '.join(DECOMPOSED)}."
        )
    return [name for name in chosen if name in DECOMPOSED]


def _described(run: Run) -> dict[str, Any]:
    stats = run.stats and {**run.stats.model_dump(), "hypotheses_per_second": run.stats.speed}
    return {"name": run.name, "hypotheses": len(run.hypotheses), "account": stats}


def _by_key(run: Run) -> _Rows:
    keyed = {(row.id, row.target): row for row in run.hypotheses}
    if not keyed:
        raise DataError(f"{run.name}: there are no hypotheses to compare; generate some first.")
    if len(keyed) < len(run.hypotheses):
        ((id, target), times), *_ = Counter((row.id, row.target) for row in run.hypotheses).most_common(1)
        raise DataError(f"{run.name}: utterance {id!r} has {times} hypotheses in {target}; leave one.")
    return {key: keyed[key] for key in sorted(keyed)}


def _check_same(baseline: Run, ours: _Rows, other: Run, theirs: _Rows) -> None:
    if unlike := sorted(ours.keys() ^ theirs.keys()):
        id, target = unlike[0]
        has, lacks = (baseline, other) if unlike[0] in ours else (other, baseline)
        raise DataError(
            f"{lacks.name} has no hypothesis for utterance {id!r} in {target}, but {has.name} has"
            f" ({len(lacks.hypotheses)} hypotheses against {len(has.hypotheses)}, {len(unlike)} in only one of them);"
            " evaluate both on the same manifest and targets."
        )
    for (id, target), row in ours.items():
        for field in ("source", "reference", "reference_transcript"):
            if getattr(row, field) != getattr(theirs[id, target], field):
                raise DataError(
                    f"Utterance {id!r} in {target} has one {field.replace('_', ' ')} in {baseline.name} and another in"
                    f" {other.name}; evaluate both on the same manifest."
                )


def _jobs(metrics: Sequence[str], baseline: Run, ours: _Rows, other: Run) -> list[_SignificanceJob]:
    """Every metric for every direction it suits, in the order in which `score` lists them."""
    theirs = _by_key(other)
    _check_same(baseline, ours, other, theirs)
    sides: dict[Side, dict[str, list[_Sentence]]] = {
        "transcript": _transcripts(baseline, other),
        "translation": _translations(ours, theirs),
    }
    numbers = {side: _numbers(directions) for side, directions in sides.items()}
    return [
        _job(name, direction, sentences, numbers[METRICS[name].side][direction.split("-")[0]])
        for name in metrics
        for direction, sentences in sorted(sides[METRICS[name].side].items())
        if METRICS[name].suits(_language(direction, sentences))
    ]


def _language(direction: str, sentences: Sequence[_Sentence]) -> Language:
    """That of the texts, as the references are written."""
    return with_script(find(direction.split("-")[-1]), (sentence.reference for sentence in sentences))


def _translations(ours: _Rows, theirs: _Rows) -> dict[str, list[_Sentence]]:
    found: dict[str, list[_Sentence]] = defaultdict(list)
    for key, row in ours.items():
        if row.target != row.source:
            reference = _required(row.reference, row, "translation")
            sentence = _Sentence(row.id, reference, row.translation, theirs[key].translation)
            found[f"{row.source}-{row.target}"].append(sentence)
    return with_speech(found)


def _transcripts(baseline: Run, other: Run) -> dict[str, list[_Sentence]]:
    """One per utterance, that of its first row as in `score`; none when a system writes none, which is said."""
    if not any(row.reference_transcript for row in baseline.hypotheses):
        return {}
    silent = [run.name for run in (baseline, other) if not any(row.transcript for row in run.hypotheses)]
    if silent:
        if len(silent) == 1:
            _log.warning("transcripts are not compared: %s has none.", silent[0])
        return {}
    ours, theirs = ({row.id: row for row in reversed(run.hypotheses)} for run in (baseline, other))
    found: dict[str, list[_Sentence]] = defaultdict(list)
    for id in sorted(ours):
        reference = _required(ours[id].reference_transcript, ours[id], "transcript")
        found[ours[id].source].append(_Sentence(id, reference, ours[id].transcript, theirs[id].transcript))
    return with_speech(found)


def _required(reference: str | None, row: Hypothesis, side: Side) -> str:
    if reference is None:
        raise DataError(
            f"Hypothesis {row.id!r} in {row.target} has no reference {side}; generate it again from a manifest that"
            " has one, or leave it out of every run."
        )
    return reference


def _numbers(directions: dict[str, list[_Sentence]]) -> dict[str, dict[str, int]]:
    """Source language -> utterance -> its number among those of the language, in the order of the ids."""
    ids: dict[str, set[str]] = defaultdict(set)
    for direction, sentences in directions.items():
        ids[direction.split("-")[0]].update(sentence.utterance for sentence in sentences)
    return {source: {id: number for number, id in enumerate(sorted(found))} for source, found in ids.items()}


def _job(metric: str, direction: str, sentences: list[_Sentence], numbers: dict[str, int]) -> _SignificanceJob:
    return _SignificanceJob(
        metric, direction, tuple(sentences), tuple(numbers[s.utterance] for s in sentences), len(numbers)
    )


def _test(job: _SignificanceJob) -> _TestResult:
    metric = DECOMPOSED[job.metric](job.language)
    references = [sentence.reference for sentence in job.sentences]
    baseline = counts(metric, [sentence.baseline for sentence in job.sentences], references)
    system = counts(metric, [sentence.system for sentence in job.sentences], references)
    own, shared = differences(PairedCounts(metric, baseline, system, np.array(job.utterances), job.num_utterances))
    return _TestResult(value(metric, baseline), value(metric, system), own.p_values(), shared)


def _compared(
    system: str, baseline: str, jobs: Sequence[_SignificanceJob], tested: Iterator[_TestResult]
) -> list[Comparison]:
    """The directions of one metric, and their mean, each direction counting once."""
    rows: list[Comparison] = []
    sums: Differences | None = None
    for job, result in zip(jobs, tested, strict=True):
        sums = result.shared if sums is None else sums + result.shared
        signature = METRICS[job.metric](job.language).signature
        names = (system, baseline, job.metric, job.direction)
        values = (result.baseline, result.system)
        rows.append(_row(names, len(job.sentences), values, result.p_values, signature))
    assert sums is not None
    means = (fmean(row.baseline_value for row in rows), fmean(row.value for row in rows))
    names, count = (system, baseline, jobs[0].metric, ALL), sum(row.count for row in rows)
    whole = f"mean:{len(rows)}|" + " + ".join(sorted({row.signature for row in rows}))
    return [*rows, _row(names, count, means, (sums / len(rows)).p_values(), whole)]


def _row(
    names: tuple[str, str, str, str],
    count: int,
    values: tuple[float, float],
    p_values: dict[str, float],
    signature: str,
) -> Comparison:
    system, baseline, metric, direction = names
    return Comparison(
        system=system,
        baseline=baseline,
        metric=metric,
        direction=direction,
        count=count,
        baseline_value=values[0],
        value=values[1],
        verdict=_verdict(metric, *values),
        p_bootstrap=p_values["bootstrap"],
        p_randomisation=p_values["randomisation"],
        signature=signature,
    )


def _verdict(metric: str, baseline: float, system: float) -> Verdict:
    if baseline == system:
        return "equal"
    return "better" if (system < baseline) == lower_is_better(metric) else "worse"


def _tally(key: tuple[str, str, str], group: Sequence[Comparison]) -> Tally:
    seen = Counter(one.verdict for one in group)
    significant = Counter(one.verdict for one in group if one.significant)
    return Tally(
        *key,
        directions=len(group),
        better=seen["better"],
        better_significantly=significant["better"],
        worse=seen["worse"],
        worse_significantly=significant["worse"],
        equal=seen["equal"],
    )
