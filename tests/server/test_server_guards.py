"""Truths of a server that stands in a bad neighbourhood: strangers are refused before a body is read, the slow and the
many do no harm, who goes away costs nothing more."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fastapi", reason="the extra [serve] is not installed")

from test_server_uploads import decoders, until

from dragoman.errors import DragomanError
from dragoman.server.settings import ServerSettings

if TYPE_CHECKING:
    from running_server import RunningServer

EXAMPLES = Path(__file__).parents[2] / "examples"
Start = Callable[..., "RunningServer"]
Answer = tuple[int, dict[str, str], bytes]
BODY = b"--x\r\ncontent-disposition: form-data; name=model\r\n\r\nrandom\r\n"
FORM = {"content-type": "multipart/form-data; boundary=x"}
ROAD = "/v1/audio/transcriptions"


def connect(server: RunningServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=60)


def head(server: RunningServer, method: str, path: str, headers: dict[str, Any]) -> bytes:
    given = {"host": f"127.0.0.1:{server.port}", **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


def answer(connection: socket.socket) -> Answer:
    """Status, headers, what came of the body."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        part = connection.recv(65536)
        if not part:
            break
        raw += part
    lines, _, body = raw.partition(b"\r\n\r\n")
    first, *rest = lines.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    return int(first.split()[1]), headers, body


def ask(
    server: RunningServer, path: str = "/v1/models", method: str = "GET", body: bytes = b"", **headers: str
) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with connect(server) as connection:
        length = {"content-length": len(body)} if method == "POST" else {}
        connection.sendall(head(server, method, path, {**length, **named}) + body)
        return answer(connection)


def recording(size: int = 0) -> bytes:
    """A form with a recording in it, or with zeros."""
    content = b"\0" * size if size else (EXAMPLES / "english-wav.wav").read_bytes()
    part = b"--x\r\ncontent-disposition: form-data; name=file; filename=../../a#b\r\n\r\n"
    return BODY + part + content + b"\r\n--x--\r\n"


# ------------------------------------------------------------------------------------------------------- strangers


def test_every_road_but_two_wants_the_key(start: Start) -> None:
    server = start(api_key="secret")
    known = [path for path in server.app.openapi()["paths"] if path not in ("/health", "/ready")]
    for path in [*known, "/metrics", "/openapi.json", "/v1/nothing", "//v1/models", "/v1/../v1/models"]:
        for given in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic secret"}):
            status, headers, body = ask(server, path, **given)
            assert (status, headers["www-authenticate"]) == (401, "Bearer"), path
            assert json.loads(body)["error"]["type"] == "authentication_error"
    assert ask(server, "/health")[0] == ask(server, "/ready")[0] == 200
    assert ask(server, authorization="Bearer secret")[0] == 200
    assert ask(server, "/metrics", authorization="Bearer secret")[0] == 200


def test_a_body_without_a_key_is_not_read(start: Start) -> None:
    server = start(api_key="secret", body_grace_s=60.0)
    with connect(server) as connection:
        connection.sendall(head(server, "POST", ROAD, {"content-length": 10**8, **FORM}))
        assert answer(connection)[0] == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:1"},
        {"sec_fetch_site": "cross-site"},
        {"host": "evil.example"},
        {"host": "[evil"},
    ],
)
def test_pages_of_others_are_refused(server: RunningServer, headers: dict[str, str]) -> None:
    status, answered, _ = ask(server, **headers)
    assert status == 403 and "access-control-allow-origin" not in answered


def test_what_looks_after_a_server_may_call_it_by_its_address(start: Start) -> None:
    """A kubelet, a load balancer and Docker's HEALTHCHECK know no name."""
    server = start(allowed_hosts=("speech.example.org",), api_key="secret")
    for path, by_address, by_name in (("/health", 200, 200), ("/ready", 200, 200), ("/v1/models", 403, 200)):
        assert ask(server, path, host="10.1.2.3:8000", authorization="Bearer secret")[0] == by_address
        assert ask(server, path, host="Speech.example.org:8000", authorization="Bearer secret")[0] == by_name


