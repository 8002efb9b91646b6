"""Truths of a server's patience and strength: how long work, silence and answers that nobody reads may last, what
it says before its model is there and while it ends, that no recording breaks it and that it does not grow."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest

pytest.importorskip("openai", reason="the extra [dev] is not installed")

from starlette.testclient import TestClient, WebSocketDenialResponse
from test_server_guards import BODY, EXAMPLES, FORM, ROAD, ask, connect, head, recording
from test_server_realtime import hear, say, session, tell, wish
from test_server_uploads import HOSTILE, decoders, until
from websockets.exceptions import ConnectionClosed

from dragoman.data.audio import load_audio
from dragoman.data.synthesis import write_flac
from dragoman.server.api import realtime
from dragoman.server.app import create_app
from dragoman.server.backend.translation import ModelServer
from dragoman.server.metrics import ServerMetrics
from dragoman.server.settings import ServerSettings

if TYPE_CHECKING:
    from running_server import RunningServer

Start = Callable[..., "RunningServer"]


def field(name: str, value: str) -> bytes:
    return f"--x\r\ncontent-disposition: form-data; name={name}\r\n\r\n{value}\r\n".encode()


WARM_UP, REQUESTS = 100, 400
ENGLISH, STREAM = field("language", "en"), field("stream", "true")


def streamed(server: RunningServer, form: bytes) -> bytes:
    """All that comes until the server hangs up."""
    with connect(server) as connection:
        asked = {"content-length": len(form), "connection": "close", **FORM}
        connection.sendall(head(server, "POST", ROAD, asked) + form)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The form of a recording that takes a while, without its first field."""
    path = tmp_path_factory.mktemp("long") / "long.flac"
    write_flac(path, np.tile(load_audio(EXAMPLES / "english-video.mp4"), 5))
    part = b"--x\r\ncontent-disposition: form-data; name=file; filename=x\r\n\r\n"
    return BODY + ENGLISH + part + path.read_bytes() + b"\r\n--x--\r\n"


# -------------------------------------------------------------------------------------------------------- patience


def test_a_silent_stream_says_that_it_lives(start: Start, long: bytes) -> None:
    found = streamed(start(ping_s=0.01), STREAM + long)
    assert b"200 OK" in found and b": ping\n\n" in found and b"[DONE]" in found


def test_work_has_a_deadline(start: Start, long: bytes) -> None:
    server = start(request_timeout_s=0.001)
    status, headers, body = ask(server, ROAD, "POST", long, content_type=FORM["content-type"])
    assert (status, headers["x-should-retry"]) == (408, "false")
    assert json.loads(body)["error"]["code"] == "work_timeout"
    found = streamed(server, STREAM + long)
    assert b"200 OK" in found and b'"code":"work_timeout"' in found.replace(b": ", b":") and b"[DONE]" not in found
    until(lambda: server.state.places.taken == 0 and not decoders())
    until(lambda: server.state.model.scheduler._waiting == 0)


