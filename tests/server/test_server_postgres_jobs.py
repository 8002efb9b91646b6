"""Truths of jobs in a Postgres database: servers share them, one that is killed leaves its jobs to the others, what is
cancelled stops wherever it runs."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

pytest.importorskip("fastapi", reason="the extra [serve] is not installed")
pytest.importorskip("procrastinate", reason="the extra [postgres] is not installed")

from test_server_uploads import until

from dragoman.errors import OutputError
from dragoman.server.backend.batching import ClientGone
from dragoman.server.backend.jobs import MOST_ATTEMPTS, RunningJobs, StoredJob, TooManyJobs
from dragoman.server.backend.postgres_jobs import PostgresJobs
from dragoman.server.backend.tasks import RecordingJob

if TYPE_CHECKING:
    from running_server import RunningServer

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).parents[2] / "examples"
HEARTBEAT_S = 0.5


def programs() -> Path:
    """Where Debian's package puts Postgres."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if not (found or on_path):
        pytest.skip("Postgres is not installed here: apt-get install postgresql")
    return (found[-1] if found else Path(str(on_path))).parent


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The address of a database server of these tests' own; it does not run as root."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    owner: dict[str, Any] = {}
    if os.geteuid() == 0:
        owner = {"user": "postgres", "group": "postgres", "extra_groups": []}
        shutil.chown(folder, "postgres", "postgres")
    data, quiet = folder / "data", {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    made = [programs() / "initdb", "--pgdata", data, "--auth", "trust", "--username", "dragoman", "--no-sync"]
    subprocess.run(made, check=True, **quiet, **owner)
    settings = ("listen_addresses=", f"unix_socket_directories={folder}", "fsync=off")
    command = [programs() / "postgres", "-D", data, *(part for one in settings for part in ("-c", one))]
    with subprocess.Popen(command, **quiet, **owner) as running:
        ready = [programs() / "pg_isready", "-h", folder]
        until(lambda: subprocess.run(ready, capture_output=True).returncode == 0, 120)
        yield f"postgresql://dragoman@/postgres?host={folder}"
        running.send_signal(signal.SIGINT)
    shutil.rmtree(folder)


@pytest.fixture
def url(database: str) -> Iterator[str]:
    """A new database."""
    import psycopg

    name = f"jobs{time.monotonic_ns()}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield database.replace("/postgres?", f"/{name}?")
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


class Reading:
    """A job's work that tells what it read, or waits until it is stopped."""

    def __init__(self, descriptor: int, waits: bool) -> None:
        self._descriptor, self._waits, self._stopped = descriptor, waits, threading.Event()

    def result(self) -> tuple[str, str]:
        if self._waits:
            self._stopped.wait()
            raise ClientGone("stopped")
        return "text/plain", os.pread(self._descriptor, 1 << 30, 0).decode()

    def close(self) -> None:
        if not self._stopped.is_set():
            self._stopped.set()
            os.close(self._descriptor)


def reading(waits: bool = False) -> RunningJobs:
    def begin(_: StoredJob, descriptor: int) -> RecordingJob:
        return cast(RecordingJob, Reading(descriptor, waits))

    return RunningJobs(begin, lambda _, work: cast(Reading, work).result(), str)


def added(jobs: PostgresJobs, content: bytes = b"sound") -> str:
    return jobs.add("transcribe", '{"model": "random"}', io.BytesIO(content)).id


def status(jobs: PostgresJobs, name: str) -> str | None:
    job = jobs.get(name)
    return None if job is None else job.status


def test_a_database_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(OutputError, match="--jobs_url"):
        PostgresJobs("postgresql://nobody@127.0.0.1:9/none")


def test_what_ended_leaves_its_result_alone(url: str) -> None:
    jobs = PostgresJobs(url, most_waiting=2, keep_s=1.0, heartbeat_s=HEARTBEAT_S)
    content = "wörter".encode() * 500_000  # in several parts
    first, second = added(jobs, content), added(jobs)
    with pytest.raises(TooManyJobs):
        added(jobs)
    assert [job.id for job in jobs.all()] == [second, first] and jobs.result(first) is None
    assert jobs.cancel(second) and not jobs.cancel(second)
    jobs.start(reading(), 2)
    until(lambda: status(jobs, first) == "completed", 60)
    assert jobs.result(first) == ("text/plain", content.decode()) and not jobs.cancel(first)
    with jobs._transaction() as connection:
        assert connection.execute("SELECT count(*) FROM dragoman_recordings").fetchone() == (0,)
    until(lambda: jobs.all() == [], 60)  # both ended more than a second ago
    jobs.end()


def test_whoever_asks_stops_what_another_does(url: str) -> None:
    busy, idle = (PostgresJobs(url, heartbeat_s=HEARTBEAT_S) for _ in range(2))
    busy.start(reading(waits=True), 1)
    name = added(idle)
    until(lambda: status(idle, name) == "running", 60)
    assert idle.cancel(name)
    after = added(idle)
    until(lambda: status(idle, after) == "running", 60)  # its one place is free
    assert status(idle, name) == "cancelled"
    busy.end()  # an end that was planned counts for nothing
    found = idle.get(after)
    assert found is not None and (found.status, found.attempts) == ("queued", 0)
    idle.start(reading(), 1)
    until(lambda: status(idle, after) == "completed", 60)
    idle.end()


def begun(jobs: PostgresJobs, name: str, attempts: int) -> bool:
    job = jobs.get(name)
    return job is not None and job.attempts == attempts


KILLED = """
import sys, time
sys.path[:0] = {path!r}
from test_server_postgres_jobs import HEARTBEAT_S, PostgresJobs, reading
PostgresJobs({url!r}, heartbeat_s=HEARTBEAT_S).start(reading(waits=True), 1)
time.sleep(1e6)
"""


def test_a_killed_server_leaves_its_jobs_to_others(url: str) -> None:
    jobs = PostgresJobs(url, heartbeat_s=HEARTBEAT_S)
    name = added(jobs)
    for attempt in range(1, MOST_ATTEMPTS + 1):
        code = KILLED.format(path=[str(Path(__file__).parent), *sys.path], url=url)
        with subprocess.Popen([sys.executable, "-c", code]) as server:
            until(partial(begun, jobs, name, attempt), 120)
            server.kill()
    jobs.start(reading(), 1)
    until(lambda: status(jobs, name) == "failed", 120)
    found = jobs.get(name)
    assert found is not None and json.loads(found.error or "")["code"] == "job_lost"
    other = added(jobs)
    until(lambda: status(jobs, other) == "completed", 60)
    jobs.end()


def test_two_servers_share_their_jobs(start: Callable[..., RunningServer], url: str) -> None:
    import httpx2

    servers = [start(jobs_url=url) for _ in range(2)]
    fields = {"model": "random", "language": "en", "target_language": "de", "response_format": "verbose_json"}
    content = (EXAMPLES / "english-video.mp4").read_bytes()

    def ask(number: int, method: str, path: str, **given: Any) -> Any:
        answered = httpx2.request(method, f"{servers[number % 2].url}/v1/jobs{path}", timeout=60, **given)
        answered.raise_for_status()
        return answered.json()

    names = [ask(number, "POST", "", data=fields, files={"file": content})["id"] for number in range(6)]
    until(lambda: all(ask(1, "GET", f"/{name}")["status"] == "completed" for name in names), 300)
    results = [ask(number, "GET", f"/{name}/result") for number, name in enumerate(names)]
    assert results[0]["text"] and results[0]["translations"]["deu"] and all(one == results[0] for one in results)
    counts = [server.state.metrics.text() for server in servers]
    assert all(b"dragoman_segments_total 0.0" not in text for text in counts)  # both worked
    for name in names:
        ask(0, "DELETE", f"/{name}")
    assert ask(1, "GET", "")["data"] == []
