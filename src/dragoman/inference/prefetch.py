"""Work done ahead in a thread: while the model works on what is there, the next comes out of the file."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from queue import Empty, Full, Queue
from typing import Generic, NoReturn, TypeVar

ItemT = TypeVar("ItemT")
THREAD = "dragoman-ahead"
_PATIENCE_S = 0.1


class Prefetcher(Iterator[ItemT], Generic[ItemT]):
    """The same items, made by a thread that starts at once and stays at most `size` ahead. An error is raised where the
    item would have come. The thread ends with the items, or soon after `stop` or when nobody holds this iterator any
    more."""

    def __init__(self, items: Iterable[ItemT], size: int) -> None:
        self._queue: Queue[Callable[[], ItemT]] = Queue(size)
        self._stopped = threading.Event()
        self._last: Callable[[], ItemT] | None = None
        made = (items, self._queue, weakref.ref(self), self._stopped)
        threading.Thread(target=_fill, args=made, name=THREAD, daemon=True).start()

    def __next__(self) -> ItemT:
        take = self._last or self._take()
        try:
            return take()
        except BaseException:
            self._last = take  # the end, or an error, stays
            raise

    def _take(self) -> Callable[[], ItemT]:
        while True:
            try:
                return self._queue.get(timeout=_PATIENCE_S)
            except Empty:
                if self._stopped.is_set():  # the thread may hang in waiting for the next
                    return partial(_raised, StopIteration())

    @property
    def waiting(self) -> bool:
        """Whether the next item is there already."""
        return not self._queue.empty()

    def stop(self) -> None:
        """No more are made: those that are there still come, then it ends. A signal's handler may call it."""
        self._stopped.set()


_Reader = Callable[[], object]
"""A weak reference to the iterator: None when it is gone. A finaliser would swallow an interrupt that comes in it."""


def _fill(items: Iterable[ItemT], queue: Queue[Callable[[], ItemT]], reader: _Reader, stopped: threading.Event) -> None:
    """The thread; it does not hold the iterator that reads the queue, so that it can be forgotten."""
    try:
        for item in items:
            if not _put(queue, partial(_given, item), reader):
                return
            if stopped.is_set():
                break
        error: BaseException = StopIteration()
    except BaseException as raised:
        error = raised
    _put(queue, partial(_raised, error), reader)


def _put(queue: Queue[Callable[[], ItemT]], take: Callable[[], ItemT], reader: _Reader) -> bool:
    while reader() is not None:
        try:
            queue.put(take, timeout=_PATIENCE_S)
            return True
        except Full:
            continue
    return False


def _given(item: ItemT) -> ItemT:
    return item


def _raised(error: BaseException) -> NoReturn:
    raise error
