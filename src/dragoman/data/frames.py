"""What a frozen encoder hears in each utterance, stored once and read in any order by every step of training.

A folder for each manifest, and in it:

- `rows`: which rows of the manifest, and what their frames were made with and from
- `000000.frames`, ...: the frames of this many of these rows, one after the other, with a checksum for each utterance

A file is there whole or not at all, and is never changed. Frames are read from mapped files and checked each time.
N rows, n rows of a shard, S frames of an utterance, E encoder width.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dragoman.data.arrays import Array, read_arrays, write_arrays
from dragoman.data.sampling import Rows
from dragoman.errors import DataError

Frames = NDArray[np.uint16] | NDArray[np.float32]
"""(S, E): bf16 by its bits, since numpy has no such type, or fp32."""

_FORMAT = "1"
_OPEN = 64
"""Shards that a process holds open at once."""
_ROWS = "rows"


class FrameStore:
    """The frames of a manifest: `rows` (N,), sorted, `per_shard` of them in a file. `made_with` says by name what
    the frames come from (manifest, encoder, ...): those of anything else are others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            arrays, about = read_arrays(folder / _ROWS)
            self.made_with: dict[str, str] = json.loads(about["made with"])
            self.rows, self.per_shard = arrays["row"], int(about["per shard"])
        except FileNotFoundError as error:
            raise DataError(f"{folder}: holds no frames; make them with `dragoman encode`.") from error
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{folder}/{_ROWS}: cannot be read; remove {folder} and encode again.") from error
        self._shard = lru_cache(_OPEN)(self._opened)

    def __reduce__(self) -> tuple[Any, ...]:
        return FrameStore, (self.folder,)  # another process maps the same files

    def __getitem__(self, row: int) -> Frames:
        """(S, E) of one of `rows`, read-only. Raises DataError for what is missing or damaged."""
        number, place = divmod(int(np.searchsorted(self.rows, row)), self.per_shard)
        try:
            shard = self._shard(number)
            start, stop = shard["start"][place : place + 2]
            frames: Frames = shard["frames"][start:stop]
            whole = zlib.crc32(frames.data) == shard["checksum"][place]
        except (OSError, LookupError, TypeError, ValueError):  # a damaged header can say anything
            whole = False
        if not whole:
            path = self.folder / _name(number)
            raise DataError(f"{path}: is damaged or missing; remove it and run `dragoman encode` again.")
        return frames

    def shards(self) -> list[NDArray[np.int32]]:
        """The rows of each shard, (n,) each."""
        return [self.rows[at : at + self.per_shard] for at in range(0, len(self.rows), self.per_shard)]

    def missing(self) -> list[int]:
        """The numbers of the shards that are not yet there."""
        there = {path.name for path in self.folder.iterdir()}
        return [number for number in range(-(-len(self.rows) // self.per_shard)) if _name(number) not in there]

    def write(self, number: int, frames: Sequence[Frames]) -> None:
        """One shard, whole or not at all: the frames of its rows, in order. Raises OutputError."""
        shard = {
            "frames": np.concatenate(frames),
            "start": np.cumsum([0, *map(len, frames)], dtype=np.int64),
            "checksum": np.array([zlib.crc32(np.ascontiguousarray(own).data) for own in frames], np.uint32),
        }
        write_arrays(self.folder / _name(number), shard, {"format": _FORMAT})

    def check(self, made_with: Mapping[str, str]) -> None:
        """Raise DataError when the frames were made with something else."""
        for what, now in made_with.items():
            if self.made_with.get(what) != now:
                raise DataError(
                    f"{self.folder}: its frames were made with another {what}; encode into another folder, or remove "
                    "this one."
                )

    def _opened(self, number: int) -> dict[str, Array]:
        return read_arrays(self.folder / _name(number))[0]


def new_frames(folder: Path, rows: Rows, per_shard: int, made_with: Mapping[str, str]) -> FrameStore:
    """The store of these rows (sorted), begun or to be gone on with. Raises DataError when the folder holds others."""
    made_with = {"format": _FORMAT, **made_with}
    if not (folder / _ROWS).exists():
        folder.mkdir(parents=True, exist_ok=True)
        about = {"made with": json.dumps(made_with), "per shard": str(per_shard)}
        write_arrays(folder / _ROWS, {"row": rows.astype(np.int32)}, about)
    store = FrameStore(folder)
    store.check(made_with)
    if not np.array_equal(store.rows, rows):
        raise DataError(
            f"{folder}: was begun for other rows of the manifest (other languages, filters or caps); encode into "
            "another folder, or remove this one."
        )
    return store


def open_frames(folder: Path, rows: Rows, made_with: Mapping[str, str]) -> FrameStore:
    """The finished store of (at least) these rows, to be read. Raises DataError when it does not fit."""
    store = FrameStore(folder)
    store.check({"format": _FORMAT, **made_with})
    if lacking := int((~np.isin(rows, store.rows)).sum()):
        raise DataError(
            f"{folder}: lacks {lacking} of {len(rows)} utterances (it was made for other filters or caps); encode this "
            "recipe into another folder."
        )
    if missing := store.missing():
        raise DataError(
            f"{folder}: is not complete ({len(missing)} of {len(store.shards())} files are missing); run "
            "`dragoman encode` again, it goes on."
        )
    return store


def _name(number: int) -> str:
    return f"{number:06d}.frames"
