"""Files and folders that are there whole or not at all, written under a temporary name, then renamed; and what to say
where one cannot be read."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import shutil
import stat
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TextIO

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from dragoman.errors import MORE_FILES, TOO_MANY_FILES, AudioError, FileAccessError, OutputError

_UNWRITTEN = (OSError, SafetensorError)
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP)

_log = logging.getLogger(__name__)


@contextmanager
def atomic_file(path: Path) -> Iterator[TextIO]:
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
def atomic_folder(path: Path) -> Iterator[Path]:
    """A folder to fill; `path` is it once the block is done, and what it was before if the block fails. The block only
    writes: safetensors' errors in it are taken for a full disk. What is to outlive a power cut the block hands to
    `to_disk`. Raises OutputError."""
    temporary, former = (path.with_name(path.name + ending) for ending in (".part", ".former"))
    try:
        _restore(former, path)
        _remove(temporary, former)
        temporary.mkdir(parents=True)
        yield temporary
        _open_as_usual(temporary)
        if path.exists():
            path.rename(former)
        temporary.rename(path)
        _sync(path.parent)
        _remove(former)
    except BaseException as error:
        with contextlib.suppress(OSError):
            _restore(former, path)
        _remove(temporary)
        if not isinstance(error, _UNWRITTEN):
            raise
        raise _not_written(path, error) from error


def _open_as_usual(folder: Path) -> None:
    """safetensors makes its files for their owner alone; another user of a cache, or of a model, has to read them."""
    usual = 0o666 & ~_umask()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & usual != usual:
                path.chmod(mode | usual)


def to_disk(folder: Path) -> None:
    """Wait until all that is in a folder is on the disk."""
    for path in folder.rglob("*"):
        _sync(path)
    _sync(folder)


@contextmanager
def written(path: Path) -> Iterator[None]:
    """What the system says of a file that is written in the block, as an OutputError that names it: of a full disk it
    does not say where."""
    try:
        yield
    except OSError as error:
        raise _not_written(path, error) from error


@contextmanager
def held(
    folder: Path,
    name: str = ".dragoman-lock",
    wait_s: float = 0.0,
    *,
    taken: str = "another run is writing there; wait until it is done, or choose another folder",
) -> Iterator[None]:
    """`folder`, made if it is not there, for one run alone: `name` lies in it meanwhile. It is free again when the
    process is killed. Raises OutputError, which says that it is `taken`, when another has held it for longer than
    `wait_s`."""
    lock, made = folder / name, not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        holder = FileLock(lock, timeout=wait_s)
        holder.acquire()
    except Timeout:
        raise OutputError(f"{folder}: {taken}.") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise _not_written(folder, error) from error
        _log.warning("%s: cannot be locked on this file system; start no second run there.", folder)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()  # who waits for it sees that it is gone, and makes a new one
        holder.release()
        if made:
            with contextlib.suppress(OSError):  # it holds something
                folder.rmdir()


def only_run(folder: Path, rank: int | None = None) -> AbstractContextManager[None]:
    """`held` by the first of several processes, for all of them; None: this one's number is torchrun's."""
    number = int(os.environ.get("RANK", 0)) if rank is None else rank
    return held(folder) if number == 0 else contextlib.nullcontext()


def read_record(path: Path) -> dict[str, Any]:
    """What a run noted beside its results, a JSON object. Raises OutputError where that is cut or garbled."""
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        found = None
    except OSError as error:
        raise OutputError(f"{path}: cannot be read ({error.strerror}); check the disk and permissions.") from error
    if not isinstance(found, dict):
        raise OutputError(f"{path}: is damaged, so nobody knows what was begun here; choose another folder.")
    return found


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


_DATA_S_FAULT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)
_REMEDIES = {
    errno.EACCES: "give yourself permission to read it",
    errno.EPERM: "give yourself permission to read it",
    errno.EMFILE: "raise the limit (ulimit -n), or use fewer --workers",
    errno.ENFILE: "close other programs, or use fewer --workers",
    errno.ENOSPC: "make room there, or name another place for temporary files with TMPDIR",
}


def not_readable(name: str, error: OSError | ValueError, path: str | os.PathLike[str] | None = None) -> AudioError:
    """What to say where the system does not hand over a recording: an AudioError where the path is wrong, else a
    FileAccessError, which says nothing about the recording."""
    reason = getattr(error, "strerror", None) or str(error)
    number = error.errno if isinstance(error, OSError) else None
    if number is None or number in _DATA_S_FAULT:
        other = other_spelling(path) if number == errno.ENOENT and path is not None else None
        if other is not None:
            return AudioError(f"{name}: cannot be opened ({reason}); {spelt_otherwise(other)}.")
        return AudioError(f"{name}: cannot be opened ({reason}); check path and permissions.")
    place = getattr(error, "filename", None)
    where = f"in {os.fsdecode(place)}: " if number == errno.ENOSPC and place else ""
    return FileAccessError(
        f"{name}: cannot be read ({where}{reason}); {_REMEDIES.get(number, 'fix that and start again')}."
    )


def other_spelling(path: str | os.PathLike[str]) -> Path | None:
    """What is there under a name that looks the same as a missing one, in another Unicode form: an é may be one
    character (NFC: Linux, Windows, most tables) or two (NFD: what comes from a Mac)."""
    there = Path(Path(path).anchor)
    for part in Path(path).relative_to(there).parts:
        if os.path.lexists(there / part):
            there /= part
            continue
        try:
            names = os.listdir(there)
        except OSError:
            return None
        same = [name for name in names if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", part)]
        if not same:
            return None
        there /= same[0]
    return there


def spelt_otherwise(other: Path) -> str:
    """What to do about such a name."""
    form = "NFD" if unicodedata.is_normalized("NFD", str(other)) else "NFC"
    there = os.fsencode(other.name).decode("utf-8", "replace")
    return f"a file whose name looks the same is there in the other Unicode form ({form}: {there!a}); rename one"