def test_pages_that_are_allowed(start: Start) -> None:
    server = start(allowed_origins=("https://friend.example",))
    wanted = "authorization, content-type, x-stainless-lang, x-stainless-retry-count"  # of OpenAI's client for browsers
    preflight = {"access_control_request_method": "POST", "access_control_request_headers": wanted}
    status, headers, _ = ask(server, ROAD, "OPTIONS", origin="https://friend.example", **preflight)
    assert status == 200 and "x-stainless-lang" in headers["access-control-allow-headers"]
    assert ask(server, ROAD, "OPTIONS", origin="https://evil.example", **preflight)[0] == 400
    status, headers, _ = ask(server, origin="https://friend.example", sec_fetch_site="cross-site")
    assert status == 200 and headers["access-control-allow-origin"] == "https://friend.example"
    assert ask(server, origin="https://evil.example")[0] == 403


@pytest.mark.parametrize(
    ("settings", "right"),
    [
        ({"allowed_origins": ("https://Friend.example/",)}, "https://friend.example."),
        ({"allowed_origins": ("friend.example",)}, "https://example.org."),
        ({"allowed_origins": ("*",)}, "https://example.org."),
        ({"allowed_hosts": ("Speech.example.org",)}, "speech.example.org."),
        ({"allowed_hosts": ("https://friend.example:443/",)}, "friend.example."),
        ({"allowed_hosts": ("[::2]:8000",)}, "::2."),
        ({"allowed_hosts": ("*.example.org",)}, "speech.example.org."),
    ],
)
def test_who_could_never_be_let_in_is_no_setting(settings: dict[str, tuple[str]], right: str) -> None:
    (flag, (given,)) = next(iter(settings.items()))
    with pytest.raises(DragomanError) as caught:
        ServerSettings(**settings)  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"--{flag}: {given!r}") and str(caught.value).endswith(f"write {right}")
    ServerSettings(allowed_origins=("http://localhost:3000", "tauri://localhost"), allowed_hosts=("::2", "a.example"))


def test_every_answer_is_dressed(server: RunningServer) -> None:
    for path in ("/health", "/v1/models", "/v1/nothing"):
        _, headers, _ = ask(server, path)
        assert headers["x-content-type-options"] == "nosniff" and headers["x-request-id"].startswith("req_")
        assert "default-src 'none'" in headers["content-security-policy"] and "server" not in headers


def test_other_machines_need_a_key() -> None:
    with pytest.raises(DragomanError, match="--api_key"):
        ServerSettings(host="0.0.0.0")
    assert not ServerSettings(host="0.0.0.0", api_key="x").is_local
    assert ServerSettings(host="0.0.0.0", allow_no_key=True)


# ------------------------------------------------------------------------------------- too large, too slow, too many


def test_a_file_that_is_too_large(start: Start) -> None:
    server = start(max_file_bytes=2_000_000)
    with connect(server) as connection:  # told by its length, before the body
        connection.sendall(head(server, "POST", ROAD, {"content-length": 10**9, **FORM}))
        assert answer(connection)[0] == 413
    with connect(server) as connection:  # counted, where nothing is told
        connection.sendall(head(server, "POST", ROAD, {"transfer-encoding": "chunked", **FORM}))
        try:
            for part in (recording(1)[:-8], *[b"\0" * 100_000] * 60):
                connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        except OSError:  # the server has hung up on us
            pass
        else:
            status, _, body = answer(connection)
            assert (status, json.loads(body)["error"]["code"]) == (413, "file_too_large")
    assert not decoders()


def test_the_limit_is_the_files_and_is_said(start: Start) -> None:
    server = start(max_file_bytes=1_500_000)
    for size, expected in ((1_500_000, 400), (1_500_001, 413)):  # zeros are no recording
        status, _, body = ask(server, ROAD, "POST", recording(size), content_type=FORM["content-type"])
        error = json.loads(body)["error"]
        assert (status, error["param"]) == (expected, "file")
    assert "at most 1.5 MB" in error["message"] and error["code"] == "file_too_large"


def test_what_is_around_a_file_is_bounded(server: RunningServer) -> None:
    """A form of many small fields, as OpenAI's client sends a glossary; not one of any number, or of any size."""

    def form(count: int, value: bytes = b"b") -> bytes:
        part = b'--x\r\ncontent-disposition: form-data; name="glossary[t%d]"\r\n\r\n%s\r\n'
        return b"".join(part % (number, value) for number in range(count)) + recording()

    for body, said in (
        (form(1000), "glossary: it is for translations; name a target_language."),
        (form(11_000), "There are over 10500 fields; send fewer."),
        (form(12, b"b" * 100_000), "The fields are larger than 1 MiB; send less."),
        (recording()[:-6] + recording(), "file: send one recording at a time."),
        (recording().replace(b"; name=model", b""), "The form cannot be read: The Content-Disposition header field"),
        (BODY + b"--x\r\ncontent-disposition: form-data; name=file\r\n\r\ntalk.wav\r\n--x--\r\n", "file: send the"),
    ):
        status, _, answered = ask(server, ROAD, "POST", body, content_type=FORM["content-type"])
        assert status == 400 and json.loads(answered)["error"]["message"].startswith(said)


