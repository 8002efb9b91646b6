"""The user's cache of base models: folders that are there whole or not at all, and are what was written into them."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from dragoman.errors import ModelError
from dragoman.files import digest_of_file

_log = logging.getLogger(__name__)

SEAL = "fetched.json"
"""The checksums of the other files of a folder, written last."""


def cache_folder() -> Path:
    """Where base models lie: Hugging Face's cache for assets, which HF_HOME and XDG_CACHE_HOME move. Raises ModelError
    when it cannot be made."""
    from huggingface_hub import cached_assets_path

    try:
        return cached_assets_path("dragoman", namespace="bases", subfolder="1")
    except OSError as error:
        raise ModelError(describe_error(error, Path(error.filename or "the cache"))) from error
    except ValueError as error:  # a file stands in the place of a folder
        raise ModelError(f"{error} Name another cache folder in HF_HOME.") from error


def seal(folder: Path) -> None:
    """Write down what the files of a new folder are."""
    listed = {path.name: digest_of_file(path) for path in sorted(folder.iterdir())}
    (folder / SEAL).write_text(json.dumps(listed, indent=2), encoding="utf-8")


def is_sealed(folder: Path) -> bool:
    """Whether it is there, whole; that its files are unchanged only `sealed` makes sure of."""
    return (folder / SEAL).is_file()


def sealed(folder: Path) -> Path | None:
    """The folder, if it is there, whole and unchanged; None when it is not there. Raises ModelError for a changed
    file, or one of another user's. In one process a file is read once, however often it is asked for."""
    if not is_sealed(folder):
        return None
    try:
        listed: dict[str, str] = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        changed = [name for name, digest in listed.items() if _digest(folder / name) != digest]
    except PermissionError as error:
        raise ModelError(
            f"{error.filename}: cannot be read ({error.strerror}); have its owner run `chmod -R a+rX {folder}`, "
            "or name another cache folder in HF_HOME."
        ) from error
    except (OSError, ValueError, AttributeError):
        changed = [SEAL]
    if changed:
        raise ModelError(f"{folder / changed[0]}: was changed since it was made; remove {folder} to make it again.")
    return folder


def _digest(path: Path) -> str:
    stat = path.stat()
    return _digest_of(path, stat.st_size, stat.st_mtime_ns)


@cache
def _digest_of(path: Path, size: int, changed_ns: int) -> str:
    return digest_of_file(path)


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Of several processes that would make this folder, one at a time. What goes wrong with the disk is one sentence.

    Raises ModelError.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            _log.warning("Another process is making %s; waiting for it.", folder.name)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
    except OSError as error:
        raise ModelError(describe_error(error, folder.parent)) from error


def describe_error(error: OSError, folder: Path) -> str:
    """What went wrong with the cache in `folder`, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{folder}: there is no room left; make some, or name another cache folder in HF_HOME."
    place = error.filename or folder
    return f"{place}: cannot be written ({error.strerror or error}); name another cache folder in HF_HOME."
