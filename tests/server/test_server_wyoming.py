"""Truths of the Wyoming bridge: Home Assistant's own client gets what the command line writes, or an error in words."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import socket
import urllib.request
import wave
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("fastapi", reason="the extra [serve] is not installed")
pytest.importorskip("wyoming", reason="the extra [wyoming] is not installed")

from running_server import HeldDecoder
from test_server_uploads import decoders, until
from wyoming.asr import Transcribe
from wyoming.audio import AudioStop, wav_to_chunks
from wyoming.client import AsyncTcpClient
from wyoming.event import Event, write_event
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
    return voice(tmp_path_factory.mktemp("voice") / "voice.wav", load_audio(EXAMPLES / "english-wav.wav"))


def voice(path: Path, samples: NDArray[np.float32]) -> Path:
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, SAMPLE_RATE, 0, "NONE", "not compressed"))
        out.writeframes((samples * 32767).astype(np.int16).tobytes())
    return path


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
    return number


@pytest.fixture
def begin(start: Callable[..., RunningServer]) -> Callable[..., int]:
    """A server with settings of its own; its port for voices."""

    def begun(**settings: Any) -> int:
        number = free_port()
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


def counted(server: RunningServer, name: str) -> float:
    """As /metrics has it."""
    lines = urllib.request.urlopen(f"{server.url}/metrics").read().decode().splitlines()
    return float(next(line for line in lines if line.startswith(f"dragoman_{name} ")).split()[1])


def test_who_hangs_up_takes_the_work_along(
    start: Callable[..., RunningServer], random_translator: Translator, recording: Path, tmp_path: Path
) -> None:
    held = copy.copy(random_translator)
    held.decoder = decoder = HeldDecoder(random_translator.decoder)
    port = free_port()
    server = start(lambda: held, wyoming_port=port)
    long = voice(tmp_path / "long.wav", np.tile(np.pad(load_audio(EXAMPLES / "english-wav.wav"), SAMPLE_RATE), 30))
    with socket.create_connection(("127.0.0.1", port)) as client, client.makefile("wb") as out:
        for event in spoken(long, language="en"):
            write_event(event, out)
        until(lambda: counted(server, "segments_waiting") > 0)
        assert counted(server, "requests_active") == 1
    until(lambda: counted(server, "requests_active") == counted(server, "segments_waiting") == 0)
    until(lambda: not decoders())
    decoder.go.release(99)  # for what was in hand when the client went, and for all that anybody asks
    answer = asyncio.run(told(port, *spoken(recording, language="en")))
    assert answer is not None and answer.type == "transcript"
    until(lambda: counted(server, "batch_rows_count") >= 3)
    assert counted(server, "batch_rows_count") == 3  # the server's own at its start, what was in hand, the answer


def test_it_is_not_opened_to_strangers() -> None:
    with pytest.raises(DragomanError, match="--allow_no_key"):
        ServerSettings(host="0.0.0.0", api_key="key", wyoming_port=10300)
