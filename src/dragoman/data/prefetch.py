"""Batches made ahead of time by worker processes, whose failures are all heard of."""

from __future__ import annotations

import errno
import os
import pickle
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.reduction import ForkingPickler
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from dragoman.errors import TOO_MANY_FILES, DragomanError

Key = TypeVar("Key")
Made = TypeVar("Made")

_LOST = (
    "A process that prepares batches has ended, perhaps because memory ran out; go on with fewer --workers, or with 0."
)
_NO_SHARED_MEMORY = (
    "Shared memory (/dev/shm) has no room for the batches that are prepared ahead; give a container more "
    "(--shm-size=8g), or go on with --workers 0."
)


def prefetch_map(make: Callable[[Key], Made], keys: Iterable[Key], workers: int) -> Iterator[Made]:
    """`map(make, keys)` in order, computed ahead by this many worker processes (0: here and now). Used within
    `workers_watched`. Raises what `make` raises, and DragomanError where shared memory is too small."""
    if workers == 0:
        yield from map(make, keys)
        return
    loader = DataLoader(
        _MappedDataset(make),
        sampler=keys,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4,
        generator=torch.Generator(),  # else it draws from training's own random numbers, and a resumed run differs
    )
    for packed in _started(loader):
        if isinstance(packed, Exception):
            raise packed
        yield _unpacked(packed)


@contextmanager
def workers_watched() -> Iterator[None]:
    """A worker of `prefetch_map` that dies is one sentence; torch raises wherever this process is just then."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise DragomanError(_LOST) from error


class _MappedDataset(Dataset[Any], Generic[Key, Made]):
    def __init__(self, make: Callable[[Key], Made]) -> None:
        self.make = make

    def __getitem__(self, key: Any) -> bytes | Exception:
        try:
            made = self.make(key)
        except DragomanError as error:  # raised in a worker it would arrive wrapped in a traceback
            return error
        except OSError as error:  # without what a library's own kind of it may hold
            return OSError(error.errno, error.strerror or str(error), error.filename)
        return _packed(made)


def _started(loader: DataLoader[Any]) -> Iterator[Any]:
    try:
        return iter(loader)
    except OSError as error:  # its queues have semaphores, which lie there too
        if error.errno != errno.ENOSPC:
            raise
        raise DragomanError(_NO_SHARED_MEMORY) from error


def _packed(made: Any) -> bytes | Exception:
    """Pickled, tensors by shared memory. Left to DataLoader, a thread would do it, and were it to fail, the batch would
    be waited for for ever."""
    try:
        return bytes(ForkingPickler.dumps(made))
    except (OSError, RuntimeError) as error:
        said = re.search(r"\((\d+)\)$", str(error))  # torch's errors end with the system's number
        number = getattr(error, "errno", None) or (int(said[1]) if said else 0)
        if number in TOO_MANY_FILES:
            return OSError(number, os.strerror(number))
        if not number:
            raise
        return DragomanError(_NO_SHARED_MEMORY)


def _unpacked(packed: bytes) -> Any:
    try:
        return pickle.loads(packed)
    except RuntimeError as error:
        if "ancdata" not in str(error):
            raise
        raise OSError(TOO_MANY_FILES[0], os.strerror(TOO_MANY_FILES[0])) from error
    except (ConnectionError, EOFError, FileNotFoundError) as error:  # it has ended, and its tensors with it
        raise DragomanError(_LOST) from error
