"""Truths of the server on Ray: it answers as one on one machine does, a replica that is killed fails nobody, and who
comes when all places are taken is asked to come back."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("ray.serve", reason="Ray Serve is not installed here: pip install 'dragoman[ray,serve]'")
pytest.importorskip("openai", reason="the extra [dev] is not installed")

import httpx2
import openai
import ray
from ray import serve
from test_server_uploads import until

from dragoman import Translator
from dragoman.errors import DragomanError
from dragoman.server.ray import app

AUDIO = Path(__file__).parents[2] / "examples" / "english-video.mp4"
PLACES = 6


def test_arguments_are_those_that_there_are() -> None:
    for arguments, said in (
        ({"modell": "tiny", "allow_no_key": "true"}, "modell"),
        ({"allow_no_key": "true", "beam_size": "wide"}, "beam_size"),
        ({"allow_no_key": "true", "port": "80"}, "port"),
        ({"model": "tiny"}, "api_key"),
        ({"allow_no_key": "true", "max_replicas": "0"}, "max_replicas"),
    ):
        with pytest.raises(DragomanError, match=said):
            app(arguments)


@pytest.fixture(scope="module")
def address(random_model: Path) -> Iterator[str]:
    """Two replicas of the model in a cluster of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    replicas = {"min_replicas": "2", "max_replicas": "2", "batches": "2"}
    limits = {"max_requests": str(PLACES), "allow_no_key": "true", "served_model_names": "random,whisper-1"}
    serve.run(app({"model": str(random_model), "device": "cpu", "beam_size": "1", **replicas, **limits}))
    address = f"http://127.0.0.1:{port}"
    until(lambda: httpx2.get(f"{address}/ready", timeout=60).status_code == 200, 900)
    yield address
    serve.shutdown()
    ray.shutdown()


def processes(name: str) -> list[int]:
    """Those of the replicas of a deployment; Ray titles them so."""
    found = []
    for one in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has just ended
            if f"ServeReplica:default:{name}" in " ".join(one.cmdline()):
                found.append(one.pid)
    return found


@pytest.mark.slow
def test_a_killed_replica_fails_nobody(address: str, random_translator: Translator) -> None:
    expected = random_translator.translate(AUDIO, "all", "eng")
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
    found: list[str] = []
    failed: list[Exception] = []

    def ask() -> None:
        for _ in range(4):
            try:
                with open(AUDIO, "rb") as file:
                    answer = client.audio.transcriptions.create(
                        file=file, model="random", language="en", extra_body={"target_language": "all"}
                    )
                assert answer.translations == expected.translations
                found.append(answer.text)
            except Exception as error:
                failed.append(error)

    before = processes("model")
    assert len(before) == 2
    asking = [threading.Thread(target=ask) for _ in range(3)]
    for thread in asking:
        thread.start()
    until(lambda: len(found) + len(failed) > 1, 600)
    os.kill(before[0], signal.SIGKILL)
    for thread in asking:
        thread.join(timeout=900)
    assert not failed and found == [expected.transcript] * 12
    until(lambda: len(set(processes("model")) - {before[0]}) == 2, 600)


@pytest.mark.slow
def test_streams_sockets_and_refusals_pass_through(address: str) -> None:
    from websockets.sync.client import connect

    fields = {"model": "random", "language": "en", "target_language": "de", "stream": "true"}
    content = AUDIO.read_bytes()

    def ask(client: httpx2.Client) -> Any:
        return client.post(f"{address}/v1/audio/transcriptions", data=fields, files={"file": content})

    with httpx2.Client(timeout=300) as client:
        streamed = ask(client)
        assert streamed.headers["content-type"].startswith("text/event-stream")
        assert "transcript.text.segment" in streamed.text and streamed.text.endswith("data: [DONE]\n\n")
        odd = {"model": "random", "voice": "low"}
        bad = client.post(f"{address}/v1/audio/transcriptions", data=odd, files={"file": content})
        assert bad.status_code == 400 and bad.json()["error"]["param"] == "voice"
    sockets = []
    try:  # each takes a place
        for _ in range(PLACES):
            sockets.append(connect(f"{address.replace('http', 'ws')}/v1/realtime?intent=transcription"))
            assert "session.created" in sockets[-1].recv()
        refused = httpx2.post(f"{address}/v1/audio/transcriptions", data=fields, files={"file": content}, timeout=60)
        assert refused.status_code == 429 and 0 < int(refused.headers["retry-after"]) <= 60
        assert refused.json()["error"]["type"] == "rate_limit_error"
    finally:
        for one in sockets:
            one.close()
