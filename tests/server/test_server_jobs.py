"""Truths of jobs: nothing that was taken is lost, whoever ends the server; what is cancelled stops; nothing is left."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fastapi", reason="the extra [serve] is not installed")

from test_server_uploads import until

from dragoman.errors import OutputError
from dragoman.server.backend import job_runner
from dragoman.server.backend.job_runner import DiskJobs
from dragoman.server.backend.job_store import JobStore
from dragoman.server.backend.jobs import MOST_ATTEMPTS, RunningJobs, TooManyJobs

if TYPE_CHECKING:
    from running_server import RunningServer

EXAMPLES = Path(__file__).parents[2] / "examples"


def added(store: JobStore, content: bytes = b"sound") -> str:
    return store.add("transcribe", '{"model": "random"}', io.BytesIO(content)).id


def test_the_oldest_is_taken_once(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    names = [added(store) for _ in range(20)]
    taken: list[str] = []

    def take() -> None:
        while (job := store.take()) is not None:
            taken.append(job.id)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(names) and store.take() is None


def test_what_ran_when_the_server_died_waits_again(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    name, other = added(store), added(store)
    store.complete(other, "text/plain", "done")  # it never ran: nothing happens
    for attempt in range(1, MOST_ATTEMPTS + 1):
        job = store.take()
        assert job is not None and (job.id, job.attempts) == (name, attempt)
        with open(store.recording(name), "rb") as file:
            assert file.read() == b"sound"
        store.put_back(name)  # an end that was planned counts for nothing
        assert store.take() is not None
        store.close()
        (tmp_path / "job_litter.recording").write_bytes(b"of an upload that broke off")
        store = JobStore(tmp_path)
        assert not (tmp_path / "job_litter.recording").exists()
        if attempt < MOST_ATTEMPTS:
            found = store.get(name)
            assert found is not None and found.status == "queued"
            order = [one.id for one in (store.get(name), store.get(other)) if one is not None]
            assert order == [name, other]
    found = store.get(name)
    assert found is not None and found.status == "failed" and json.loads(found.error or "")["code"] == "job_lost"
    assert not store.recording(name).exists() and store.recording(other).exists()


def test_what_ended_leaves_its_result_alone(tmp_path: Path) -> None:
    store = JobStore(tmp_path, most_waiting=2, keep_s=0.05)
    name = added(store)
    store.take()
    store.complete(name, "text/plain", "wörter")
    assert store.result(name) == ("text/plain", "wörter") and not store.cancel(name)
    assert [path.suffix for path in tmp_path.iterdir() if path.name.startswith("job_")] == []
    added(store), added(store)
    with pytest.raises(TooManyJobs):
        added(store)
    time.sleep(0.1)
    store.forget_old()
    assert store.get(name) is None and len(store.all()) == 2


def test_a_folder_is_one_servers_alone(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    name = added(store)
    assert store.take() is not None
    with pytest.raises(OutputError, match="another server keeps its jobs there; name another --jobs_dir"):
        JobStore(tmp_path)
    running = store.get(name)
    assert running is not None and running.status == "running" and store.recording(name).exists()
    store.close()
    JobStore(tmp_path).close()


class Work:
    """Of a job whose result is long."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def close(self) -> None:
        os.close(self._descriptor)


def test_a_full_disk_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(job_runner, "_AGAIN_S", 0.05)
    jobs = DiskJobs(tmp_path)
    names = [added(jobs) for _ in range(3)]

    def at_most(pages: int) -> None:
        with jobs._lock:
            jobs._database.execute(f"PRAGMA max_page_count={pages}")

    at_most(1)  # it has some already: none is added
    with pytest.raises(OutputError, match="full"):
        jobs.add("transcribe", "x" * 100_000, io.BytesIO(b"sound"))
    running: Any = RunningJobs(lambda job, descriptor: Work(descriptor), lambda job, work: ("text", "x" * 100_000), str)
    jobs.start(running, 2)
    until(lambda: caplog.text.count("Jobs wait for their disk") > 5)
    assert not [job for job in jobs.all() if job.status not in ("queued", "running")]
    at_most(1 << 20)
    until(lambda: all(job.status == "completed" for job in jobs.all()))
    assert [len((jobs.result(name) or ("", ""))[1]) for name in names] == [100_000] * 3
    jobs.end()
    assert not list(tmp_path.glob("*.recording"))


@pytest.mark.slow
def test_a_job_outlives_the_server(start: Callable[..., RunningServer], tmp_path: Path) -> None:
    import httpx2

    server = start(jobs_dir=tmp_path)
    fields = {"model": "random", "language": "en", "target_language": "de", "response_format": "verbose_json"}
    content = (EXAMPLES / "english-video.mp4").read_bytes()

    def ask(method: str, path: str, **given: Any) -> Any:
        answered = httpx2.request(method, f"{server.url}/v1/jobs{path}", timeout=60, **given)
        answered.raise_for_status()
        return answered.json()

    names = [ask("POST", "", data=fields, files={"file": content})["id"] for _ in range(4)]
    ask("POST", f"/{names[-1]}/cancel")
    server.stop()
    server = start(jobs_dir=tmp_path)
    until(lambda: all(ask("GET", f"/{name}")["status"] == "completed" for name in names[:-1]), 300)
    results = [ask("GET", f"/{name}/result") for name in names[:-1]]
    assert results[0]["text"] and results[0]["translations"]["deu"] and all(one == results[0] for one in results)
    assert ask("GET", f"/{names[-1]}")["status"] in ("cancelled", "completed")
    for name in names:
        ask("DELETE", f"/{name}")
    assert ask("GET", "")["data"] == [] and not [one for one in os.listdir(tmp_path) if one.endswith(".recording")]
