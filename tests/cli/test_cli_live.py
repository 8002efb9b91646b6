"""`dragoman live` as a process: speech on a pipe, a microphone, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dragoman import Translator
from dragoman.cli.translation.live import doubts_said
from dragoman.cli.translation.live_display import printer
from dragoman.data.audio import load_audio
from dragoman.inference.local_agreement import PartialText
from dragoman.inference.result import Segment
from dragoman.inference.streaming import FinalSegment, PartialSegment
from dragoman.model.calibration import read_calibration
from dragoman.model.hub import BUILT_IN

SPEECH = Path(__file__).parents[2] / "examples" / "english-wav.wav"
COMMAND = [sys.executable, "-m", "dragoman", "live"]
MICROPHONE = """
import time, numpy
PortAudioError = RuntimeError
def check_input_settings(device, channels, dtype, samplerate):
    if device == "none":
        raise ValueError("No input device matching 'none'")
class InputStream:
    def __init__(self, device, channels, dtype, samplerate):
        self.samplerate, self.at = float(samplerate), 0
        self.speech = numpy.fromfile(FILE, "<i2").astype(dtype) / 32768
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def read(self, frames):
        time.sleep(frames / self.samplerate)
        self.at += frames
        samples = self.speech[self.at - frames : self.at]
        return numpy.pad(samples, (0, frames - len(samples)))[:, None], False
"""


@pytest.fixture(scope="module")
def pcm() -> bytes:
    return (load_audio(SPEECH) * 32767).astype("<i2").tobytes()


def run(*arguments: str, stdin: bytes = b"", path: Path | None = None) -> tuple[int, str, str]:
    done = subprocess.run([*COMMAND, *arguments], input=stdin, capture_output=True, timeout=120, env=environment(path))
    out, err = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in err, err
    return done.returncode, out, err


def environment(path: Path | None) -> dict[str, str]:
    """With a folder whose modules come first."""
    paths = [str(path)] if path else []
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])}


def test_pcm_on_a_pipe_is_translated_as_the_recording_is(pcm: bytes) -> None:
    code, out, err = run("-", "--to", "deu,fra", "--language", "eng", "--json", "--min_chunk_s", "60", stdin=pcm)
    assert code == 0, err
    events = [json.loads(line) for line in out.splitlines()]
    recording = Translator.from_pretrained("tiny", device="cpu").translate(SPEECH, to=["deu", "fra"], language="eng")
    assert [event["type"] for event in events] == ["final"] * len(recording.segments)
    for event, segment in zip(events, recording.segments, strict=True):
        assert (event["transcript"], event["translations"]) == (segment.transcript, segment.translations)
        assert (event["start_s"], event["end_s"]) == (round(segment.start_s, 3), round(segment.end_s, 3))


def test_a_file_on_a_pipe_is_translated_as_the_recording_is() -> None:
    video = SPEECH.with_name("english-video.mp4")
    code, out, err = run(
        "-", "--to", "deu", "--language", "eng", "--json", "--min_chunk_s", "60", stdin=video.read_bytes()
    )
    assert code == 0, err
    recording = Translator.from_pretrained("tiny", device="cpu").translate(video, to="deu", language="eng")
    said = [json.loads(line)["transcript"] for line in out.splitlines()]
    assert said == [segment.transcript for segment in recording.segments] and said


def test_what_is_no_sound_is_told_before_anything_is_written() -> None:
    code, out, err = run("-", "--to", "deu", "--language", "eng", stdin=Path(__file__).read_bytes())
    assert (code, out) == (2, "") and "Standard input is neither 16 bit PCM" in err


def test_a_segment_is_a_line_and_nothing_else_is(capsys: pytest.CaptureFixture[str]) -> None:
    segment = Segment(0.0, 1.0, "eng", "One\x1b[2J two.", {"deu": "Eins zwei.", "fra": ""}, -0.1)
    with printer(json=False) as show:
        show(PartialSegment(0, 0.0, 0.5, "eng", PartialText("One", " tow"), {"deu": PartialText("", "Eins")}))
        show(FinalSegment(0, segment))
    assert capsys.readouterr().out == "eng: One\\x1b[2J two. | deu: Eins zwei.\n"


@pytest.mark.parametrize(
    ("module", "arguments", "says"),
    [
        ("raise ImportError", [], "run `pip install 'dragoman[live]'`"),
        ("raise OSError('PortAudio library not found')", [], "install it (Debian: `apt install libportaudio2`)"),
        (MICROPHONE, ["--input_device", "none"], "Cannot hear the microphone 'none' (No input device matching"),
        ("", ["talk.mp3"], "`dragoman translate` takes files"),
    ],
)
def test_without_a_microphone_it_says_what_to_do(tmp_path: Path, module: str, arguments: list[str], says: str) -> None:
    (tmp_path / "sounddevice.py").write_text(module)
    code, out, err = run("--to", "deu", *arguments, path=tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1) and says in err


def test_an_interrupt_ends_the_microphone_and_what_was_said_is_translated(pcm: bytes, tmp_path: Path) -> None:
    """A stand-in for sounddevice, for want of a microphone: it speaks the recording in real time, then is silent."""
    (tmp_path / "speech").write_bytes(pcm)
    (tmp_path / "sounddevice.py").write_text(MICROPHONE.replace("FILE", repr(str(tmp_path / "speech"))))
    arguments = [*COMMAND, "--to", "deu", "--language", "eng", "--json", "--min_chunk_s", "0.5"]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(tmp_path)
    ) as process:
        assert process.stdout and process.stderr
        first = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        events = [first, *map(json.loads, process.stdout)]
        err = process.stderr.read()
    assert process.returncode == 0 and "Traceback" not in err, err
    assert first["type"] == "update" and first["transcript"]["tentative"]
    assert events[-1]["type"] == "final" and events[-1]["translations"]["deu"]


def test_that_most_is_doubted_is_said_once_unless_the_language_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    fitted = read_calibration(BUILT_IN / "tiny")
    scores = [-0.01, -2.0, -2.0, -0.01, -2.0, -2.0]
    events = [
        FinalSegment(n, Segment(n, n + 1.0, "eng", "Yes.", {}, score, calibration=fitted))
        for n, score in enumerate(scores)
    ]
    assert list(doubts_said(events, None)) == events
    said = "most of this is doubtful (3 of 5); if it is not English, name it with --language."
    assert capsys.readouterr().err == f"dragoman: {said}\n"
    assert list(doubts_said(events, "eng")) == events
    assert not capsys.readouterr().err
