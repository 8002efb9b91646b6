"""Threads that do what the jobs on the disk ask for."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import IO, TypeVar

from dragoman.errors import OutputError
from dragoman.server.backend.batching import ClientGone
from dragoman.server.backend.job_store import JobStore
from dragoman.server.backend.jobs import RunningJobs, StoredJob

_LOOKS_S = 1.0
_AGAIN_S = 5.0
"""So long after the disk failed it is tried again."""
_FORGETS_S = 3600.0
_log = logging.getLogger(__name__)
ItemT = TypeVar("ItemT")


class DiskJobs(JobStore):
    """The jobs of a folder, done by this process: a JobQueue."""

    _running: RunningJobs | None = None

    def start(self, running: RunningJobs, at_once: int) -> None:
        """See JobQueue."""
        self._running, self._ended, self._wake = running, threading.Event(), threading.Condition()
        self._threads = [
            threading.Thread(target=self._run, args=(running,), name="dragoman-job", daemon=True)
            for _ in range(at_once)
        ]
        self._threads.append(threading.Thread(target=self._forget, name="dragoman-jobs-old", daemon=True))
        for thread in self._threads:
            thread.start()

    def add(self, road: str, form: str, recording: IO[bytes]) -> StoredJob:
        """See JobQueue."""
        job = super().add(road, form, recording)
        if self._running is not None:
            with self._wake:
                self._wake.notify()
        return job

    def cancel(self, name: str) -> bool:
        """See JobQueue."""
        cancelled = super().cancel(name)
        if self._running is not None:
            self._running.stop(name)
        return cancelled

    def end(self) -> None:
        """See JobQueue."""
        if self._running is not None:
            self._ended.set()
            with self._wake:
                self._wake.notify_all()
            self._running.stop_all()
            for thread in self._threads:
                thread.join(timeout=10)
        self.close()

    def _run(self, running: RunningJobs) -> None:
        while not self._ended.is_set():
            job = self._tried(self.take)
            if job is None:
                with self._wake:
                    self._wake.wait(_LOOKS_S)
                continue
            self._do(job, running)

    def _do(self, job: StoredJob, running: RunningJobs) -> None:
        try:
            outcome = running.do(job, lambda: os.open(self.recording(job.id), os.O_RDONLY))
        except ClientGone:  # cancelled, which the store knows, or the server is ending
            if self._ended.is_set():
                self._tried(partial(self.put_back, job.id))
            return
        if outcome.result is not None:
            self._tried(partial(self.complete, job.id, *outcome.result))
        elif outcome.error is not None:
            self._tried(partial(self.fail, job.id, outcome.error))

    def _forget(self) -> None:
        while True:
            self._tried(self.forget_old)
            if self._ended.wait(_FORGETS_S):
                return

    def _tried(self, step: Callable[[], ItemT]) -> ItemT | None:
        """Until the disk takes it: one that is full has room again some day. None where the server ends before; what
        then still counts as running waits for its next start."""
        while True:
            try:
                return step()
            except OutputError as error:
                _log.error("Jobs wait for their disk: %s", error)
            if self._ended.wait(_AGAIN_S):
                return None
