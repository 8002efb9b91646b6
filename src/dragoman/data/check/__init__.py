"""Whether manifests hold what they say: `check` reads all rows, in several processes, then compares them.

kinds    what can be wrong, how bad it is, what to do
texts    one text: characters, script, language, length
sound    one recording, decoded
rows     one row: its fields, texts and audio
columns  all rows, as numbers
across   rows against rows: leaks, repeats, rates of speech that stand out
report   the counts
skip     the manifests without their bad rows
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import tee
from pathlib import Path
from types import MappingProxyType

from dragoman.data.check.columns import RowColumns
from dragoman.data.check.cross_row import findings
from dragoman.data.check.report import Report, summarise
from dragoman.data.check.rows import CheckSettings, chunks, examine, numbered_lines
from dragoman.data.check.rules import EXAMPLES, RULES, Finding, RowLocation, RuleFindings
from dragoman.errors import DataError
from dragoman.parallel import in_order
from dragoman.records import parse_utterance

__all__ = ["Report", "check", "manifests_in", "split_of"]

_HELD_OUT = {name: name for name in ("dev", "devtest", "eval", "heldout", "test", "valid")}
_HELD_OUT |= {"val": "valid", "validation": "valid"}
_ROWS_A_CHUNK = 64
_LOST = "A process that reads recordings was killed (out of memory?); use fewer --workers, or --no_audio."


def check(
    paths: Sequence[Path],
    *,
    window_s: float = 30.0,
    longest_s: Mapping[str, float] = MappingProxyType({}),
    decode: bool = True,
    workers: int = 1,
    on_progress: Callable[[int], None] | None = None,
) -> Report:
    """Read manifests that belong together (the splits of a corpus) and say what is in them and what is wrong.

    `window_s` is the longest clip that the model hears, `longest_s` the longest that training takes of a manifest, by
    its name, where longer ones are left out; `decode` opens the recordings. The result does not depend on `workers`.
    `on_progress` gets the number of rows that are done. Raises ManifestError for a file that cannot be read, DataError
    when there is none.
    """
    if not paths:
        raise DataError("There is no manifest to check; name one, or a folder that holds some.")
    splits = [split_of(path) for path in paths]
    held_out = list(map(bool, splits))
    settings = CheckSettings(window_s, decode, dict(longest_s))
    columns, found = RowColumns(), Findings()
    work, again = tee(
        chunk
        for number, path in enumerate(paths)
        for chunk in chunks(number, path, held_out[number], settings, _ROWS_A_CHUNK)
    )
    for rows, chunk in zip(in_order(examine, work, workers, lost=_LOST), again, strict=True):
        for row in rows:
            columns.add(row, chunk.manifest)
            for finding in row.findings:
                found.add(finding, chunk.manifest, row.line, row.id)
        if on_progress:
            on_progress(len(columns))
    _compare(columns, paths, splits, found)
    return summarise(columns, paths, held_out, found.table)


def split_of(path: Path) -> str:
    """What a manifest is held out for, by a word in its name such as `valid`, `dev` or `test`; else, unless the name
    says `train`, by one in its folder's name. Empty for training."""
    for name in (path.stem, path.absolute().parent.name):
        words = re.split(r"[^a-z]+", name.lower())
        if "train" in words:
            return ""
        if held_out := [_HELD_OUT[word] for word in words if word in _HELD_OUT]:
            return held_out[-1]
    return ""


def manifests_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """The manifests among a folder's `*.jsonl`, and the rest: no `audio` and `language` in their first rows."""
    # not ._train.jsonl, in which a Mac keeps what it knows of train.jsonl
    files = sorted(path for path in folder.glob("*.jsonl") if path.is_file() and not path.name.startswith("."))
    manifests = [path for path in files if _is_manifest(path)]
    return manifests, [path for path in files if path not in manifests]


def _is_manifest(path: Path) -> bool:
    lines = (line for (_, line), _ in zip(numbered_lines(path), range(20), strict=False))
    return any('"audio"' in line and '"language"' in line for line in lines)


class Findings:
    """Findings, added up by kind; wrong rows also by what is wrong with them."""

    def __init__(self) -> None:
        self.table: dict[tuple[str, str], RuleFindings] = {}

    def add(self, finding: Finding, manifest: int, line: int, name: str | None) -> None:
        group = finding.detail.partition(" at line ")[0] if finding.kind == "row" else ""
        found = self.table.setdefault((finding.kind, group), RuleFindings())
        found.count += 1
        if RULES[finding.kind].severity == "error" or len(found.places) < EXAMPLES:
            found.places.append(RowLocation(manifest, line, name, finding.detail))


def _compare(columns: RowColumns, paths: Sequence[Path], splits: Sequence[str], found: Findings) -> None:
    """Add what the rows say of one another; the ids are read again, instead of being kept for all."""
    hits = list(findings(columns, splits))
    manifest, line = columns.manifest, columns.line
    wanted = {(int(manifest[row]), int(line[row])) for row, _, _ in hits}
    names = dict(_names(paths, wanted)) if wanted else {}
    for row, finding, other in hits:
        place = (int(manifest[row]), int(line[row]))
        detail = finding.detail
        if other is not None:
            detail = f"also {paths[manifest[other]].name}:{line[other]}"
        found.add(Finding(finding.kind, detail), *place, names.get(place))


def _names(paths: Sequence[Path], wanted: Iterable[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], str]]:
    """The ids of these (manifest, line)."""
    lines: dict[int, set[int]] = {}
    for manifest, line in wanted:
        lines.setdefault(manifest, set()).add(line)
    for manifest, numbers in lines.items():
        for number, text in numbered_lines(paths[manifest]):
            if number in numbers:
                yield (manifest, number), parse_utterance(paths[manifest], number, text).id
