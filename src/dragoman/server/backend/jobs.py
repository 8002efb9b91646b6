"""Jobs that outlive the server: what one is, the queue where they wait, and those that this process is doing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Literal, Protocol

from dragoman.errors import DragomanError
from dragoman.server.backend.batching import ClientGone
from dragoman.server.backend.tasks import RecordingJob

JobStatus = Literal["queued", "running", "completed", "failed", "cancelled"]
MOST_ATTEMPTS = 3
"""A job that the server ended over so often is not begun again."""
MOST_WAITING = 1000
KEEP_S = 7 * 86400.0
"""So long after its end a job is forgotten."""
LOST = json.dumps(
    {
        "message": "The server ended over it, again and again.",
        "type": "server_error",
        "param": None,
        "code": "job_lost",
    }
)


class TooManyJobs(DragomanError):
    """This many wait that another would wait too long."""


@dataclass(frozen=True)
class StoredJob:
    """A row: which road, its form and error as JSON, times since 1970."""

    id: str
    road: str
    form: str
    status: JobStatus
    created: float
    ended: float | None
    attempts: int
    error: str | None


@dataclass(frozen=True)
class JobOutcome:
    """Media type and body of a result, or an error as JSON."""

    result: tuple[str, str] | None = None
    error: str | None = None


Begin = Callable[[StoredJob, int], RecordingJob]
"""A job and its recording's descriptor -> the work, which then owns the descriptor. Raises DragomanError."""
Finish = Callable[[StoredJob, RecordingJob], tuple[str, str]]
"""Do the work: media type and body of the result."""
Tell = Callable[[Exception], str]
"""The answer to an error, as JSON."""


class RunningJobs:
    """The jobs that this process is doing, by any number of threads."""

    def __init__(self, begin: Begin, finish: Finish, tell: Tell) -> None:
        self._begin, self._finish, self._tell = begin, finish, tell
        self._running: dict[str, RecordingJob] = {}

    def do(self, job: StoredJob, recording: Callable[[], int]) -> JobOutcome:
        """Until its end; `recording` opens a descriptor. Raises ClientGone when it was stopped."""
        work: RecordingJob | None = None
        try:
            work = self._begun(job, recording())
            self._running[job.id] = work
            return JobOutcome(result=self._finish(job, work))
        except ClientGone:
            raise
        except Exception as error:
            return JobOutcome(error=self._tell(error))
        finally:
            self._running.pop(job.id, None)
            if work is not None:
                work.close()

    def _begun(self, job: StoredJob, descriptor: int) -> RecordingJob:
        try:
            return self._begin(job, descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def stop(self, name: str) -> None:
        """Whoever does it gets ClientGone."""
        running = self._running.get(name)
        if running is not None:
            running.close()

    def stop_all(self) -> None:
        """The server is ending."""
        for name in list(self._running):
            self.stop(name)

    def heard_s(self, name: str) -> float | None:
        """How much of a recording was decoded; None where another process does it, or none."""
        running = self._running.get(name)
        return None if running is None else running.recording.duration_s


class JobQueue(Protocol):
    """Where jobs wait and their results are kept: on the disk of this machine, or in a database for several."""

    def add(self, road: str, form: str, recording: IO[bytes]) -> StoredJob:
        """Keep a recording and what is asked of it. Raises TooManyJobs, OutputError."""

    def get(self, name: str) -> StoredJob | None:
        """One job."""

    def all(self, limit: int = 100) -> list[StoredJob]:
        """The newest first."""

    def result(self, name: str) -> tuple[str, str] | None:
        """Media type and body, once it is completed."""

    def cancel(self, name: str) -> bool:
        """Stop it, if it waits or runs; whether it did."""

    def delete(self, name: str) -> None:
        """Forget it."""

    def start(self, running: RunningJobs, at_once: int) -> None:
        """Do what waits, this many at once."""

    def end(self) -> None:
        """Put back what runs, and do no more."""
