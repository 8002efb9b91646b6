"""Truths of the Wyoming bridge: Home Assistant's own client gets what the command line writes, or an error in words."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import wave
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra [serve] is not installed")
pytest.importorskip("wyoming", reason="the extra [wyoming] is not installed")

from wyoming.asr import Transcribe
from wyoming.audio import AudioStop, wav_to_chunks
from wyoming.client import AsyncTcpClient
from wyoming.event import Event
from wyoming.info import Describe, Info

from dragoman import Translator
from dragoman.data.audio import SAMPLE_RATE, load_audio
from dragoman.errors import DragomanError
from dragoman.server.settings import ServerSettings

if TYPE_CHECKING:
    from running_server import RunningServer

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, SAMPLE_RATE, 0, "NONE", "not compressed"))
        out.writeframes((load_audio(EXAMPLES / "english-wav.wav") * 32767).astype(np.int16).tobytes())
    return path


@pytest.fixture
def begin(start: Callable[..., RunningServer]) -> Callable[..., int]:
    """A server with settings of its own; its port for voices."""

    def begun(**settings: Any) -> int:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            number: int = free.getsockname()[1]
        start(wyoming_port=number, **settings)
        return number

    return begun


async def told(port: int, *events: Event) -> Event | None:
    """What the server says to these."""
    async with AsyncTcpClient("127.0.0.1", port) as client:
        for event in events:
            await client.write_event(event)
        return await asyncio.wait_for(client.read_event(), 120)


def spoken(recording: Path, **wanted: Any) -> list[Event]:
    with wave.open(str(recording), "rb") as file:
        chunks = [one.event() for one in wav_to_chunks(file, 1024, start_event=True)]
    return [Transcribe(**wanted).event(), *chunks, AudioStop().event()]


def test_home_assistant_hears_what_the_command_line_writes(
    begin: Callable[..., int], recording: Path, random_translator: Translator
) -> None:
    port = begin()
    described = asyncio.run(told(port, Describe().event()))
    assert described is not None
    (program,) = Info.from_event(described).asr
    assert program.models[0].name == "random" and program.models[0].languages == ["en", "de", "fr"]
    expected = random_translator.translate(recording, "none", "eng", hotwords=["Home"])
    answer = asyncio.run(told(port, *spoken(recording, language="en-GB", transcript_names=["Home"])))
    assert answer is not None and answer.type == "transcript"
    assert answer.data == {"text": expected.transcript, "language": "en"}
    refused = asyncio.run(told(port, *spoken(recording, language="tlh")))
    assert refused is not None and refused.type == "error" and "Klingon" in refused.data["text"]


def said(connection: socket.socket) -> bytes:
    """All that comes until the server hangs up."""
    with contextlib.suppress(ConnectionError):
        return b"".join(iter(lambda: connection.recv(65536), b""))
    return b""


def test_who_sends_too_much_or_nothing_or_comes_too_often(begin: Callable[..., int], recording: Path) -> None:
    port = begin(max_requests=2, body_grace_s=3.0)

    def connect() -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), timeout=60)

    with connect() as large, connect() as silent:
        large.sendall(b'{"type": "audio-chunk", "payload_length": 10000000000}\n' + bytes(10_000))
        assert b"event_too_large" in said(large)
        with connect(), connect() as third:
            assert b"busy" in said(third)
        assert said(silent) == b""  # after a while
    with connect() as other:
        other.sendall(b"[]\n")
        assert b"invalid_event" in said(other)
    answer = asyncio.run(told(port, *spoken(recording, language="en")))
    assert answer is not None and answer.type == "transcript"


def test_who_takes_too_long_is_told(begin: Callable[..., int], recording: Path) -> None:
    answer = asyncio.run(told(begin(request_timeout_s=0.05), *spoken(recording, language="en")))
    assert answer is not None and (answer.type, answer.data["code"]) == ("error", "work_timeout")


def test_it_is_not_opened_to_strangers() -> None:
    with pytest.raises(DragomanError, match="--allow_no_key"):
        ServerSettings(host="0.0.0.0", api_key="key", wyoming_port=10300)
