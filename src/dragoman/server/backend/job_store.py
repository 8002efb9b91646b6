"""Jobs on the disk: a table of SQLite, and each recording beside it under a name of ours. They outlive the server."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from dragoman.errors import OutputError
from dragoman.files import held
from dragoman.server.backend.jobs import KEEP_S, LOST, MOST_ATTEMPTS, MOST_WAITING, JobStatus, StoredJob, TooManyJobs

_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, road TEXT NOT NULL, form TEXT NOT NULL, status TEXT NOT NULL, created REAL NOT NULL,
    ended REAL, attempts INTEGER NOT NULL DEFAULT 0, error TEXT, media_type TEXT, result TEXT
);
CREATE INDEX IF NOT EXISTS by_status ON jobs (status, created);
"""
_FIELDS = "id, road, form, status, created, ended, attempts, error"
_TAKEN = "another server keeps its jobs there; name another --jobs_dir, or share a database by --jobs_url"


class JobStore:
    """All jobs in a folder, which is one server's alone. `keep_s` after its end a job is forgotten. Everything raises
    OutputError when the folder cannot be used."""

    def __init__(self, folder: Path, most_waiting: int = MOST_WAITING, keep_s: float = KEEP_S) -> None:
        self._folder, self._most_waiting, self._keep_s = folder, most_waiting, keep_s
        self._lock, self._holding = threading.Lock(), ExitStack()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._holding.enter_context(held(folder, taken=_TAKEN))
            self._database = sqlite3.connect(folder / "jobs.sqlite", check_same_thread=False, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.executescript(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise OutputError(f"{folder}: jobs cannot be kept there ({error}); name another --jobs_dir.") from error
        self._recover()

    def add(self, road: str, form: str, recording: IO[bytes]) -> StoredJob:
        """Keep a recording and what is asked of it. Raises TooManyJobs, OutputError."""
        with self._transaction() as database:
            (waiting,) = database.execute("SELECT count(*) FROM jobs WHERE status = 'queued'").fetchone()
        if waiting >= self._most_waiting:
            raise TooManyJobs(f"{waiting} jobs wait already; come back later.")
        name = f"job_{secrets.token_hex(12)}"
        try:
            with open(self.recording(name), "xb") as file:
                recording.seek(0)
                shutil.copyfileobj(recording, file, 1 << 20)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            self._remove(name)
            raise OutputError(f"The recording cannot be kept ({error.strerror}); make room in --jobs_dir.") from error
        try:
            with self._transaction() as database:
                values = (name, road, form, "queued", time.time())
                database.execute("INSERT INTO jobs (id, road, form, status, created) VALUES (?, ?, ?, ?, ?)", values)
        except OutputError:
            self._remove(name)
            raise
        found = self.get(name)
        assert found is not None
        return found

    def get(self, name: str) -> StoredJob | None:
        """One job."""
        with self._transaction() as database:
            row = database.execute(f"SELECT {_FIELDS} FROM jobs WHERE id = ?", (name,)).fetchone()
        return None if row is None else StoredJob(*row)

    def all(self, limit: int = 100) -> list[StoredJob]:
        """The newest first."""
        with self._transaction() as database:
            rows = database.execute(f"SELECT {_FIELDS} FROM jobs ORDER BY created DESC LIMIT ?", (limit,)).fetchall()
        return [StoredJob(*row) for row in rows]

    def result(self, name: str) -> tuple[str, str] | None:
        """Media type and body, once it is completed."""
        with self._transaction() as database:
            row = database.execute("SELECT media_type, result FROM jobs WHERE id = ?", (name,)).fetchone()
        return None if row is None or row[1] is None else (row[0], row[1])

    def take(self) -> StoredJob | None:
        """The oldest that waits, now running."""
        with self._transaction() as database:
            row = database.execute(
                f"UPDATE jobs SET status = 'running', attempts = attempts + 1 WHERE id = "
                f"(SELECT id FROM jobs WHERE status = 'queued' ORDER BY created LIMIT 1) RETURNING {_FIELDS}"
            ).fetchone()
        return None if row is None else StoredJob(*row)

    def complete(self, name: str, media_type: str, result: str) -> None:
        """It is done; its recording is not needed any more."""
        self._end(name, "completed", ("running",), media_type=media_type, result=result)

    def fail(self, name: str, error: str) -> None:
        """It cannot be done; the error as JSON."""
        self._end(name, "failed", ("running",), error=error)

    def put_back(self, name: str) -> None:
        """The server is ending: another start goes on with it."""
        with self._transaction() as database:
            values = (name,)
            database.execute(
                "UPDATE jobs SET status = 'queued', attempts = attempts - 1 WHERE id = ? AND status = 'running'", values
            )

    def cancel(self, name: str) -> bool:
        """Whether there was something to cancel."""
        return self._end(name, "cancelled", ("queued", "running"))

    def delete(self, name: str) -> None:
        """Forget it."""
        with self._transaction() as database:
            database.execute("DELETE FROM jobs WHERE id = ?", (name,))
        self._remove(name)

    def forget_old(self) -> None:
        """Those that ended long ago."""
        with self._transaction() as database:
            before = (time.time() - self._keep_s,)
            rows = database.execute("DELETE FROM jobs WHERE ended < ? RETURNING id", before).fetchall()
        for (name,) in rows:
            self._remove(name)

    def recording(self, name: str) -> Path:
        """Where a job's recording lies."""
        return self._folder / f"{name}.recording"

    def close(self) -> None:
        """Nothing is written any more."""
        with self._lock:
            self._database.close()
            self._holding.close()

    def _end(self, name: str, status: JobStatus, before: Sequence[str], **values: str) -> bool:
        columns = {"status": status, "ended": time.time(), **values}
        sets = ", ".join(f"{column} = ?" for column in columns)
        marks = ", ".join("?" * len(before))
        with self._transaction() as database:
            done = database.execute(
                f"UPDATE jobs SET {sets} WHERE id = ? AND status IN ({marks})", (*columns.values(), name, *before)
            )
        if done.rowcount:
            self._remove(name)
        return bool(done.rowcount)

    def _recover(self) -> None:
        """What ran when an earlier server ended waits again; one that ended it again and again has failed. Recordings
        without a job are litter."""
        with self._transaction() as database:
            given_up = "UPDATE jobs SET status = 'failed', error = ?, ended = ? WHERE status = 'running'"
            database.execute(f"{given_up} AND attempts >= ?", (LOST, time.time(), MOST_ATTEMPTS))
            database.execute("UPDATE jobs SET status = 'queued' WHERE status = 'running'")
            waiting = {name for (name,) in database.execute("SELECT id FROM jobs WHERE status = 'queued'")}
        for path in self._folder.glob("job_*.recording"):
            if path.stem not in waiting:
                self._remove(path.stem)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._usable():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # SQLite may have done so itself
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise OutputError(f"The database of jobs cannot be used ({error}); make room for --jobs_dir.") from error

    def _remove(self, name: str) -> None:
        with suppress(OSError):
            self.recording(name).unlink()
