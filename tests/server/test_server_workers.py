"""Truths of models in processes of their own: they answer as one in this process does, and whoever kills one does no
harm."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("openai", reason="the extra [dev] is not installed")

import openai
from test_server_uploads import until

from dragoman import Translator

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
