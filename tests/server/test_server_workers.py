"""Truths of models in processes of their own: they answer as one in this process does, whoever kills one does no harm,
and one that hangs is started anew."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("openai", reason="the extra [dev] is not installed")

import httpx2
import openai
import torch
from test_server_uploads import until

from dragoman import Translator
from dragoman.errors import ModelError
from dragoman.server.backend import batching
from dragoman.server.backend.workers import WorkerLost, open_processes, replica_devices
from dragoman.server.metrics import ServerMetrics
from dragoman.server.state import translate_sample

if TYPE_CHECKING:
    from running_server import RunningServer

AUDIO = Path(__file__).parents[2] / "examples" / "english-video.mp4"


@pytest.mark.slow
def test_a_killed_model_fails_nobody(
    start: Callable[..., RunningServer], random_model: Path, random_translator: Translator
) -> None:
    expected = random_translator.translate(AUDIO, "all", "eng")
    load = partial(Translator.from_pretrained, random_model, device="cpu", beam_size=1)
    server = start(load, workers=2)
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    found: list[str] = []

    def ask() -> None:
        for _ in range(4):
            with open(AUDIO, "rb") as file:
                answer = client.audio.transcriptions.create(
                    file=file, model="random", language="en", extra_body={"target_language": "all"}
                )
            assert answer.translations == expected.translations
            found.append(answer.text)

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for thread in asking:
        thread.start()
    until(lambda: len(found) > 1, 120)
    for worker in list(server.state.model.workers):
        os.kill(worker.pid, signal.SIGKILL)
    for thread in asking:
        thread.join(timeout=300)
    assert found == [expected.transcript] * 12
    assert b"dragoman_worker_restarts_total 0.0" not in server.state.metrics.text()


class Moody:
    """A decoder that hangs over its next batch where a file says so."""

    def __init__(self, decoder: Any, mood: Path) -> None:
        self._decoder, self._mood = decoder, mood

    def __call__(self, requests: Any) -> Any:
        if self._mood.read_text() == "hangs":
            time.sleep(1000)
        return self._decoder(requests)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)


def moody(model: Path, mood: Path) -> Translator:
    if mood.read_text() == "broken":
        raise ModelError("It is broken.")
    translator = Translator.from_pretrained(model, device="cpu", beam_size=1)
    translator.decoder = Moody(translator.decoder, mood)
    return translator


@pytest.mark.slow
def test_a_replica_that_hangs_or_dies_unnoticed_is_started_anew(
    start: Callable[..., RunningServer], random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "_TEND_S", 0.2)
    mood = tmp_path / "mood"
    mood.write_text("good")
    server = start(partial(moody, random_model, mood), workers=1, request_timeout_s=15.0)
    model = server.state.model
    (worker,) = model.workers

    def ready() -> int:
        return int(httpx2.get(f"{server.url}/ready", timeout=60).status_code)

    first = worker.pid
    mood.write_text("hangs")
    with pytest.raises(WorkerLost, match="hung"):
        translate_sample(model)
    mood.write_text("good")
    translate_sample(model)
    second = worker.pid
    assert second != first and ready() == 200

    mood.write_text("broken")
    os.kill(second, signal.SIGKILL)  # while nothing is asked of it
    until(lambda: ready() == 503, 600)
    mood.write_text("good")
    until(lambda: ready() == 200, 600)  # nobody had to ask
    translate_sample(model)
    assert worker.pid != second


def telling(path: Path) -> Translator:
    path.write_text(str(torch.get_num_threads()))
    raise ModelError("It only tells.")


@pytest.mark.slow
def test_a_replica_has_the_threads_that_are_given(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="It only tells"):
        open_processes([partial(telling, tmp_path / "threads")], 60.0, 3)(ServerMetrics())
    assert (tmp_path / "threads").read_text() == "3"


def test_replicas_take_the_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert replica_devices(None, 3) == replica_devices("cuda", 3) == ["cuda:0", "cuda:1", "cuda:0"]
    assert replica_devices("cuda:1", 2) == ["cuda:1", "cuda:1"] and replica_devices("cpu", 2) == ["cpu", "cpu"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert replica_devices(None, 2) == [None, None]
