"""`dragoman serve` says in one sentence what keeps it from serving."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

pytest.importorskip("fastapi", reason="the extra [serve] is not installed")


def serve(*flags: str, before: str = "pass") -> tuple[int, str]:
    """Exit code and standard error."""
    code = f"import sys; {before}; sys.argv = {['dragoman', 'serve', *flags]!r}; from dragoman.cli import main; main()"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=300)
    return done.returncode, done.stderr


def test_a_missing_extra_is_named() -> None:
    code, said = serve(before="sys.modules['fastapi'] = None")
    assert (code, said) == (2, "dragoman: The server needs fastapi; run `pip install 'dragoman[serve]'`.\n")


def test_other_machines_are_not_let_in_without_a_key() -> None:
    code, said = serve("--host", "0.0.0.0")
    assert code == 2 and "--api_key" in said and said.count("\n") == 1


def test_an_address_that_cannot_be_listened_to_is_named() -> None:
    from dragoman.server.run import address_of, listening
    from dragoman.server.settings import ServerSettings

    for host, why in (("nosuchhost.invalid", "This machine knows no such address"), ("192.0.2.1", "")):
        with pytest.raises(OSError) as caught:
            listening(ServerSettings(host=host, api_key="x", port=0))
        assert caught.value.filename.endswith((host, f"{host}:0")) and why in caught.value.strerror
        assert "Unknown error" not in caught.value.strerror
    assert [address_of(host, 8000) for host in ("::1", "127.0.0.1")] == ["[::1]:8000", "127.0.0.1:8000"]


@pytest.mark.slow
def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = serve("--port", str(port))
        voices_code, voices_said = serve("--port", "0", "--wyoming_port", str(port))
    taken_said = f"127.0.0.1:{port}: Address already in use."
    assert (code, voices_code) == (2, 2)
    assert said.splitlines()[-1].endswith(taken_said) and voices_said.splitlines()[-1].endswith(taken_said)
    assert "Traceback" not in voices_said


@pytest.mark.slow
def test_the_extra_of_voices_is_named() -> None:
    code, said = serve("--port", "0", "--wyoming_port", "1", before="sys.modules['wyoming'] = None")
    assert code == 2 and "run `pip install 'dragoman[wyoming]'`" in said and "Traceback" not in said
