"""Threads that do what the jobs on the disk ask for."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from dragoman.server.backend.batching import ClientGone
from dragoman.server.backend.job_store import JobStore, StoredJob
from dragoman.server.backend.tasks import RecordingJob

_LOOKS_S = 1.0
_FORGETS_S = 3600.0
_log = logging.getLogger(__name__)

Begin = Callable[[StoredJob, int], RecordingJob]
"""A job and its recording's descriptor -> the work, which then owns the descriptor. Raises DragomanError."""
Finish = Callable[[StoredJob, RecordingJob], tuple[str, str]]
"""Do the work: media type and body of the result."""
Tell = Callable[[Exception], str]
"""The answer to an error, as JSON."""


class JobRunner:
    """`count` jobs at once."""

    def __init__(self, store: JobStore, count: int, begin: Begin, finish: Finish, tell: Tell) -> None:
        self._store, self._begin, self._finish, self._tell = store, begin, finish, tell
        self._ended = threading.Event()
        self._wake = threading.Condition()
        self._running: dict[str, RecordingJob] = {}
        self._threads = [threading.Thread(target=self._run, name="dragoman-job", daemon=True) for _ in range(count)]
        self._threads.append(threading.Thread(target=self._forget, name="dragoman-jobs-old", daemon=True))
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """There is a new job."""
        with self._wake:
            self._wake.notify()

    def cancel(self, name: str) -> bool:
        """Stop a job, if it waits or runs; whether it did."""
        cancelled = self._store.cancel(name)
        running = self._running.get(name)
        if running is not None:
            running.close()
        return cancelled

    def heard_s(self, name: str) -> float | None:
        """How much of a running job's recording was decoded."""
        running = self._running.get(name)
        return None if running is None else running.recording.duration_s

    def end(self) -> None:
        """Put back what runs."""
        self._ended.set()
        with self._wake:
            self._wake.notify_all()
        for running in list(self._running.values()):
            running.close()
        for thread in self._threads:
            thread.join(timeout=10)
        self._store.close()

    def _run(self) -> None:
        while not self._ended.is_set():
            job = self._store.take()
            if job is None:
                with self._wake:
                    self._wake.wait(_LOOKS_S)
                continue
            self._do(job)

    def _do(self, job: StoredJob) -> None:
        work: RecordingJob | None = None
        try:
            descriptor = os.open(self._store.recording(job.id), os.O_RDONLY)
            try:
                work = self._begin(job, descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            self._running[job.id] = work
            self._store.complete(job.id, *self._finish(job, work))
        except ClientGone:  # cancelled, which the store knows, or the server is ending
            if self._ended.is_set():
                self._store.put_back(job.id)
        except Exception as error:
            self._store.fail(job.id, self._tell(error))
        finally:
            self._running.pop(job.id, None)
            if work is not None:
                work.close()

    def _forget(self) -> None:
        while True:
            self._store.forget_old()
            if self._ended.wait(_FORGETS_S):
                return
