"""The manifests without their bad rows, and a list of what was left out."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from dragoman.data.check.report import Report
from dragoman.data.check.rows import numbered_lines
from dragoman.data.check.rules import RULES
from dragoman.errors import DataError, OutputError
from dragoman.files import atomic_file
from dragoman.records import Utterance, parse_utterance, to_json_line

SKIPPED = "skipped.jsonl"

Reasons = dict[int, list[tuple[str | None, str]]]


def outputs(paths: Sequence[Path], out: Path) -> list[Path]:
    """What `skip_bad` will write into `out`, one for each manifest.

    Raises OutputError when two would have the same name, or one would overwrite what is read.
    """
    targets = [out / path.name for path in paths]
    for target, path in zip(targets, paths, strict=True):
        if targets.count(target) > 1 or target.name == SKIPPED:
            raise OutputError(f"{target}: another file of the run has this name; check them one by one.")
        if os.path.realpath(target) == os.path.realpath(path):
            raise OutputError(f"{target}: would overwrite what is checked; choose another folder.")
    return targets


def skip_bad(report: Report, out: Path) -> dict[Path, tuple[int, int]]:
    """Write each manifest into the folder `out` without the rows that have an error, and `skipped.jsonl`: file, line,
    id and reason of every row that was left out, one line a reason.

    Audio paths are written relative to `out`. Returns (rows kept, rows left out) by the path of what was written.
    Raises OutputError as `outputs` does, and DataError when nothing would be left of a manifest; then none is written.
    """
    paths = [manifest.path for manifest in report.manifests]
    bad = _bad_rows(report)
    counts: dict[Path, tuple[int, int]] = {}
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as files:
        skipped = files.enter_context(atomic_file(out / SKIPPED))
        for number, (target, path) in enumerate(zip(outputs(paths, out), paths, strict=True)):
            kept = _write(path, bad[number], files.enter_context(atomic_file(target)), out)
            if not kept and bad[number]:
                raise DataError(f"{path}: has no row without an error; nothing is written.")
            counts[target] = kept, len(bad[number])
            _list(path, bad[number], skipped)
    return counts


def _bad_rows(report: Report) -> dict[int, Reasons]:
    """By number of the manifest and line."""
    bad: dict[int, Reasons] = defaultdict(lambda: defaultdict(list))
    for (kind, _), found in report.found.items():
        if RULES[kind].severity == "error":
            for place in found.places:
                reason = ": ".join(filter(None, (RULES[kind].what, place.detail)))
                bad[place.manifest][place.line].append((place.id, reason))
    return bad


def _write(path: Path, bad: Reasons, out: TextIO, folder: Path) -> int:
    kept = 0
    for number, line in numbered_lines(path):
        if number not in bad:
            row = parse_utterance(path, number, line)
            out.write(to_json_line(_moved(row, path.parent, folder)))
            kept += 1
    return kept


def _moved(row: Utterance, from_folder: Path, to_folder: Path) -> Utterance:
    if os.path.isabs(row.audio):
        return row
    return row.model_copy(update={"audio": os.path.relpath(from_folder / row.audio, to_folder)})


def _list(path: Path, bad: Reasons, out: TextIO) -> None:
    for line in sorted(bad):
        for name, reason in bad[line]:
            entry = {"file": str(path), "line": line, "id": name, "reason": reason}
            out.write(json.dumps(entry, ensure_ascii=False) + "\n")
