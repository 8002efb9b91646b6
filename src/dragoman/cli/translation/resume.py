"""Which recordings were translated before, recognised by content: a run over a folder goes on where one was
interrupted.

What a folder's results are of is on record, so that neither another recording of the same name nor another run at the
same time is written over.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from dragoman.cli.console import say
from dragoman.cli.files import folded, names, numbered
from dragoman.files import atomic_file, held, written

NAME = ".dragoman.jsonl"
_PATIENCE_S = 60.0
"""Another run holds the folder only while it writes one recording's results."""


@dataclass(frozen=True)
class _Row:
    """A recording's path and its content's digest ("": not known, so it is never finished), a digest of the settings
    that it was translated with, how its results are called, and each file's name and digest."""

    recording: str
    content: str
    settings: str
    stem: str
    files: dict[str, str]


class FinishedRecordings:
    """What `folder/.dragoman.jsonl` tells, a line a recording; other runs may write there meanwhile."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.settings = _digest(json.dumps(settings, sort_keys=True).encode())
        self._rows: dict[str, list[_Row]] = defaultdict(list)  # by what they are called, folded as in cli.files
        self._of: dict[str, list[_Row]] = defaultdict(list)
        self._known: dict[str, set[str]] = defaultdict(set)
        self._read_bytes = 0
        self._states: dict[Path, tuple[int, int]] = {}
        self._read()

    def holds(self, recording: Path) -> bool:
        """Whether this content was translated with these settings, under this path or one of its names, and all that
        was written then is still there as it was written."""
        self._states[recording] = _state(recording)
        named = (row for name in names(recording) for row in self._rows.get(folded(name), ()))
        known = chain(self._of.get(os.path.abspath(recording), ()), named)
        rows = [row for row in known if row.settings == self.settings]
        if not rows:
            return False
        with suppress(OSError):  # reading it will say why
            content = _content(recording) if recording.is_file() else None
            return any(row.content == content and self._is_whole(row) for row in rows)
        return False

    def write(self, recording: Path, stems: Mapping[Path, str], files: Callable[[str], dict[str, str]]) -> None:
        """Write a recording's results, name -> text, and put them on record. `files` makes them of what they are
        called: as planned in `stems`, unless those of another recording are called so. Raises OutputError."""
        content = _content(recording) if recording.is_file() else ""
        with held(self.folder, wait_s=_PATIENCE_S):
            self._read()
            stem = self._free(recording, content, stems)
            texts = files(stem)
            for name, text in texts.items():
                self._keep(name, _digest(text.encode()))
                with atomic_file(self.folder / name) as file:
                    file.write(text)
            if self._states.get(recording) != _state(recording):
                content = ""
                say(f"{recording}: changed while it was translated; run the same command again when it is whole.")
            digests = {name: _digest(text.encode()) for name, text in texts.items()}
            self._add(_Row(os.path.abspath(recording), content, self.settings, stem, digests))

    def _free(self, recording: Path, content: str, stems: Mapping[Path, str]) -> str:
        """The planned name, or the first that tells this recording from the one whose results are called so."""
        planned = stems[recording]
        if self._may_take(planned, recording, content):
            return planned
        holder = self._rows[folded(planned)][-1].recording
        others = chain(names(Path(holder)), (name for path, name in stems.items() if path != recording))
        taken = set(map(folded, others))
        stem = next(
            name
            for name in chain(names(recording), numbered(recording))
            if folded(name) not in taken and self._may_take(name, recording, content)
        )
        say(f"{recording}: {planned} is what the results of {holder} are called in {self.folder}; these are {stem}.")
        return stem

    def _may_take(self, name: str, recording: Path, content: str) -> bool:
        """No results are called so, or those of this recording, by path or by content, or they are gone."""
        if not self._rows.get(folded(name)):
            return True
        row = self._rows[folded(name)][-1]
        ours = row.recording == os.path.abspath(recording) or (content and row.content == content)
        return bool(ours) or not any((self.folder / name).exists() for name in row.files)

    def _keep(self, name: str, digest: str) -> None:
        """What stands in the way and is not on record (somebody fixed a subtitle) is kept beside."""
        path = self.folder / name
        there = _content(path) if path.is_file() and path.stat().st_size else digest
        if there == digest or there in self._known.get(folded(name), ()):
            return
        stem, ending = os.path.splitext(name)
        beside = (f"{stem}.kept{number if number > 1 else ''}{ending}" for number in count(1))
        kept = next(other for other in beside if not (self.folder / other).exists())
        path.rename(self.folder / kept)
        say(f"{path}: was changed after it was written, so it is kept as {kept} and written again.")

    def _is_whole(self, row: _Row) -> bool:
        paths = {self.folder / name: digest for name, digest in row.files.items()}
        return all(path.is_file() and _content(path) == digest for path, digest in paths.items())

    def _add(self, row: _Row) -> None:
        with written(self.folder / NAME), open(self.folder / NAME, "ab+") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                file.write(b"" if file.read(1) == b"\n" else b"\n")  # an interrupted run left a line unfinished
            file.write(json.dumps(asdict(row)).encode() + b"\n")
        self._read()

    def _read(self) -> None:
        """What is new on record."""
        with suppress(FileNotFoundError), open(self.folder / NAME, "rb") as lines:
            lines.seek(self._read_bytes)
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                self._read_bytes += len(line)
                with suppress(ValueError, TypeError, AttributeError):  # a line that an interrupted run left unfinished
                    row = _Row(**json.loads(line))
                    self._rows[folded(row.stem)].append(row)
                    self._of[row.recording].append(row)
                    for name, digest in row.files.items():
                        self._known[folded(name)].add(digest)


def fingerprint(model: Path) -> str:
    """Tells one state of a model folder from another without reading its weights: names, sizes, times."""
    files = sorted(path for path in model.rglob("*") if path.is_file())
    states = [(str(path.relative_to(model)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return _digest(json.dumps(states).encode())


def _state(recording: Path) -> tuple[int, int]:
    """Size and time of its last change."""
    with suppress(OSError):
        state = recording.stat()
        return state.st_size, state.st_mtime_ns
    return -1, -1


def _content(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
