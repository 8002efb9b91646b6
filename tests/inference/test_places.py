"""A recording's language is detected from all over it, and what is mixed is said."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dragoman import Translator
from dragoman.data.audio import load_audio
from dragoman.data.synthesis import write_flac
from dragoman.inference.decoding.decoder import DecodeRequest
from dragoman.vad import speech_segments

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator.from_pretrained("tiny", device="cpu", beam_size=1)


def recording(path: Path, *clips: str) -> Path:
    pause = np.zeros(16_000, np.float32)
    write_flac(path, np.concatenate([part for clip in clips for part in (load_audio(EXAMPLES / clip), pause)]))
    return path


@pytest.mark.parametrize("count", [2, 12])
def test_a_greeting_in_another_language_does_not_decide(
    translator: Translator, tmp_path: Path, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    """In one that is known whole before anything is decoded, and in one of which a few places are looked at."""
    path = recording(tmp_path / "a.flac", "english-wav.wav", *["german-mp3.mp3", "german-flac.flac"] * count)
    with caplog.at_level(logging.WARNING):
        assert translator.translate(path, to="none").language == "deu"
    assert f"{path}: more than one language seems to be spoken (English, German); multilingual" in caplog.text


def test_a_stretch_is_decoded_once_in_each_language(translator: Translator, tmp_path: Path) -> None:
    """For the recording's language and for its own."""
    path = recording(tmp_path / "a.flac", "english-wav.wav", "german-mp3.mp3", "german-flac.flac")
    asked: list[tuple[int, str]] = []
    likelihoods = translator.decoder.likelihoods

    def counted(requests: Sequence[DecodeRequest], beams: int) -> list[float]:
        asked.extend((id(one.features), one.source) for one in requests)
        return likelihoods(requests, beams)

    mels = [translator.features(part.samples) for part in speech_segments([load_audio(path)], translator.vad)]
    translator.decoder.likelihoods = counted  # type: ignore[method-assign]
    together, each = translator.identifier.identify_both(mels)
    translator.decoder.likelihoods = likelihoods  # type: ignore[method-assign]
    assert sorted(asked) == sorted((id(mel), code) for mel in mels for code in translator.sources)
    assert together == pytest.approx(translator.identifier.identify_recording(mels))
    alone = translator.identifier.identify_segments(mels)
    assert [code for code, _ in each] == [code for code, _ in alone] and len({code for code, _ in each}) > 1
    assert [likely for _, likely in each] == pytest.approx([likely for _, likely in alone])


def test_one_language_is_not_called_mixed(
    translator: Translator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = recording(tmp_path / "a.flac", *["german-mp3.mp3", "german-flac.flac"] * 3)
    with caplog.at_level(logging.WARNING):
        assert translator.translate(path, to="none").language == "deu"
    assert not caplog.records


def test_a_greeting_on_a_pipe_does_not_decide(translator: Translator, tmp_path: Path) -> None:
    """It can be heard but once, so more of it is waited for: here the first half is in another language."""
    clips = ["english-wav.wav"] * 5 + ["german-mp3.mp3", "german-flac.flac"] * 5
    content = recording(tmp_path / "a.flac", *clips).read_bytes()
    os.mkfifo(tmp_path / "pipe")
    feeder = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(content,))
    feeder.start()
    assert translator.translate(tmp_path / "pipe", to="none").language == "deu"
    feeder.join()
