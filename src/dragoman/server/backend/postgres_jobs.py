"""Jobs in a Postgres database, for one server or several. Procrastinate hands them out, wakes who waits, and tells of
jobs that are to be stopped and of servers that died; recordings and results are in tables of ours."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import IO, Any

from dragoman.errors import OutputError, needs_extra
from dragoman.server.backend.batching import ClientGone
from dragoman.server.backend.jobs import (
    KEEP_S,
    LOST,
    MOST_ATTEMPTS,
    MOST_WAITING,
    JobOutcome,
    RunningJobs,
    StoredJob,
    TooManyJobs,
)

with needs_extra("--jobs_url", "postgres"):
    import psycopg
    from procrastinate import App, PsycopgConnector, RetryStrategy, SyncPsycopgConnector
    from procrastinate.exceptions import ConnectorException, JobAborted
    from procrastinate.job_context import AbortReason, JobContext
    from procrastinate.schema import SchemaManager
    from procrastinate.tasks import Task
    from psycopg_pool import ConnectionPool

_TABLES = """
CREATE TABLE IF NOT EXISTS dragoman_jobs (
    id text PRIMARY KEY, road text NOT NULL, form text NOT NULL, status text NOT NULL,
    created double precision NOT NULL, ended double precision, attempts integer NOT NULL DEFAULT 0, error text,
    media_type text, result text, task bigint
);
CREATE INDEX IF NOT EXISTS dragoman_jobs_created ON dragoman_jobs (created);
CREATE TABLE IF NOT EXISTS dragoman_recordings (
    job text REFERENCES dragoman_jobs ON DELETE CASCADE, part integer, content bytea NOT NULL, PRIMARY KEY (job, part)
);
"""
_FIELDS = "id, road, form, status, created, ended, attempts, error"
_QUEUE = "dragoman"
_ONE_AT_A_TIME = 0x6472616F
"""Postgres' advisory lock while the tables are made."""
_PART = 1 << 20
_MOST_CONNECTIONS = 8
_WAIT_S = 10.0
_AGAIN_S = 5
_MISSED_HEARTBEATS = 3
_log = logging.getLogger(__name__)


