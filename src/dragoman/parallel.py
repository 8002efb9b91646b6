"""Many independent calls on all cores: the only process pool. No torch, here or in the processes.

Processes are started afresh, not forked: this one may hold a model, its threads and a GPU. So a script that uses
several workers needs the usual `if __name__ == "__main__":`. Jobs are handed out a few ahead, so that a long queue is
never held in memory.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from dragoman.errors import DragomanError

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")
LOST = "A process ended unexpectedly, perhaps because memory ran out; go on with fewer --workers."

_AHEAD = 4
"""Jobs sent ahead per process."""


def cores() -> int:
    """Those this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(
    function: Callable[[JobT], ResultT],
    jobs: Iterable[JobT],
    workers: int,
    *,
    lost: str = LOST,
    start: Callable[[], None] | None = None,
) -> Iterator[ResultT]:
    """`function` of each job, in the order of the jobs.

    Args:
        function: Of the top level of a module, so that processes find it.
        jobs: Taken as they are needed.
        workers: Processes; 1 is this one alone.
        lost: What is said when the system kills a process.
        start: Called first in each process; by default an interrupt ends it.

    Raises:
        DragomanError: The system killed a process; and what `function` raises.
    """
    if workers <= 1:
        yield from map(function, jobs)
        return
    with _pool(workers, lost, start) as pool:
        pending: deque[Future[ResultT]] = deque()
        for job in jobs:
            pending.append(pool.submit(function, job))
            if len(pending) == _AHEAD * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def as_finished(
    function: Callable[[JobT], ResultT], jobs: Iterable[JobT], workers: int, *, lost: str = LOST
) -> Iterator[ResultT]:
    """`in_order`, but each result as soon as it is there."""
    if workers <= 1:
        yield from map(function, jobs)
        return
    with _pool(workers, lost) as pool:
        pending: set[Future[ResultT]] = set()
        for job in jobs:
            pending.add(pool.submit(function, job))
            if len(pending) == _AHEAD * workers:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in finished)
        yield from (future.result() for future in as_completed(pending))


def counted(
    results: Iterable[ResultT], total: int, on_progress: Callable[[int, int], None] | None
) -> Iterator[ResultT]:
    """The results; `on_progress` hears (results done, total) of each."""
    for done, result in enumerate(results, 1):
        if on_progress:
            on_progress(done, total)
        yield result


def single_threaded() -> None:
    """A `start` for processes that compute: interrupts are the parent's; one core each, said before numpy is
    imported."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")


def _ended_by_interrupts() -> None:
    """Ctrl-C reaches the whole process group. As an exception it would end one job of a process, which then took the
    next, or be dropped in a callback of FFmpeg's, which then took the recording for damaged."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where the parent ignores it
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def _pool(workers: int, lost: str, start: Callable[[], None] | None = None) -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), start or _ended_by_interrupts)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise DragomanError(lost) from error
    finally:
        pool.shutdown(cancel_futures=True)
