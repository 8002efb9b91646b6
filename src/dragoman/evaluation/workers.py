"""Many independent calls on all cores, their results in order. No torch, here or in the processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from dragoman.errors import DragomanError

Job = TypeVar("Job")
Result = TypeVar("Result")

_WAITING = 4
"""Jobs sent ahead per process, so that the texts of thousands of directions are not all copied at once."""


def cores() -> int:
    """Those this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    workers: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[Result]:
    """`function` of each job, in the order of the jobs, by so many processes; 1 is this one alone.

    `on_progress` hears (jobs done, total). The processes are started afresh, not forked: this one may hold a model,
    its threads and a GPU. So a script that calls this with several workers needs the usual
    `if __name__ == "__main__":`. Raises what `function` raises, and DragomanError when the system kills a process.
    """
    workers = min(workers, len(jobs))
    results = map(function, jobs) if workers <= 1 else _shared(function, jobs, workers)
    for done, result in enumerate(results, 1):
        if on_progress:
            on_progress(done, len(jobs))
        yield result


def _shared(function: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Iterator[Result]:
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start)
    pending: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            pending.append(pool.submit(function, job))
            if len(pending) == _WAITING * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool as error:
        raise DragomanError(
            "A process that was counting ended early, perhaps for want of memory; take fewer with --workers."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start() -> None:
    """Interrupts are the parent's; one core each, said before numpy is imported."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
