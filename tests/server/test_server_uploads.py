"""Truths of recordings that a child process decodes: the samples are those of the command line, hostile files cost
little and leave nothing, and whoever kills the child does no harm."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

pytest.importorskip("fastapi", reason="the extra [serve] is not installed")

from dragoman.data.audio import SAMPLE_RATE, excerpts, load_audio
from dragoman.data.synthesis import write_flac
from dragoman.errors import AudioError
from dragoman.server.backend.batching import ClientGone
from dragoman.server.backend.uploads import RecordingTooLong, UploadedRecording

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
HOSTILE = ROOT.parent / "shared" / "data" / "hostile" / "generated"


@contextmanager
def uploaded(path: Path, max_duration_s: float = 3600.0) -> Iterator[UploadedRecording]:
    descriptor = os.open(path, os.O_RDONLY)
    recording = UploadedRecording(descriptor, max_duration_s)
    try:
        yield recording
    finally:
        recording.close()
        os.close(descriptor)


def decoders() -> list[psutil.Process]:
    """Children of ours that decode."""
    return [child for child in psutil.Process().children() if decodes(child)]


def decodes(child: psutil.Process) -> bool:
    try:
        return any("audio_child" in word for word in child.cmdline())
    except psutil.NoSuchProcess:  # it has ended meanwhile
        return False


@pytest.fixture
def long_recording(tmp_path: Path) -> Path:
    """Two minutes of noise: more than the pipe holds, so the child waits for its reader."""
    noise = np.random.default_rng(0).normal(scale=0.1, size=120 * SAMPLE_RATE).clip(-1, 1).astype(np.float32)
    write_flac(tmp_path / "noise.flac", noise)
    return tmp_path / "noise.flac"


@pytest.mark.parametrize("name", ["english-video.mp4", "french-opus.ogg", "german-mp3.mp3"])
def test_samples_are_those_of_the_command_line(name: str) -> None:
    with uploaded(EXAMPLES / name) as recording:
        found = np.concatenate(list(recording.blocks(None, None)))
    assert np.array_equal(found, load_audio(EXAMPLES / name))
    assert recording.duration_s == pytest.approx(len(found) / SAMPLE_RATE)


def test_excerpts_too(long_recording: Path) -> None:
    expected = excerpts(long_recording, 3, 2.0)
    with uploaded(long_recording) as recording:
        blocks = recording.blocks(None, None)
        next(blocks)  # its own position in the file is another
        found = recording.excerpts(3, 2.0, None, None)
    assert len(found) == len(expected) == 3
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


def test_too_long_is_told_while_it_is_decoded(long_recording: Path) -> None:
    with uploaded(long_recording, 30.0) as recording, pytest.raises(RecordingTooLong, match="30 s"):
        for _ in recording.blocks(None, None):
            assert recording.duration_s <= 30.0


def test_a_killed_decoder_is_started_once_more(long_recording: Path) -> None:
    with uploaded(long_recording) as recording:
        blocks = recording.blocks(None, None)
        found = [next(blocks)]
        (child,) = decoders()
        child.send_signal(signal.SIGKILL)
        found += list(blocks)
    assert np.array_equal(np.concatenate(found), load_audio(long_recording))
    assert not decoders()


def test_and_no_more(long_recording: Path) -> None:
    with uploaded(long_recording) as recording, pytest.raises(AudioError, match="too much to decode"):
        for _ in recording.blocks(None, None):
            for child in decoders():
                child.send_signal(signal.SIGKILL)


def test_closing_kills_the_decoder(long_recording: Path) -> None:
    with uploaded(long_recording) as recording:
        blocks = recording.blocks(None, None)
        next(blocks)
        recording.close()
        with pytest.raises(ClientGone):
            list(blocks)
        with pytest.raises(ClientGone):
            next(recording.blocks(None, None))
    until(lambda: not decoders())


def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    started = time.monotonic()
    while not true():
        waited = time.monotonic() - started
        assert waited < seconds
        time.sleep(0.05 + waited / 20)


@pytest.mark.slow
def test_hostile_files_are_read_or_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not HOSTILE.is_dir():
        pytest.skip("the hostile files are not here")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    descriptors = len(os.listdir("/proc/self/fd"))
    for path in sorted(path for path in HOSTILE.iterdir() if path.is_file() and path.suffix != ".tar"):
        with uploaded(path, 600.0) as recording:
            try:
                for block in recording.blocks(None, None):
                    assert np.isfinite(block).all() and np.abs(block).max(initial=0.0) <= 1.0, path.name
            except AudioError as error:
                assert "Traceback" not in str(error) and str(HOSTILE) not in str(error) and str(error).endswith(".")
            assert recording.duration_s <= 605.0, path.name
    assert not decoders() and not list(tmp_path.iterdir())
    assert len(os.listdir("/proc/self/fd")) == descriptors
