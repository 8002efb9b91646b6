"""Recordings through other systems: the same segments, outputs and refusals as through our own models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from foreign import SMALL

from dragoman.data.audio import load_audio
from dragoman.errors import LanguageError, ModelError
from dragoman.systems import find_system
from dragoman.systems.base import System
from dragoman.systems.whisper import Whisper
from dragoman.vad import speech_segments

VIDEO = Path(__file__).parents[2] / "examples" / "english-video.mp4"
pytestmark = pytest.mark.skipif(not VIDEO.is_file(), reason=f"{VIDEO} is absent: there is no speech to translate")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SMALL["whisper"](tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def whisper(folder: Path) -> System:
    return find_system("whisper").from_pretrained(str(folder), device="cpu", batch_size=2)


def test_each_stretch_of_speech_is_a_segment(whisper: System) -> None:
    result = whisper.translate(VIDEO, to="eng", language="German")
    stretches = list(speech_segments([load_audio(VIDEO)], whisper.vad))
    assert [(s.start_s, s.end_s) for s in result.segments] == [(s.speech_start_s, s.speech_end_s) for s in stretches]
    assert result.language == "deu" and result.language_confidence is None
    assert all(segment.transcript and segment.translations["eng"] for segment in result.segments)
    assert list(whisper.stream(VIDEO, to="eng", language="German")) == result.segments


def test_the_language_is_the_one_that_transformers_hears(whisper: Whisper) -> None:
    rng = np.random.default_rng(0)
    waveforms = [rng.normal(scale=0.1, size=16000 * seconds).astype(np.float32) for seconds in (1, 3)]
    model, features = whisper.part.model, whisper.part.processor.feature_extractor
    for waveform in waveforms:
        told = next(iter(whisper.identify([waveform])))
        mel = features(waveform, sampling_rate=16000, return_tensors="pt").input_features
        with torch.inference_mode():
            token = int(model.detect_language(input_features=mel))
        assert model.generation_config.lang_to_id[whisper._tokens[told]] == token
    assert sum(whisper.identify(waveforms).values()) == pytest.approx(1)


def test_what_it_cannot_do_is_one_sentence(whisper: System) -> None:
    with pytest.raises(ModelError, match="whisper does not support hotwords and glossaries"):
        whisper.translate(VIDEO, to="eng", language="deu", hotwords=["Tom"])
    with pytest.raises(LanguageError, match="whisper does not write German"):
        whisper.translate(VIDEO, to="deu", language="fra")