class PostgresJobs:
    """The jobs of a database: a JobQueue. A server that says nothing for three of its heartbeats has died, and others
    do its jobs. Raises OutputError when the database cannot be used."""

    def __init__(
        self, url: str, most_waiting: int = MOST_WAITING, keep_s: float = KEEP_S, heartbeat_s: float = 10.0
    ) -> None:
        self._url, self._most_waiting, self._keep_s, self._heartbeat_s = url, most_waiting, keep_s, heartbeat_s
        try:
            with psycopg.connect(url, connect_timeout=round(_WAIT_S)) as connection:
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (_ONE_AT_A_TIME,))
                if connection.execute("SELECT to_regclass('procrastinate_jobs')").fetchone() == (None,):
                    connection.execute(SchemaManager.get_schema())
                connection.execute(_TABLES)
        except psycopg.Error as error:
            raise OutputError(f"Jobs cannot be kept in the database of --jobs_url ({_line(error)}).") from error
        self._pool = ConnectionPool(url, min_size=1, max_size=_MOST_CONNECTIONS, timeout=_WAIT_S, open=True)
        self._app, self._task = self._application(SyncPsycopgConnector(conninfo=url, min_size=1, max_size=2))
        self._app.open()
        self._running: RunningJobs | None = None
        self._ended = threading.Event()
        self._worker: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None
        self._thread: threading.Thread | None = None

    def add(self, road: str, form: str, recording: IO[bytes]) -> StoredJob:
        """See JobQueue."""
        name = f"job_{secrets.token_hex(12)}"
        recording.seek(0)
        with self._transaction() as database:
            row = database.execute("SELECT count(*) FROM dragoman_jobs WHERE status = 'queued'").fetchone()
            if row is not None and row[0] >= self._most_waiting:
                raise TooManyJobs(f"{row[0]} jobs wait already; come back later.")
            values = (name, road, form, "queued", time.time())
            database.execute(
                "INSERT INTO dragoman_jobs (id, road, form, status, created) VALUES (%s, %s, %s, %s, %s)", values
            )
            with (
                database.cursor() as cursor,
                cursor.copy("COPY dragoman_recordings FROM STDIN (FORMAT BINARY)") as copy,
            ):
                copy.set_types(["text", "int4", "bytea"])
                for number, content in enumerate(iter(lambda: recording.read(_PART), b"")):
                    copy.write_row((name, number, content))
            task = self._task.configure(connection=database).defer(name=name)  # at the same moment as all this
            database.execute("UPDATE dragoman_jobs SET task = %s WHERE id = %s", (task, name))
        found = self.get(name)
        assert found is not None
        return found

    def get(self, name: str) -> StoredJob | None:
        """See JobQueue."""
        with self._transaction() as database:
            row = database.execute(f"SELECT {_FIELDS} FROM dragoman_jobs WHERE id = %s", (name,)).fetchone()
        return None if row is None else StoredJob(*row)

    def all(self, limit: int = 100) -> list[StoredJob]:
        """See JobQueue."""
        newest = f"SELECT {_FIELDS} FROM dragoman_jobs ORDER BY created DESC LIMIT %s"
        with self._transaction() as database:
            return [StoredJob(*row) for row in database.execute(newest, (limit,)).fetchall()]

    def result(self, name: str) -> tuple[str, str] | None:
        """See JobQueue."""
        with self._transaction() as database:
            row = database.execute("SELECT media_type, result FROM dragoman_jobs WHERE id = %s", (name,)).fetchone()
        return None if row is None or row[1] is None else (row[0], row[1])

    def cancel(self, name: str) -> bool:
        """See JobQueue."""
        task = self._end(name, "cancelled", "queued", "running")
        if task is not None:
            self._app.job_manager.cancel_job_by_id(task, abort=True)
        return task is not None

    def delete(self, name: str) -> None:
        """See JobQueue."""
        with self._transaction() as database:
            database.execute("DELETE FROM dragoman_jobs WHERE id = %s", (name,))

    def start(self, running: RunningJobs, at_once: int) -> None:
        """See JobQueue."""
        self._running = running
        self._thread = threading.Thread(target=self._run, args=(at_once,), name="dragoman-jobs", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """See JobQueue."""
        self._ended.set()
        if self._worker is not None:
            loop, task = self._worker
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(task.cancel)
        if self._thread is not None:
            self._thread.join(timeout=30)
        self._app.close()
        self._pool.close()

    def _application(self, connector: Any) -> tuple[App, Task[..., Any, Any]]:
        app = App(connector=connector)
        again = RetryStrategy(wait=_AGAIN_S)  # whether it may be begun again, we say when it is
        return app, app.task(name="dragoman.job", queue=_QUEUE, pass_context=True, retry=again)(self._do)

    def _run(self, at_once: int) -> None:
        """A worker of Procrastinate's, begun anew when the database was away."""
        while not self._ended.is_set():
            try:
                asyncio.run(self._work(at_once))
            except asyncio.CancelledError:
                return
            except Exception as error:
                _log.error("Jobs wait for their database (%s).", _line(error))
            self._ended.wait(_AGAIN_S)

    async def _work(self, at_once: int) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._worker = asyncio.get_running_loop(), task
        if self._ended.is_set():
            return
        app, _ = self._application(PsycopgConnector(conninfo=self._url, min_size=1, max_size=_MOST_CONNECTIONS))
        async with app.open_async():
            tending = asyncio.create_task(self._tend(app))
            try:
                await app.run_worker_async(
                    queues=[_QUEUE],
                    concurrency=at_once,
                    install_signal_handlers=False,
                    shutdown_graceful_timeout=0,  # what runs is put back
                    delete_jobs="always",  # our table says what became of them
                    update_heartbeat_interval=self._heartbeat_s,
                    stalled_worker_timeout=_MISSED_HEARTBEATS * self._heartbeat_s,
                )
            finally:
                tending.cancel()

    async def _tend(self, app: App) -> None:
        """Give back what servers had that died, and forget what ended long ago."""
        quiet_s = _MISSED_HEARTBEATS * self._heartbeat_s
        while True:
            with contextlib.suppress(ConnectorException, psycopg.Error):  # another server was faster, or it is away
                for job in await app.job_manager.get_stalled_jobs(queue=_QUEUE, seconds_since_heartbeat=quiet_s):
                    await app.job_manager.retry_job(job)
                await asyncio.to_thread(self._forget_old)
            await asyncio.sleep(self._heartbeat_s)

    async def _do(self, context: JobContext, name: str) -> None:
        """The task. It is cancelled when the job is, and when this server ends."""
        job = await asyncio.to_thread(self._taken, name)
        if job is None:
            return
        doing = asyncio.create_task(asyncio.to_thread(self._done, job))
        try:
            await asyncio.shield(doing)
        except asyncio.CancelledError:
            assert self._running is not None
            while not doing.done():  # it may not have begun
                self._running.stop(name)
                await asyncio.wait({doing}, timeout=0.1)
            if context.abort_reason() == AbortReason.SHUTDOWN:
                await asyncio.to_thread(self._put_back, name)
            raise JobAborted from None

    def _taken(self, name: str) -> StoredJob | None:
        """Now running; None where it was cancelled, or begun too often."""
        begin = "UPDATE dragoman_jobs SET status = 'running', attempts = attempts + 1"
        with self._transaction() as database:
            row = database.execute(
                f"{begin} WHERE id = %s AND status IN ('queued', 'running') RETURNING {_FIELDS}", (name,)
            ).fetchone()
        job = None if row is None else StoredJob(*row)
        if job is not None and job.attempts > MOST_ATTEMPTS:
            self._end(name, "failed", "running", error=LOST)
            return None
        return job

    def _done(self, job: StoredJob) -> None:
        assert self._running is not None
        try:
            outcome = self._running.do(job, lambda: self._recording(job.id))
        except ClientGone:
            return
        self._settle(job.id, outcome)

    def _settle(self, name: str, outcome: JobOutcome) -> None:
        if outcome.result is not None:
            media_type, body = outcome.result
            self._end(name, "completed", "running", media_type=media_type, result=body)
        elif outcome.error is not None:
            self._end(name, "failed", "running", error=outcome.error)

    def _recording(self, name: str) -> int:
        """The descriptor of a file without a name."""
        parts = "SELECT content FROM dragoman_recordings WHERE job = %s ORDER BY part"
        with tempfile.TemporaryFile() as file, self._transaction() as database:
            with database.cursor("parts") as cursor:  # a few at a time
                cursor.itersize = 8
                for (content,) in cursor.execute(parts, (name,)):
                    file.write(content)
            file.flush()
            return os.dup(file.fileno())

    def _put_back(self, name: str) -> None:
        """The server is ending: that counts for nothing."""
        back = "UPDATE dragoman_jobs SET status = 'queued', attempts = attempts - 1"
        with self._transaction() as database:
            database.execute(f"{back} WHERE id = %s AND status = 'running'", (name,))

    def _forget_old(self) -> None:
        with self._transaction() as database:
            database.execute("DELETE FROM dragoman_jobs WHERE ended < %s", (time.time() - self._keep_s,))

    def _end(self, name: str, status: str, *before: str, **values: str) -> int | None:
        """The number of the task whose job it ended; None where it was not in one of these states."""
        columns = {"status": status, "ended": time.time(), **values}
        sets = ", ".join(f"{column} = %s" for column in columns)
        with self._transaction() as database:
            row = database.execute(
                f"UPDATE dragoman_jobs SET {sets} WHERE id = %s AND status = ANY(%s) RETURNING task",
                (*columns.values(), name, list(before)),
            ).fetchone()
            if row is not None:
                database.execute("DELETE FROM dragoman_recordings WHERE job = %s", (name,))
        return None if row is None else int(row[0])

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[psycopg.Connection[Any]]:
        try:
            with self._pool.connection() as database:
                yield database
        except (psycopg.Error, ConnectorException) as error:
            raise OutputError(f"The database of jobs does not answer ({_line(error)}).") from error


def _line(error: Exception) -> str:
    """What is wrong, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
