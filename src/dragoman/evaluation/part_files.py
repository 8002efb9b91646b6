"""Hypotheses on their way: a file for each process that writes some, joined in the order of the plan."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from dragoman.files import atomic_file, written
from dragoman.records import Hypothesis, Utterance

RowKey = tuple[str, str]
"""Utterance id, target."""


@dataclass(frozen=True, slots=True)
class UtteranceBatch:
    """What is asked of the system at once."""

    utterances: tuple[Utterance, ...]
    targets: tuple[str, ...]
    """None: transcripts are asked for, and no more."""

    def pairs(self) -> list[RowKey]:
        if not self.targets:
            return [(u.id, u.language) for u in self.utterances]
        return [(u.id, target) for u in self.utterances for target in self.targets if target != u.language]


@dataclass(frozen=True, slots=True)
class _PartLocation:
    part: Path
    start: int
    size: int
    """In bytes."""


class PartFiles:
    """Those of `out`: `out.part` of process 0, `out.part1` of process 1, and all that earlier runs left."""

    def __init__(self, out: Path, batches: Sequence[UtteranceBatch], rank: int = 0) -> None:
        self._out = out
        self._batches = batches
        self._own = out.with_name(f"{out.name}.part{rank or ''}")

    def files(self) -> list[Path]:
        name = re.compile(re.escape(self._out.name) + r"\.part\d*")
        found = self._out.parent.iterdir() if self._out.parent.is_dir() else ()
        return sorted(path for path in found if name.fullmatch(path.name))

    def whole(self) -> dict[int, _PartLocation]:
        """The batches that some part holds without a gap, by their number in the plan."""
        first = {batch.pairs()[0]: number for number, batch in enumerate(self._batches)}
        return {number: place for part in self.files() for number, place in self._places(part, first)}

    def append(self, lines: str) -> None:
        """To this process's part. A line that was cut short is ended first, so that it spoils no other."""
        with written(self._own), open(self._own, "ab+") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                lines = lines if file.read(1) == b"\n" else "\n" + lines
            file.write(lines.encode())

    def appended(self) -> Callable[[], int]:
        """Tells how many hypotheses other processes have written since."""
        read = {path: path.stat().st_size for path in self.files()}
        lines = 0

        def count() -> int:
            nonlocal lines
            for path in self.files():
                if path != self._own:
                    with suppress(FileNotFoundError), open(path, "rb") as file:  # joined in the meantime
                        file.seek(read.get(path, 0))
                        lines += file.read().count(b"\n")
                        read[path] = file.tell()
            return lines

        return count

    def join(self) -> bool:
        """Write `out` if every batch is there and it is not; tells whether this call did. Raises OutputError."""
        places = {} if self._out.exists() else self.whole()
        if len(places) < len(self._batches):
            return False
        with atomic_file(self._out) as file:
            for number in range(len(self._batches)):
                file.write(_read(places[number]))
        for part in self.files():
            part.unlink()
        return True

    def _places(self, part: Path, first: dict[RowKey, int]) -> Iterator[tuple[int, _PartLocation]]:
        """Lines that are of no batch, or of one that breaks off, are passed over."""
        number, pairs, start, end = -1, list[RowKey](), 0, 0
        with open(part, "rb") as lines:
            for line in lines:
                pair = _pair(line)
                if pair in first:
                    number, start = first[pair], end
                    pairs = self._batches[number].pairs()[::-1]
                end += len(line)
                if not pairs or pair != pairs.pop():
                    pairs = []
                elif not pairs:
                    yield number, _PartLocation(part, start, end - start)


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a file that exists, alone or with others that share it; it is free again when the process is killed."""
    import fcntl  # Windows has none; a single process needs none

    with open(path, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def _read(place: _PartLocation) -> str:
    with open(place.part, "rb") as file:
        file.seek(place.start)
        return file.read(place.size).decode()


def _pair(line: bytes) -> RowKey | None:
    try:
        row = Hypothesis.model_validate_json(line) if line.endswith(b"\n") else None
    except ValidationError:
        return None
    return (row.id, row.target) if row else None
