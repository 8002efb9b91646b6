"""Audio in tar files, for storage that minds many small files (WebDataset's layout).

`shards/000.tar#clip.flac` in a manifest is the member `clip.flac` of `shards/000.tar`; the path follows the same rule
as any other audio path. A tar is never unpacked: where its members lie is found once and kept beside it
(`000.tar.index`, or in memory where the folder cannot be written). Members are plain files with plain names.
"""

from __future__ import annotations

import io
import os
import tarfile
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from dragoman.data.arrays import Array, read_arrays, write_arrays
from dragoman.errors import AudioError, OutputError
from dragoman.files import not_readable

MARK = ".tar#"
_FORMAT = "1"
_OPEN = 64
"""Tar files that a process holds open at once."""
_BLOCK = 512


def open_audio(path: str | Path) -> BinaryIO:
    """A file, or a member of a tar. Raises OSError for a file, AudioError for a tar, as `load_audio` does."""
    _, mark, member = os.fspath(path).partition(MARK)
    if not mark:
        return open(path, "rb")
    shard = file_of(path)
    try:
        stat = os.stat(shard)
    except OSError as error:
        raise not_readable(shard, error, shard) from error
    return _shard(shard, f"{stat.st_size} {stat.st_mtime_ns}").member(member)


def file_of(path: str | Path) -> str:
    """The file that holds the audio: of a member, its tar."""
    before, mark, _ = os.fspath(path).partition(MARK)
    return before + mark[:-1]


class TarShard:
    """An open tar file and where its members lie: `key` (M,) hashes of their names, sorted, `start` and `size` (M,)."""

    def __init__(self, path: Path, stamp: str) -> None:
        self.path = path
        self.file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.file)
        members = _members(path, stamp)
        self.key, self.start, self.size = members["key"], members["start"], members["size"]

    def member(self, name: str) -> BinaryIO:
        """The content of one member. Raises AudioError."""
        at = int(np.searchsorted(self.key, _key(name)))
        if at == len(self.key) or self.key[at] != _key(name):
            raise AudioError(f"{self.path}: has no member {name!r}; check the manifest.")
        size = int(self.size[at])
        content = os.pread(self.file, size, int(self.start[at]))
        if len(content) != size:
            raise _cut(self.path)
        return io.BytesIO(content)


@lru_cache(maxsize=_OPEN)
def _shard(path: str, stamp: str) -> TarShard:
    return TarShard(Path(path), stamp)


def _members(path: Path, stamp: str) -> dict[str, Array]:
    place = path.with_name(path.name + ".index")
    try:
        members, about = read_arrays(place)
        if about == {"format": _FORMAT, "stamp": stamp}:
            return members
    except (OSError, ValueError, KeyError):  # none yet, or of another version
        pass
    members = _listed(path)
    try:
        write_arrays(place, members, {"format": _FORMAT, "stamp": stamp})
    except OutputError:  # a folder that cannot be written: they are in memory
        return members
    return read_arrays(place)[0]


def _listed(path: Path) -> dict[str, Array]:
    """Where the members of a tar lie. Raises AudioError for what is not a whole tar of plain files with plain names."""
    found: dict[int, tuple[int, int]] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse() or not is_plain(member.name):
                    raise AudioError(f"{path}: the member {member.name!r} is not a plain file; pack the shard anew.")
                if found.setdefault(_key(member.name), place := (member.offset_data, member.size)) is not place:
                    raise AudioError(f"{path}: two members are named {member.name!r}; pack the shard anew.")
            with open(path, "rb") as file:
                file.seek(tar.offset)
                if file.read(_BLOCK) != bytes(_BLOCK):  # a whole tar ends with zeros; tarfile does not mind
                    raise _cut(path)
    except tarfile.TarError as error:
        raise _cut(path) from error
    except OSError as error:
        raise not_readable(str(path), error) from error
    order = sorted(found)
    starts, sizes = zip(*(found[key] for key in order), strict=True) if found else ((), ())
    return {"key": np.array(order, np.uint64), "start": np.array(starts, np.int64), "size": np.array(sizes, np.int64)}


def is_plain(name: str) -> bool:
    """Whether a member's name is a relative path that stays where it is, in its shortest form but for a leading ./"""
    rest = name.removeprefix("./")
    path = PurePosixPath(rest)
    return str(path) == rest != "." and not path.is_absolute() and ".." not in path.parts and "\0" not in rest


def _key(name: str) -> int:
    return int.from_bytes(blake2b(name.removeprefix("./").encode(), digest_size=8).digest(), "little")


def _cut(path: Path) -> AudioError:
    return AudioError(f"{path}: is not a whole tar file; copy or pack it again.")


def write_shard(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Pack (name, content) in order into a tar file, which is there whole or not at all. The same members make the same
    bytes. Raises OutputError; ValueError for a name that is not plain or comes twice.
    """
    names: set[str] = set()
    with _whole_tar(path) as tar:
        for name, content in members:
            if not is_plain(name) or name in names:
                raise ValueError(f"{name!r} cannot name another member of {path}")
            names.add(name)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


@contextmanager
def _whole_tar(path: Path) -> Iterator[tarfile.TarFile]:
    part = path.with_name(path.name + ".part")
    try:
        with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as tar:
            yield tar
        part.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror}); make room or choose another folder."
        ) from error
    finally:
        part.unlink(missing_ok=True)
