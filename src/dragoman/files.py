"""Files and folders that are there whole or not at all: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from safetensors import SafetensorError

from dragoman.errors import MORE_FILES, TOO_MANY_FILES, OutputError

_UNWRITTEN = (OSError, SafetensorError)
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP)

_log = logging.getLogger(__name__)


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """A text file to write; `path` holds it once the block is done, and what it held before if the block fails.

    Raises OutputError when it cannot be written.
    """
    temporary: str | None = None
    try:
        # a short name of its own: the file's may be as long as the system allows
        descriptor, temporary = tempfile.mkstemp(prefix=".dragoman-", dir=path.parent)
        with open(descriptor, "w", encoding="utf-8", newline="\n") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())  # else the name may outlive a power cut, and the content not
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to fill; `path` is it once the block is done, and what it was before if the block fails. The block only
    writes: safetensors' errors in it are taken for a full disk. What is to outlive a power cut the block hands to
    `to_disk`. Raises OutputError."""
    temporary, former = (path.with_name(path.name + ending) for ending in (".part", ".former"))
    try:
        _restore(former, path)
        _remove(temporary, former)
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            path.rename(former)
        temporary.rename(path)
        _sync(path.parent)
        _remove(former)
    except _UNWRITTEN as error:
        with contextlib.suppress(OSError):
            _restore(former, path)
        _remove(temporary)
        raise _not_written(path, error) from error


def to_disk(folder: Path) -> None:
    """Wait until all that is in a folder is on the disk."""
    for path in folder.rglob("*"):
        _sync(path)
    _sync(folder)


@contextmanager
def only_run(folder: Path, rank: int = 0) -> Iterator[None]:
    """Keep a folder for this run as long as the block lasts, and not beyond the end of the process, however it comes;
    the first of several processes does it for all. Raises OutputError where another run has it."""
    if rank > 0:
        yield
        return
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise OutputError(f"{folder}: another run is writing there; let it end, or choose another --out.") from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise _not_written(folder, error) from error
        _log.warning("%s: cannot be locked on this file system; start no second run there.", folder)
        yield
        return
    try:
        yield
    finally:
        lock.release()


def digest_of_file(path: Path) -> str:
    """SHA-256."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _restore(former: Path, path: Path) -> None:
    """What was between its two names when an earlier process ended."""
    if former.exists() and not path.exists():
        former.rename(path)


def _remove(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _not_written(path: Path, error: Exception) -> OutputError:
    said = re.search(r"os error (\d+)", str(error))  # safetensors, in words of its own
    number = getattr(error, "errno", None) or (int(said[1]) if said else None)
    reason = os.strerror(number) if number else str(error).strip().partition("\n")[0]
    remedy = MORE_FILES if number in TOO_MANY_FILES else "make room or choose another folder"
    return OutputError(f"{path}: cannot be written ({reason}); {remedy}.")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def digest_of_weights(folder: Path) -> str:
    """Tells models apart by all the weights in their folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(str(path.relative_to(folder)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
