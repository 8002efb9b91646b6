"""A manifest and a system to hypotheses.jsonl, resumable and by any number of processes. No torch here: the system
brings its own.

Beside `hypotheses.jsonl` lie `hypotheses.jsonl.request.json`, which says what was asked of which system, and while
the work goes on `hypotheses.jsonl.part`, `hypotheses.jsonl.part1`, …: one for each process. A process takes every
n-th batch of the plan; the last to finish joins the parts in the order of the plan. Starting the same request again,
by as many processes or others, goes on with the batches that are whole in no part; a finished request is left as
it is; another request under the same name is an error, never a mixture. Batches are the same with and without
interruption and however many processes share them, so the hypotheses are too.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dragoman.errors import DataError
from dragoman.evaluation.part_files import PartFiles, UtteranceBatch, locked
from dragoman.files import atomic_file
from dragoman.records import Hypothesis, Utterance, to_json_line
from dragoman.text.languages import expand

Translate = Callable[[Sequence[Utterance], Sequence[str]], list[Hypothesis]]
"""A system: one hypothesis per utterance and target other than the utterance's own language, in any order. Without
targets one per utterance, a transcript, whose target is its own language."""


@dataclass(frozen=True, slots=True)
class GenerationSummary:
    """What `generate` did, in hypotheses."""

    total: int
    """Asked for, and in the file once it is there."""
    kept: int
    """Of these, how many this process did not write: an earlier run had, or another process did."""
    without_reference: int
    """Translations (without targets: transcripts) that were not generated for want of a reference, or with
    `only_with_reference=False` were generated without one."""
    unheard: int = 0
    """Utterances in a language that is not heard."""
    joined: bool = True
    """Whether the file is there and this process is the one to go on with it; of several, just one is."""


def generate(
    utterances: Sequence[Utterance],
    targets: Sequence[str],
    translate: Translate,
    out: str | Path,
    *,
    batch_size: int = 8,
    sources: Collection[str] | None = None,
    only_with_reference: bool = True,
    system: str = "",
    on_progress: Callable[[int, int], None] | None = None,
    rank: int = 0,
    processes: int = 1,
) -> GenerationSummary:
    """Translate every utterance into every target but its own language and write the hypotheses to `out`.

    Utterances that go to the same targets share a batch, so the file is not in the order of the manifest when some
    references are missing. Of several processes, on one file system, none waits for another.

    Args:
        utterances: What is said; their texts and translations become the references.
        targets: Languages or sets of them, as `expand` takes them; where there are none, all is transcribed.
        translate: A system: utterances and targets -> hypotheses, in order.
        out: The file of hypotheses; an interrupted one is continued.
        batch_size: Utterances that the system gets at once.
        sources: The languages that the system hears, if not all: utterances in others are references and no more.
        only_with_reference: Leave out targets for which an utterance has no reference.
        system: Names model and options, so that another model does not continue this file.
        on_progress: Called with (hypotheses done by all processes, total) after each batch.
        rank: This process's number, torchrun's RANK.
        processes: How many there are, torchrun's WORLD_SIZE.

    Raises:
        DataError: Nothing is to be done, ids repeat, or `out` belongs to another request.
        LanguageError: A target is unknown.
    """
    out = Path(out)
    targets = expand(targets)
    _check_ids(utterances)
    references = _References(utterances)
    heard = [one for one in utterances if sources is None or one.language in sources]
    unheard = len(utterances) - len(heard)
    if unheard and not heard:
        raise DataError("There is nothing to do: every utterance is in a language that is not heard.")
    batches = _plan(heard, targets, references, batch_size, only_with_reference)
    total = sum(len(batch.pairs()) for batch in batches)
    missing = _missing(heard, targets, references)
    parts = PartFiles(out, batches, rank)
    there = [path for path in (out, *parts.files()) if path.exists()]
    _claim(out, _request(utterances, targets, only_with_reference, system, total), there)
    with _lock(out, processes, shared=True):  # nobody joins what is being read
        if out.exists():
            return GenerationSummary(total, total, missing, unheard, joined=rank == 0)
        before = parts.whole()
        watch = parts.appended()
    mine = [batches[number] for number in range(rank, len(batches), processes) if number not in before]
    done = sum(len(batches[number].pairs()) for number in before)
    written = 0
    for batch in mine:
        rows = _ordered(batch, translate(batch.utterances, batch.targets))
        parts.append("".join(to_json_line(_with_references(row, u, references)) for u, row in rows))
        written += len(rows)
        if on_progress:
            on_progress(min(total, done + written + watch()), total)
    with _lock(out, processes):
        return GenerationSummary(total, total - written, missing, unheard, joined=parts.join())


def _lock(out: Path, processes: int, *, shared: bool = False) -> AbstractContextManager[None]:
    return locked(_sidecar(out), shared=shared) if processes > 1 else nullcontext()


class _References:
    """An utterance's translations: its own, or the text of another recording of its sentence; of one in which nothing
    is said, nothing."""

    def __init__(self, utterances: Iterable[Utterance]) -> None:
        self._parallel: dict[tuple[str, str], str] = {}
        for utterance in utterances:
            if utterance.sentence and utterance.text:
                self._parallel.setdefault((utterance.sentence, utterance.language), utterance.text)

    def find(self, utterance: Utterance, target: str) -> str | None:
        if utterance.is_speechless:
            return ""
        own = utterance.translations.get(target)
        if own or not utterance.sentence:
            return own or None
        return self._parallel.get((utterance.sentence, target))

    @staticmethod
    def transcript(utterance: Utterance) -> str | None:
        return utterance.text or ("" if utterance.is_speechless else None)


def _check_ids(utterances: Sequence[Utterance]) -> None:
    ids: set[str] = set()
    for utterance in utterances:
        if utterance.id in ids:
            raise DataError(f"Two utterances have the id {utterance.id!r}; ids must be unique.")
        ids.add(utterance.id)


def _plan(
    utterances: Sequence[Utterance],
    targets: Sequence[str],
    references: _References,
    batch_size: int,
    only_with_reference: bool,
) -> list[UtteranceBatch]:
    """Batches of utterances with the same targets; an utterance's own language does not tell them apart."""
    groups: dict[tuple[str, ...], list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        wanted = tuple(
            target
            for target in targets
            if target == utterance.language or not only_with_reference or references.find(utterance, target) is not None
        )
        if any(target != utterance.language for target in wanted):
            groups[wanted].append(utterance)
        elif not targets and (references.transcript(utterance) is not None or not only_with_reference):
            groups[()].append(utterance)
    if not groups:
        raise DataError(
            "There is nothing to translate: no utterance has a reference in another of the target languages; add"
            " references, or let a system that writes what is said transcribe alone (--to none)."
            if targets
            else "There is nothing to transcribe: no utterance has a transcript to compare with; add them."
        )
    return [
        UtteranceBatch(tuple(group[start : start + batch_size]), wanted)
        for wanted, group in groups.items()
        for start in range(0, len(group), batch_size)
    ]


def _missing(utterances: Sequence[Utterance], targets: Sequence[str], references: _References) -> int:
    if not targets:
        return sum(references.transcript(utterance) is None for utterance in utterances)
    return sum(
        target != utterance.language and references.find(utterance, target) is None
        for utterance in utterances
        for target in targets
    )


def _request(
    utterances: Sequence[Utterance],
    targets: Sequence[str],
    only_with_reference: bool,
    system: str,
    total: int,
) -> dict[str, Any]:
    digest = hashlib.sha256("".join(map(to_json_line, utterances)).encode()).hexdigest()
    return {
        "system": system,
        "targets": list(targets),
        "only_with_reference": only_with_reference,
        "manifest": digest,
        "hypotheses": total,
    }


def _claim(out: Path, request: dict[str, Any], written: Sequence[Path]) -> None:
    """Write what is asked for beside `out`, or check that what is there was asked for in the same words.

    `written` was listed before: a process that starts beside this one claims first, and writes then.
    """
    sidecar = _sidecar(out)
    if sidecar.exists():
        differing = _differing(sidecar, request)
        if differing:
            raise DataError(
                f"{out} was begun with another {', '.join(differing)}; choose another name for the output,"
                f" or delete it together with {sidecar.name} and {out.name}.part."
            )
    elif written:
        raise DataError(f"{out} or its .part exists, but not {sidecar.name}; choose another name or delete it.")
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(sidecar) as file:
            file.write(json.dumps(request, ensure_ascii=False, indent=1) + "\n")


def _sidecar(out: Path) -> Path:
    return out.with_name(out.name + ".request.json")


def _differing(sidecar: Path, request: dict[str, Any]) -> list[str]:
    try:
        before = json.loads(sidecar.read_text(encoding="utf-8"))
    except ValueError:
        before = None
    if not isinstance(before, dict):
        return ["request (it is not readable)"]
    return [key for key, value in request.items() if before.get(key) != value]


def _ordered(batch: UtteranceBatch, rows: Sequence[Hypothesis]) -> list[tuple[Utterance, Hypothesis]]:
    """The rows of a batch in the order of the plan; a system that returns others is a bug."""
    by_pair = {(row.id, row.target): row for row in rows}
    pairs = batch.pairs()
    if len(rows) != len(pairs) or set(by_pair) != set(pairs):
        unlike = sorted(set(by_pair) ^ set(pairs))[:3]
        raise ValueError(
            f"the system returned {len(rows)} hypotheses for {len(pairs)} pairs; some that differ: {unlike}"
        )
    utterances = {utterance.id: utterance for utterance in batch.utterances}
    return [(utterances[pair[0]], by_pair[pair]) for pair in pairs]


def _with_references(row: Hypothesis, utterance: Utterance, references: _References) -> Hypothesis:
    translated = row.target != utterance.language
    return row.model_copy(
        update={
            "reference_transcript": references.transcript(utterance),
            "reference": references.find(utterance, row.target) if translated else None,
        }
    )
