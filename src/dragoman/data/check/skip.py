"""The manifests without their bad rows, and a list of what was left out."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from dragoman.data.check.kinds import KINDS
from dragoman.data.check.report import Report
from dragoman.data.check.rows import numbered_lines
from dragoman.errors import DataError, OutputError
from dragoman.files import whole_file
from dragoman.records import Utterance, parse_utterance, to_line

SKIPPED = "skipped.jsonl"

Reasons = dict[int, list[tuple[str | None, str]]]


def skip_bad(report: Report, out: Path) -> dict[Path, tuple[int, int]]:
    """Write each manifest into the folder `out` without the rows that have an error, and `skipped.jsonl`: file, line,
    id and reason of every row that was left out, one line a reason.

    Audio paths are written relative to `out`. Returns (rows kept, rows left out) by the path of what was written.
    Raises OutputError or DataError, and writes nothing, when two would have the same name, one would overwrite what
    was read, or nothing would be left of one.
    """
    targets = [out / manifest.path.name for manifest in report.manifests]
    for target, manifest in zip(targets, report.manifests, strict=True):
        if targets.count(target) > 1 or target.name == SKIPPED:
            raise OutputError(f"{target}: another file of the run has this name; check them one by one.")
        if os.path.realpath(target) == os.path.realpath(manifest.path):
            raise OutputError(f"{target}: would overwrite what was checked; choose another folder.")
    bad = _bad_rows(report)
    counts: dict[Path, tuple[int, int]] = {}
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as files:
        skipped = files.enter_context(whole_file(out / SKIPPED))
        for number, (target, manifest) in enumerate(zip(targets, report.manifests, strict=True)):
            kept = _write(manifest.path, bad[number], files.enter_context(whole_file(target)), out)
            if not kept:
                raise DataError(f"{manifest.path}: has no row without an error; nothing is written.")
            counts[target] = kept, len(bad[number])
            _list(manifest.path, bad[number], skipped)
    return counts


def _bad_rows(report: Report) -> dict[int, Reasons]:
    """By number of the manifest and line."""
    bad: dict[int, Reasons] = defaultdict(lambda: defaultdict(list))
    for (kind, _), found in report.found.items():
        if KINDS[kind].severity == "error":
            for place in found.places:
                reason = ": ".join(filter(None, (KINDS[kind].what, place.detail)))
                bad[place.manifest][place.line].append((place.id, reason))
    return bad


def _write(path: Path, bad: Reasons, out: TextIO, folder: Path) -> int:
    kept = 0
    for number, line in numbered_lines(path):
        if number not in bad:
            row = parse_utterance(path, number, line)
            out.write(to_line(_moved(row, path.parent, folder)))
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
