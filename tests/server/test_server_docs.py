"""docs/server.md keeps its promises: its shell and Python examples run as they stand, against `dragoman serve`; what it
shows in JSON has the keys that are answered, the flags are there, and so are the fields."""

from __future__ import annotations

import json
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
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import numpy as np
import pytest

pytest.importorskip("openai", reason="the extra [dev] is not installed")

if TYPE_CHECKING:
    from running_server import RunningServer

    from dragoman import Translator

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
ADDRESS = "127.0.0.1:8000"
EXAMPLE = ROOT / "examples" / "english-wav.wav"


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
        command += ["--jobs_dir", str(Path(temporary) / "jobs"), "--served_model_name", "small"]
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
        assert set(os.listdir(temporary)) <= {"jobs", ".ses", "torchinductor_root"}, (
            "onnxruntime and torch leave theirs"
        )


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving() as (_, address):
        yield address


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    return tmp_path


# ------------------------------------------------------------------------------------ what is shown is what is answered


@cache
def shown() -> list[Any]:
    """What the blocks of JSON and of events hold, in order; `…` stands for what is left out."""
    found: list[Any] = []
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", DOCS, flags=re.MULTILINE | re.DOTALL):
        text = re.sub(r"^data: ", "", block) if language in ("", "json") else ""
        for short, whole in (("{…}", "{}"), ("[…]", "[]"), (", …", ""), ("…", "")):
            text = text.replace(short, whole)
        while text.startswith("{"):
            value, end = json.JSONDecoder().raw_decode(text)
            found.append(value)
            text = text[end:].lstrip()
    return found


def test_answers_have_the_keys_that_are_shown(server: RunningServer) -> None:
    fields: dict[str, Any] = {"model": "random", "language": "en", "response_format": "verbose_json"}
    fields["target_language"] = "de,fr"
    with httpx2.Client(base_url=server.url, timeout=120) as client, open(EXAMPLE, "rb") as recording:
        answer = client.post("/v1/audio/transcriptions", data=fields, files={"file": recording}).json()
        recording.seek(0)
        stream = client.post(
            "/v1/audio/transcriptions", data=fields | {"stream": "true"}, files={"file": recording}
        ).text
        models = client.get("/v1/models").json()
    (promised,) = (one for one in shown() if one.get("task") == "transcribe")
    assert list(answer) == list(promised) and list(answer["segments"][0]) == list(promised["segments"][0])
    for given, told in ((answer, promised), (answer["segments"][0], promised["segments"][0])):
        assert {type(given[name]) for name in ("text", "translations")} == {str, dict}
        assert all(list(given[name]) == list(value) for name, value in told.items() if isinstance(value, dict))
    (promised,) = (one for one in shown() if one.get("object") == "list")
    assert models.keys() == promised.keys() and models["data"][0].keys() == promised["data"][0].keys()
    assert promised["limits"] == models["limits"] | {"max_duration_s": 14400.0}
    events = [json.loads(line.removeprefix("data: ")) for line in stream.splitlines() if line.startswith("data: {")]
    for kind in ("transcript.text.segment", "transcript.text.done"):
        (promised,) = (one for one in shown() if one.get("type") == kind)
        assert promised.keys() <= next(one for one in events if one["type"] == kind).keys()


def test_live_events_have_the_keys_that_are_shown(random_translator: Translator) -> None:
    from dragoman.data.audio import SAMPLE_RATE, load_audio
    from dragoman.inference.streaming import LiveTranslator
    from dragoman.server.api.events import TranscriptionEvents

    (wish,) = (one for one in shown() if one.get("type") == "session.update")
    events = TranscriptionEvents()
    events.model = wish["session"]["audio"]["input"]["transcription"]["model"]
    events.update(wish["session"], random_translator)
    live = LiveTranslator(random_translator, ["deu", "fra"], "eng")
    speech = load_audio(ROOT / "examples" / "english-video.mp4")[: 5 * SAMPLE_RATE]
    heard = [each for block in np.array_split(speech, 25) for each in live.push(block)] + [*live.finish()]
    found = [event for each in heard for event in events.of(each)]
    promised = [one for one in shown() if "item_id" in one]
    assert len(promised) == 6 and {one["type"] for one in found} == {one["type"] for one in promised}
    for one in promised:
        same = next(event for event in found if event["type"] == one["type"])
        assert same.keys() == one.keys() | {"event_id"}


def test_what_is_spoken_of_is_there() -> None:
    import typer

    from dragoman.cli import app
    from dragoman.server.api.fields import TranscriptionForm

    command = typer.main.get_command(app)
    serve: Any = command.commands["serve"]  # type: ignore[attr-defined]
    flags = {name for option in serve.params for name in option.opts}
    named = set(re.findall(r"--[a-z_]+", DOCS.replace("curl --", "")))
    assert named > {"--jobs_dir", "--workers", "--max_file_mb"} and not named - flags
    rows = re.findall(
        r"^\| (`.*?) \|", DOCS[DOCS.index("| field |") : DOCS.index("Any other field")], flags=re.MULTILINE
    )
    told = {name.removesuffix("[]") for row in rows for name in re.findall(r"`([a-z_]+(?:\[\])?)`", row)}
    unsaid = {"file"} | {"target_languages", "to_language", "include"}  # in a row's text, or refused
    assert told | unsaid == set(TranscriptionForm.model_fields) | {"file"}


# ------------------------------------------------------------------------------------------------------ examples run


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
        request = ["curl", "-sS", "--fail", "-F", "model=small", "-F", "target_language=all", "-F", file]
        asked = subprocess.Popen([*request, f"{address}/v1/audio/transcriptions"], stdout=subprocess.PIPE, text=True)
        metrics = ["curl", "-sS", f"{address}/metrics"]
        while "dragoman_requests_active 1.0" not in subprocess.run(metrics, capture_output=True, text=True).stdout:
            assert asked.poll() is None
        running.send_signal(signal.SIGTERM)
        assert '"translations"' in asked.communicate(timeout=120)[0] and asked.returncode == 0
