"""What a corpus hands over: rows with their recordings, in parts that processes can take.

CorpusRow + audio -> Clip, or BadRecording, or ExcludedRecordings -> CorpusPart
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from dragoman.errors import DataError
from dragoman.progress import OnProgress, no_progress

AudioFormat = Literal["flac", "original"]

CLIPS_PER_PART = 200
_SPLITS = {"train": "", "dev": ".valid", "valid": ".valid", "validation": ".valid"}


@dataclass(frozen=True, slots=True)
class Corpus:
    """What a person must know of a corpus before using it."""

    name: str
    title: str
    citation: str
    licence: str
    homepage: str
    languages: tuple[str, ...]
    """ISO 639-3; none where it may be any."""
    how: str
    """The command that prepares it."""


class BadRecording(BaseModel):
    """A recording that cannot be used, and where its corpus names it; a line of skipped.jsonl."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    manifest: str = ""
    file: str
    line: int | None = None
    reason: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.reason}"


class ExcludedRecordings(BaseModel):
    """Recordings that are rightly not used; they are counted by reason."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    reason: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class CorpusRow:
    """What a corpus says of one recording, and where. `duration_s` is given where only a stretch is meant."""

    file: str
    line: int
    id: str
    language: str
    text: str = ""
    start_s: float = 0.0
    duration_s: float | None = None
    sentence: str | None = None
    translations: Mapping[str, str] = field(default_factory=dict)

    def bad(self, reason: str) -> BadRecording:
        return BadRecording(file=self.file, line=self.line, reason=reason)


@dataclass(frozen=True, slots=True)
class Clip:
    """A row and its recording: a file on disk, or the bytes that an archive holds under `name`."""

    row: CorpusRow
    audio: Path | bytes
    name: str


CorpusItem = Clip | BadRecording | ExcludedRecordings


@dataclass(frozen=True, slots=True)
class CorpusPart:
    """A piece of work for one process. `read` can be pickled; `digest` stands for all that it will read."""

    manifest: str
    name: str
    """Its folder below audio/<corpus>/."""
    read: Callable[[], Iterator[CorpusItem]]
    size: int
    """About how many items, to say how far it is."""
    digest: str


@dataclass(frozen=True, slots=True)
class PrepareOptions:
    """How a corpus is prepared: `original` names files where they are and copies them out of archives."""

    audio: AudioFormat = "flac"
    skip_bad: bool = False
    workers: int = 1
    on_progress: OnProgress = no_progress


def manifest_name(corpus: str, split: str) -> str:
    """The training split bears the corpus's name, as recipes do; dev is called valid."""
    return corpus + _SPLITS.get(split, f".{split}")


def check_splits(corpus: str, wanted: Iterable[str], known: Sequence[str]) -> None:
    """Raises DataError for a split that the corpus has not."""
    for split in wanted:
        if split not in known:
            raise DataError(f"{corpus} has no split {split!r}; it has {', '.join(known)}.")


def digest(*values: object) -> str:
    """A short name for values, equal in every process."""
    return hashlib.sha256(repr(values).encode("utf-8", "surrogateescape")).hexdigest()[:10]


def into_parts(manifest: str, name: str, items: Iterable[CorpusItem]) -> Iterator[CorpusPart]:
    """Cut recordings that are files of their own into parts. A file is known by its path and size."""
    remaining = iter(items)
    for number in itertools.count():
        batch = tuple(itertools.islice(remaining, CLIPS_PER_PART))
        if not batch:
            return
        mark = digest(batch, [_size(item) for item in batch])
        yield CorpusPart(manifest, f"{name}-{number:04d}", partial(iter, batch), len(batch), mark)


def _size(item: CorpusItem) -> int | None:
    try:
        return item.audio.stat().st_size if isinstance(item, Clip) and isinstance(item.audio, Path) else None
    except (OSError, ValueError):
        return None  # it is said when the recording is read
