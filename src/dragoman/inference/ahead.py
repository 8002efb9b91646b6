"""Work done ahead in a thread: while the model works on what is there, the next comes out of the file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from queue import Full, Queue
from typing import Generic, NoReturn, TypeVar

Item = TypeVar("Item")
THREAD = "dragoman-ahead"
_PATIENCE_S = 0.1


class ahead(Iterator[Item], Generic[Item]):
    """The same items, made by a thread that starts at once and stays at most `size` ahead. An error is raised where the
    item would have come. The thread ends with the items, or soon after nobody holds this iterator any more."""

    def __init__(self, items: Iterable[Item], size: int) -> None:
        self._queue: Queue[Callable[[], Item]] = Queue(size)
        self._left = threading.Event()
        self._last: Callable[[], Item] | None = None
        threading.Thread(target=_fill, args=(items, self._queue, self._left), name=THREAD, daemon=True).start()

    def __next__(self) -> Item:
        take = self._last or self._queue.get()
        try:
            return take()
        except BaseException:
            self._last = take  # the end, or an error, stays
            raise

    def __del__(self) -> None:
        self._left.set()


def _fill(items: Iterable[Item], queue: Queue[Callable[[], Item]], left: threading.Event) -> None:
    """The thread; it knows nothing of the iterator that reads the queue, so that it can be forgotten."""
    try:
        for item in items:
            if not _put(queue, partial(_given, item), left):
                return
        error: BaseException = StopIteration()
    except BaseException as raised:
        error = raised
    _put(queue, partial(_raised, error), left)


def _put(queue: Queue[Callable[[], Item]], take: Callable[[], Item], left: threading.Event) -> bool:
    while not left.is_set():
        try:
            queue.put(take, timeout=_PATIENCE_S)
            return True
        except Full:
            continue
    return False


def _given(item: Item) -> Item:
    return item


def _raised(error: BaseException) -> NoReturn:
    raise error
