"""vLLM behind the server: the same answers as torch's, also when its process is killed. Run in an environment that has
vLLM (docs/vllm.md); skipped elsewhere."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from dragoman import Translator
from dragoman.data.audio import load_audio
from dragoman.inference.streaming import LiveTranslator

pytest.importorskip("vllm", reason="vLLM is not installed here: it wants an environment of its own, see docs/vllm.md")
pytest.importorskip("fastapi", reason="the extra [serve] is not installed")
from dragoman.engines.vllm.translator import VllmTranslator

if TYPE_CHECKING:
    from running_server import RunningServer

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).parents[2] / "examples"
CLIPS = {"eng": EXAMPLES / "english-wav.wav", "deu": EXAMPLES / "german-flac.flac"}
TARGETS = ["fra", "nld"]
# A CPU's memory is small and compiling takes longer than this model.
OPTIONS = {"enforce_eager": True, "kv_cache_memory_bytes": 2**28, "max_num_seqs": 16}


@pytest.fixture(scope="module")
def by_torch() -> Translator:
    return Translator.from_pretrained("tiny", device="cpu", beam_size=1)


@pytest.fixture(scope="module")
def by_vllm() -> Iterator[VllmTranslator]:
    translator = VllmTranslator.from_pretrained("tiny", compute_type="float32", engine_options=OPTIONS)
    yield translator
    translator.decoder.engine.close()


def asked(url: str, clip: Path, **fields: Any) -> httpx2.Response:
    data = {"model": "tiny", "response_format": "verbose_json", "target_language": ",".join(TARGETS), **fields}
    with clip.open("rb") as file:
        return httpx2.post(f"{url}/v1/audio/transcriptions", data=data, files={"file": file}, timeout=300)


def texts(answer: httpx2.Response) -> dict[str, str]:
    assert answer.status_code == 200, answer.text
    return {"": answer.json()["text"], **answer.json()["translations"]}


def test_clients_get_what_torch_writes(
    by_torch: Translator, by_vllm: VllmTranslator, start: Callable[..., RunningServer]
) -> None:
    server = start(lambda: by_vllm)
    clips = list(CLIPS.items())
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda one: texts(asked(server.url, one[1], language=one[0])), 4 * clips))
    for (code, clip), answer in zip(4 * clips, answers, strict=True):
        ours = by_torch.translate(clip, TARGETS, language=code)
        assert answer == {"": ours.transcript, **ours.translations}

    code, clip = clips[0]
    for process in multiprocessing.active_children():
        if "EngineCore" in process.name:
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
    assert texts(asked(server.url, clip, language=code)) == answers[0]

    for param, fields in (
        ("language", {}),
        ("keywords", {"language": code, "keywords": "station"}),
        ("glossary", {"language": code, "glossary": '{"station": "gare"}'}),
    ):
        refused = asked(server.url, clip, **fields)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


def test_speech_is_followed_as_torch_follows_it(by_torch: Translator, by_vllm: VllmTranslator) -> None:
    """What is open goes on from what is already stable."""
    samples = load_audio(CLIPS["eng"])
    told = []
    for translator in (by_torch, by_vllm):
        live = LiveTranslator(translator, to=TARGETS, language="eng", min_chunk_s=0.25)
        steps = [samples[at : at + 4000] for at in range(0, len(samples), 4000)]
        events = [event for step in steps for event in live.push(step)] + list(live.finish())
        told.append([said(event) for event in events])
    assert told[0] == told[1] and len(told[0]) > 2


def said(event: Any) -> Any:
    """An update, or the end of a segment, without scores: vLLM gives none."""
    if hasattr(event, "segment"):
        return event.number, event.segment.transcript, event.segment.translations
    return event
