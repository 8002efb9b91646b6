"""Chunks of work spread over processes, a few at a time, so that a long queue is never held in memory."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from dragoman.errors import DataError

Work = TypeVar("Work")
Result = TypeVar("Result")

_AHEAD = 4


def in_processes(
    function: Callable[[Work], Result], work: Iterable[Work], workers: int
) -> Iterator[tuple[Work, Result]]:
    """Yield (work, its result) in the order of the work; one worker is this process itself.

    Raises what the function raises, and DataError when a process dies of a recording.
    """
    if workers == 1:
        yield from ((piece, function(piece)) for piece in work)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        pending: deque[tuple[Work, Future[Result]]] = deque()
        try:
            for piece in work:
                pending.append((piece, pool.submit(function, piece)))
                if len(pending) > _AHEAD * workers:
                    yield _finished(*pending.popleft())
            while pending:
                yield _finished(*pending.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def _finished(piece: Work, future: Future[Result]) -> tuple[Work, Result]:
    try:
        return piece, future.result()
    except BrokenProcessPool as error:
        message = "A process that reads recordings was killed (out of memory?); use fewer --workers, or --no-audio."
        raise DataError(message) from error