def test_slow_heads_and_bodies_end(start: Start) -> None:
    server = start(header_timeout_s=1.0, body_grace_s=0.5)
    started = time.monotonic()
    with connect(server) as slow, connect(server) as silent, connect(server) as body:
        slow.sendall(b"GET /health HT")
        body.sendall(head(server, "POST", ROAD, {"content-length": 1000, **FORM}) + BODY[:9])
        status, headers, content = answer(body)
        assert (status, headers["x-should-retry"]) == (408, "false")
        assert json.loads(content)["error"]["code"] == "body_timeout"
        assert slow.recv(10) == b"" and silent.recv(10) == b""
    assert time.monotonic() - started < 30
    with connect(server) as steady:  # a connection that is used again is not cut off
        for _ in range(3):
            steady.sendall(head(server, "GET", "/health", {}))
            assert answer(steady)[0] == 200
            time.sleep(0.3)


def test_one_too_many_is_told_when_to_come_back(start: Start) -> None:
    server = start(max_requests=1)
    with connect(server) as first:
        form = recording()
        first.sendall(head(server, "POST", ROAD, {"content-length": len(form), **FORM}) + form[:99])
        until(lambda: server.state.places.taken == 1)
        status, headers, body = ask(server, ROAD, "POST", form, content_type=FORM["content-type"])
        assert status == 429 and 0 < int(headers["retry-after"]) <= 60
        assert json.loads(body)["error"]["type"] == "rate_limit_error"
        assert ask(server, "/health")[0] == 200
        first.sendall(form[99:])
        assert answer(first)[0] == 200
    until(lambda: server.state.places.taken == 0)


# --------------------------------------------------------------------------------------------------------- going away


@pytest.mark.parametrize(
    ("path", "content_type"), [(ROAD, FORM["content-type"]), ("/v1/subtitles", "application/json")]
)
def test_who_breaks_off_an_upload_is_no_failure_of_ours(
    start: Start, caplog: pytest.LogCaptureFixture, path: str, content_type: str
) -> None:
    server = start()
    with connect(server) as connection, caplog.at_level(logging.INFO, "dragoman.server"):
        given = {"content-length": 10_000, "content-type": content_type}
        connection.sendall(head(server, "POST", path, given) + BODY)
        until(lambda: server.state.places.taken == 1)
        connection.close()
        until(lambda: f'route="{path}",status="499"' in ask(server, "/metrics")[2].decode())
    assert server.state.places.taken == 0 and 'status="500"' not in ask(server, "/metrics")[2].decode()
    assert [one.levelno for one in caplog.records if one.levelno > logging.INFO] == []


@pytest.mark.parametrize("stream", [False, True])
def test_who_goes_away_costs_nothing_more(server: RunningServer, stream: bool, tmp_path: Path) -> None:
    import numpy as np

    from dragoman.data.audio import load_audio
    from dragoman.data.synthesis import write_flac

    speech = np.tile(load_audio(EXAMPLES / "english-video.mp4"), 5)
    write_flac(tmp_path / "long.flac", speech)
    part = b"--x\r\ncontent-disposition: form-data; name=stream\r\n\r\ntrue\r\n" if stream else b""
    middle = b"--x\r\ncontent-disposition: form-data; name=file; filename=x\r\n\r\n"
    form = BODY + part + middle + (tmp_path / "long.flac").read_bytes() + b"\r\n--x--\r\n"
    descriptors = len(os.listdir("/proc/self/fd"))
    with connect(server) as connection:
        connection.sendall(head(server, "POST", ROAD, {"content-length": len(form), **FORM}) + form)
        until(lambda: bool(decoders()))
    until(lambda: server.state.places.taken == 0 and not decoders())
    until(lambda: server.state.model.scheduler._waiting == 0)
    until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
