"""docs/server.md keeps its promises: its shell and Python examples run as they stand, against `dragoman serve`."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("openai", reason="the extra [dev] is not installed")

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
ADDRESS = "127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", DOCS, flags=re.MULTILINE | re.DOTALL)


@contextmanager
def serving() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A real `dragoman serve` and its address; it ends by SIGTERM and leaves nothing behind."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as temporary:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        command = [sys.executable, "-m", "dragoman", "serve", "--port", address.split(":")[1], "--device", "cpu"]
        environment = {**os.environ, "TMPDIR": temporary}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as running:
            assert running.stderr is not None
            try:
                ready = ["curl", "-fsS", "-o", os.devnull, f"{address}/ready"]
                while subprocess.run(ready, capture_output=True).returncode:
                    assert running.poll() is None, running.stderr.read()
                    time.sleep(0.2)
                yield running, address
            finally:
                running.send_signal(signal.SIGTERM)
                said = running.communicate(timeout=120)[1]
        assert running.returncode in (0, -signal.SIGTERM) and "Traceback" not in said, said
        assert set(os.listdir(temporary)) <= {".ses"}, "onnxruntime leaves that one"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving() as (_, address):
        yield address


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("block", blocks("sh"))
def test_shell_examples_run(block: str, folder: Path, address: str) -> None:
    assert ADDRESS in block
    code = block.replace(ADDRESS, address).replace("curl ", "curl --fail-with-body ")
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("block", blocks("python"))
def test_python_examples_run(block: str, folder: Path, address: str) -> None:
    code = block.replace(ADDRESS, address)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.slow
def test_what_is_on_its_way_is_answered_when_it_is_told_to_end() -> None:
    with serving() as (running, address):
        file = f"file=@{ROOT / 'examples' / 'english-video.mp4'}"
        request = ["curl", "-sS", "--fail", "-F", "model=tiny", "-F", "target_language=all", "-F", file]
        asked = subprocess.Popen([*request, f"{address}/v1/audio/transcriptions"], stdout=subprocess.PIPE, text=True)
        metrics = ["curl", "-sS", f"{address}/metrics"]
        while "dragoman_requests_active 1.0" not in subprocess.run(metrics, capture_output=True, text=True).stdout:
            assert asked.poll() is None
        running.send_signal(signal.SIGTERM)
        assert '"translations"' in asked.communicate(timeout=120)[0] and asked.returncode == 0