def test_who_does_not_read_is_cut_off(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    server = start(send_timeout_s=0.5)
    _, _, body = ask(server, "/openapi.json")
    often = 20_000_000 // len(body)
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.settimeout(60)
        lazy.connect(("127.0.0.1", server.port))
        lazy.sendall(head(server, "GET", "/openapi.json", {}) * often)
        until(lambda: "does not read its answer" in caplog.text)
        received = 0
        try:
            while part := lazy.recv(65536):
                received += len(part)
        except ConnectionError:
            pass
    assert received < often * len(body)


def test_a_session_ends_when_it_is_long_or_silent(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start(max_live_s=1.0)
    with session(server) as socket:
        tell(socket, "session.update", session=wish(language="en"))
        say(socket, bytes(2 * 24_000 * 2))
        while (event := hear(socket))["type"] != "error":
            pass
        assert event["error"]["message"] == "The session lasts over 1 s; begin a new one."
    monkeypatch.setattr(realtime, "_IDLE_S", 0.5)
    with session(server) as socket, pytest.raises(ConnectionClosed):
        socket.recv(60)
    until(lambda: server.state.places.taken == 0)


# ---------------------------------------------------------------------------------------------- before, after, doors


def test_before_its_model_is_there_it_is_alive_and_not_ready() -> None:
    def never(_: ServerMetrics) -> ModelServer:
        raise AssertionError("nobody starts it")

    settings = ServerSettings(served_model_names=("mine",))
    client = TestClient(create_app(settings, never), base_url="http://127.0.0.1")
    assert client.get("/health").status_code == 200
    for path in ("/ready", "/v1/models"):
        found = client.get(path)
        assert (found.status_code, found.json()["error"]["code"]) == (503, "not_ready")
        assert 0 < int(found.headers["retry-after"]) <= 60
    for path in ("/v1/realtime", "/v1/realtime/translations?model=mine"):
        with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect(f"ws://127.0.0.1{path}"):
            pass
        assert refused.value.status_code == 503


def test_a_server_that_is_ending_says_so(start: Start) -> None:
    server = start()
    assert ask(server, "/ready")[0] == 200
    server.state.places.draining = True
    assert ask(server, "/ready")[0] == 503 and ask(server, "/health")[0] == 200
    status, headers, body = ask(server, ROAD, "POST", recording(), content_type=FORM["content-type"])
    assert (status, json.loads(body)["error"]["code"]) == (503, "draining") and int(headers["retry-after"]) <= 60


def test_a_preflight_needs_no_key_and_lets_only_friends_in(start: Start) -> None:
    server = start(api_key="secret", allowed_origins=("https://friend.example",))
    wanted = {"access_control_request_method": "POST", "access_control_request_headers": "authorization,content-type"}
    status, headers, _ = ask(server, ROAD, "OPTIONS", origin="https://friend.example", **wanted)
    assert status == 200 and headers["access-control-allow-origin"] == "https://friend.example"
    assert "POST" in headers["access-control-allow-methods"]
    allowed = headers["access-control-allow-headers"].lower()
    assert "authorization" in allowed and "content-type" in allowed
    _, headers, _ = ask(server, ROAD, "OPTIONS", origin="https://evil.example", **wanted)
    assert "access-control-allow-origin" not in headers


# -------------------------------------------------------------------------------------------------------- strength


@pytest.mark.slow
def test_no_recording_breaks_it(server: RunningServer, caplog: pytest.LogCaptureFixture) -> None:
    if not HOSTILE.is_dir():
        pytest.skip("the hostile files are not here")
    found: dict[int, int] = {}
    for path in sorted(path for path in HOSTILE.rglob("*") if path.is_file()):
        part = b"--x\r\ncontent-disposition: form-data; name=file; filename=x\r\n\r\n"
        form = BODY + ENGLISH + field("target_language", "de") + part + path.read_bytes() + b"\r\n--x--\r\n"
        status, _, body = ask(server, ROAD, "POST", form, content_type=FORM["content-type"])
        said: dict[str, Any] = json.loads(body)
        assert status in (200, 400, 413), (path.name, said)
        assert status == 200 or said["error"]["message"].endswith("."), (path.name, said)
        found[status] = found.get(status, 0) + 1
    assert min(found.get(status, 0) for status in (200, 400, 413)) > 0
    assert "server's own" not in caplog.text
    until(lambda: server.state.places.taken == 0 and not decoders())
    assert ask(server, "/ready")[0] == 200


def held_mb() -> float:
    """What this process has of the memory, without what malloc only keeps for later."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return float(psutil.Process().memory_info().rss) / 1e6


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="malloc_trim is Linux's")
def test_memory_does_not_grow(server: RunningServer) -> None:
    """Of 2,000 requests less than 50 MB, told from fewer."""
    form = ENGLISH + recording()

    def many(count: int) -> None:
        with ThreadPoolExecutor(6) as threads:
            asked = [
                threads.submit(ask, server, ROAD, "POST", form, content_type=FORM["content-type"]) for _ in range(count)
            ]
            assert {one.result()[0] for one in asked} == {200}
        until(lambda: server.state.places.taken == 0)

    many(WARM_UP)
    before, descriptors = held_mb(), len(os.listdir("/proc/self/fd"))
    many(REQUESTS)
    grown = held_mb() - before
    assert grown * 2000 / REQUESTS < 50
    until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
