"""Truths of live sessions: OpenAI's own client is understood, stable text only grows, and what ends is what a live
translator in this process says of the same speech."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import av
import numpy as np
import pytest

pytest.importorskip("openai", reason="the extra [dev] is not installed")

import openai
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from dragoman import Translator
from dragoman.data.audio import SAMPLE_RATE, Waveform, load_audio
from dragoman.data.audio.resampling import Resampler
from dragoman.inference.streaming import FinalSegment, LiveTranslator

if TYPE_CHECKING:
    from running_server import RunningServer

EXAMPLES = Path(__file__).parents[2] / "examples"
RATE = 24_000
COMPLETED = "conversation.item.input_audio_transcription.completed"
DELTA = "conversation.item.input_audio_transcription.delta"


@pytest.fixture(scope="module")
def speech() -> bytes:
    """Two sentences with a pause between, and silence behind: PCM16 at 24 kHz."""
    waveform = load_audio(EXAMPLES / "english-video.mp4")[: round(4.8 * SAMPLE_RATE)]
    resampler = av.AudioResampler("s16", "mono", RATE)
    frame = av.AudioFrame.from_ndarray((waveform * 32767).astype(np.int16)[None], "s16", "mono")
    frame.sample_rate = SAMPLE_RATE
    parts = [found.to_ndarray()[0] for found in (*resampler.resample(frame), *resampler.resample(None))]
    return np.concatenate([*parts, np.zeros(RATE, np.int16)]).tobytes()


def as_heard(pcm: bytes) -> Waveform:
    """What the server makes of it."""
    resampler = Resampler()
    samples = np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)
    return np.concatenate([*resampler.push(samples, RATE, 0.0), *resampler.flush()])


@contextmanager
def session(server: RunningServer, path: str = "/v1/realtime", **options: Any) -> Iterator[ClientConnection]:
    with connect(f"ws://127.0.0.1:{server.port}{path}", **options) as socket:
        assert json.loads(socket.recv(60))["type"] == "session.created"
        yield socket


def tell(socket: ClientConnection, kind: str, **fields: Any) -> None:
    socket.send(json.dumps({"type": kind, **fields}))


def hear(socket: ClientConnection) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(socket.recv(120))
    return event


def say(socket: ClientConnection, pcm: bytes, kind: str = "input_audio_buffer.append", size: int = 9600) -> None:
    for at in range(0, len(pcm), size):
        tell(socket, kind, audio=base64.b64encode(pcm[at : at + size]).decode())


def wish(**transcription: Any) -> dict[str, Any]:
    return {"type": "transcription", "audio": {"input": {"transcription": {"model": "random", **transcription}}}}


def test_a_session_transcribes_and_translates(
    server: RunningServer, speech: bytes, random_translator: Translator
) -> None:
    live = LiveTranslator(random_translator, ["deu", "fra"], "eng")
    expected = [*live.push(as_heard(speech), skip_updates=True), *live.finish()]
    segments = [one.segment for one in expected if isinstance(one, FinalSegment)]
    with session(server) as socket:
        tell(socket, "session.update", session=wish(language="en", target_languages=["de", "French"]))
        assert hear(socket)["session"]["audio"]["input"]["transcription"]["target_languages"] == ["de", "French"]
        say(socket, speech)
        tell(socket, "input_audio_buffer.commit")
        events: list[dict[str, Any]] = []
        while sum(event["type"] == COMPLETED for event in events) < len(segments):
            events.append(hear(socket))
    finals = [event for event in events if event["type"] == COMPLETED]
    for event, segment in zip(finals, segments, strict=True):
        assert (event["start"], event["end"]) == pytest.approx((segment.start_s, segment.end_s), abs=0.05)
        deltas = [one["delta"] for one in events if one["type"] == DELTA and one["item_id"] == event["item_id"]]
        assert "".join(deltas) == event["transcript"] and set(event["translations"]) == {"deu", "fra"}
    assert [event["item_id"] for event in finals] == [f"item_{number}" for number in range(len(finals))]
    assert not [event for event in events if event["type"] == "error"]


def test_every_commit_is_answered(server: RunningServer, speech: bytes) -> None:
    """As OpenAI's server does: a client whose user presses to talk waits for it."""
    silence = bytes(2 * RATE)
    with session(server) as socket:

        def commit() -> list[dict[str, Any]]:
            tell(socket, "input_audio_buffer.commit", event_id="mine")
            events = [hear(socket)]
            while events[-1]["type"] not in ("error", COMPLETED):
                events.append(hear(socket))
            return events

        (nothing,) = commit()
        assert nothing["error"]["code"] == "input_audio_buffer_commit_empty" and nothing["error"]["event_id"] == "mine"
        tell(socket, "session.update", session=wish(language="en"))  # nothing was heard yet
        assert hear(socket)["type"] == "session.updated"
        say(socket, silence)
        committed, completed = commit()
        assert (committed["type"], committed["previous_item_id"]) == ("input_audio_buffer.committed", None)
        assert committed["item_id"] == completed["item_id"] == "item_0" and completed["transcript"] == ""
        assert completed["usage"]["seconds"] == pytest.approx(1.0, abs=0.05)
        say(socket, silence[:960])
        assert [one["error"]["code"] for one in commit()] == ["input_audio_buffer_commit_empty"]
        say(socket, speech[: 3 * len(speech) // 8])
        spoken = commit()
        kinds = [event["type"] for event in spoken]
        assert kinds.count("input_audio_buffer.committed") == 1 and spoken[-1]["transcript"]
        (committed,) = [one for one in spoken if one["type"] == "input_audio_buffer.committed"]
        assert committed["previous_item_id"] == "item_0" and committed["item_id"] == spoken[-1]["item_id"] != "item_0"


def test_openais_client_is_understood(server: RunningServer, speech: bytes) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        connection.session.update(session=wish(language="en"))
        connection.input_audio_buffer.append(audio=base64.b64encode(speech).decode())
        connection.input_audio_buffer.commit()
        kinds = []
        for event in connection:
            kinds.append(event.type)
            if event.type == COMPLETED:
                assert event.transcript
                break
    assert kinds[:3] == ["session.created", "session.updated", "input_audio_buffer.speech_started"]
    assert not [kind for kind in kinds if kind.startswith("dragoman")]


def test_a_translation_only_grows(server: RunningServer, speech: bytes) -> None:
    with session(server, "/v1/realtime/translations?model=random") as socket:
        tell(socket, "session.update", session={"audio": {"output": {"language": "de"}, "input": {"language": "en"}}})
        assert hear(socket)["type"] == "session.updated"
        say(socket, speech, "session.input_audio_buffer.append")
        tell(socket, "session.close")
        events = []
        while not events or events[-1]["type"] != "session.closed":
            events.append(hear(socket))
    texts = {
        side: "".join(one["delta"] for one in events if one["type"] == f"session.{side}_transcript.delta")
        for side in ("input", "output")
    }
    assert all(texts.values()) and "  " not in texts["output"]
    times = [one["elapsed_ms"] for one in events if "elapsed_ms" in one]
    assert times == sorted(times)


def test_openais_client_of_translations_is_understood(server: RunningServer, speech: bytes) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    with client.realtime.translations.connect(model="random") as connection:
        wanted: Any = {"audio": {"input": {"language": "en"}, "output": {"language": "de"}}}
        connection.session.update(session=wanted)
        connection.session.input_audio_buffer.append(audio=base64.b64encode(speech).decode())
        connection.session.close()
        events = []
        for event in connection:
            events.append(event)
            if event.type == "session.closed":
                break
    kinds = [event.type for event in events]
    assert kinds[:2] == ["session.created", "session.updated"] and "error" not in kinds
    assert "".join(event.delta for event in events if event.type == "session.output_transcript.delta")


@pytest.mark.parametrize(
    ("kind", "fields", "param"),
    [
        ("response.create", {}, "type"),
        ("input_audio_buffer.append", {"audio": "%"}, "audio"),
        ("input_audio_buffer.append", {"audio": "AA=="}, "audio"),
        ("session.update", {"session": wish(language="Elvish")}, "language"),
        ("session.update", {"session": wish(target_languages=["ja"])}, "target_languages"),
        ("session.update", {"session": wish(prompt="names")}, "audio.input.transcription.prompt"),
        ("session.update", {"session": wish(model="other")}, "model"),
        ("session.update", {"session": {"audio": {"input": {"turn_detection": None}}}}, "audio.input.turn_detection"),
        ("session.update", {"session": []}, "session"),
        ("session.update", {"session": {"include": ["item.input_audio_transcription.logprobs"]}}, "include"),
        (
            "session.update",
            {"session": {"audio": {"input": {"noise_reduction": {"type": "near_field"}}}}},
            "audio.input.noise_reduction",
        ),
        (
            "session.update",
            {"session": {"audio": {"input": {"turn_detection": {"max_speech_duration_s": 900}}}}},
            "audio.input.turn_detection",
        ),
    ],
)
def test_an_event_that_cannot_be_honoured(server: RunningServer, kind: str, fields: Any, param: str) -> None:
    with session(server) as socket:
        tell(socket, kind, event_id="mine", **fields)
        error = hear(socket)["error"]
        assert (error["param"], error["event_id"]) == (param, "mine")
        assert error["message"].endswith((".", "?")) and "Input should be" not in error["message"]
        tell(socket, "session.update", session=wish())
        assert hear(socket)["type"] == "session.updated"  # the session goes on


def test_there_is_no_socket_elsewhere_nor_before_the_model(server: RunningServer) -> None:
    with pytest.raises(InvalidStatus, match=r"40[34]"), session(server, "/v1/nothing"):
        pass
    with pytest.raises(InvalidStatus, match="404"), session(server, "/v1/realtime?model=other"):
        pass
    with urlopen(f"{server.url}/metrics") as metrics:
        assert 'status="0"' not in metrics.read().decode()
    model, server.state._model = server.state._model, None  # as it is while it is loaded
    try:
        with pytest.raises(InvalidStatus, match="503"), session(server, "/v1/realtime"):
            pass
    finally:
        server.state._model = model


def test_strangers_open_no_socket(start: Any) -> None:
    server = start(api_key="secret")
    for options in ({}, {"additional_headers": {"authorization": "Bearer wrong"}}):
        with pytest.raises(InvalidStatus, match="401"), session(server, **options):
            pass
    with pytest.raises(InvalidStatus, match="403"), session(server, origin="https://evil.example"):
        pass
    with session(server, subprotocols=["realtime", "openai-insecure-api-key.secret"]) as socket:
        assert socket.subprotocol == "realtime"
