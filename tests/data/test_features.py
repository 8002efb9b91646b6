"""Truth: the features are Whisper's."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import WhisperFeatureExtractor

from dragoman.data.audio import SAMPLE_RATE, Waveform
from dragoman.data.features import FRAMES_PER_SECOND, HOP, LogMel
from dragoman.errors import AudioError

BINS = (80, 128)


@cache
def reference(mel_bins: int, window_s: int = 30) -> WhisperFeatureExtractor:
    return WhisperFeatureExtractor(feature_size=mel_bins, chunk_length=window_s)


def whisper(waveform: Waveform, mel_bins: int, window_s: int = 30) -> np.ndarray:
    return reference(mel_bins, window_s)(waveform, sampling_rate=SAMPLE_RATE, return_tensors="np").input_features[0]


def voice(num_samples: int) -> Waveform:
    """A gliding harmonic tone that fades in and out, with a little noise."""
    time = np.arange(num_samples) / SAMPLE_RATE
    pitch = 2 * np.pi * np.cumsum(120 + 60 * np.sin(3 * time)) / SAMPLE_RATE
    tone = sum(np.sin(k * pitch) / k for k in range(1, 12))
    noise = np.random.default_rng(num_samples).standard_normal(num_samples) * 1e-3
    return ((0.2 * tone + noise) * np.hanning(num_samples + 2)[1:-1]).astype(np.float32)


@pytest.mark.parametrize("mel_bins", BINS)
@settings(max_examples=25)
@given(num_samples=st.one_of(st.integers(1, 3 * SAMPLE_RATE), st.sampled_from([1, 159, 160, 161, 480_000])))
def test_padded_equals_whisper(mel_bins: int, num_samples: int) -> None:
    waveform = voice(num_samples)
    ours = LogMel(mel_bins)(waveform)
    assert ours.shape == (mel_bins, 3000) and ours.dtype == np.float32
    np.testing.assert_allclose(ours, whisper(waveform, mel_bins), atol=1e-5, rtol=0)


@pytest.mark.parametrize("padded", [True, False])
def test_a_batch_is_each_by_itself(padded: bool) -> None:
    """Loud neighbours and long ones change nothing."""
    clips = [voice(size) * gain for size, gain in ((40_000, 1.0), (7, 1.0), (16_001, 0.01), (80_000, 0.3))]
    features = LogMel(window_s=5.0, padded=padded, silence_s=0.5)
    for one, clip in zip(features.batch(clips), clips, strict=True):
        alone = features(clip)
        assert one.shape == alone.shape == (80, features.num_frames(len(clip)))
        np.testing.assert_allclose(one, alone, atol=1e-4, rtol=0)
    assert features.batch([]) == []


@pytest.mark.parametrize("mel_bins", BINS)
@pytest.mark.parametrize("signal", ["silence", "noise", "impulse", "full scale"])
def test_padded_equals_whisper_on_extremes(mel_bins: int, signal: str) -> None:
    waveform = np.zeros(20_000, np.float32)
    if signal == "noise":
        waveform = np.random.default_rng(0).uniform(-1, 1, 20_000).astype(np.float32)
    elif signal == "impulse":
        waveform[0] = 1
    elif signal == "full scale":
        waveform[:] = np.where(np.arange(20_000) // 40 % 2, 1, -1)
    np.testing.assert_allclose(LogMel(mel_bins)(waveform), whisper(waveform, mel_bins), atol=1e-5, rtol=0)


def test_other_windows_are_whispers_too() -> None:
    waveform = voice(40_000)
    np.testing.assert_allclose(LogMel(80, window_s=4)(waveform), whisper(waveform, 80, 4), atol=1e-5, rtol=0)


@settings(max_examples=40)
@given(num_samples=st.integers(1, 5 * SAMPLE_RATE))
def test_trimmed_is_the_beginning_of_padded(num_samples: int) -> None:
    waveform = voice(num_samples)
    trimmed = LogMel(80, padded=False)(waveform)
    num_frames = trimmed.shape[1]
    assert num_frames == LogMel(80, padded=False).num_frames(num_samples)
    assert num_frames % 2 == 0 and 0 <= num_frames * HOP - num_samples < 2 * HOP
    np.testing.assert_allclose(trimmed, LogMel(80)(waveform)[:, :num_frames], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("num_samples", "frames"), [(0, 2), (1, 2), (320, 2), (321, 4), (24_000, 150), (480_000, 3000)]
)
def test_number_of_trimmed_frames(num_samples: int, frames: int) -> None:
    features = LogMel(80, padded=False)(np.zeros(num_samples, np.float32))
    assert features.shape == (80, frames)
    assert LogMel(80).num_frames(num_samples) == 30 * FRAMES_PER_SECOND == 3000


@pytest.mark.parametrize("padded", [True, False])
def test_longer_than_the_window_is_an_error(padded: bool) -> None:
    with pytest.raises(AudioError, match=r"lasts 2\.00 s and the model hears 1\.5 s"):
        LogMel(80, window_s=1.5, padded=padded)(np.zeros(2 * SAMPLE_RATE, np.float32))


def test_the_waveform_is_left_as_it_was() -> None:
    waveform = voice(1000)
    before = waveform.copy()
    LogMel(80)(waveform)
    np.testing.assert_array_equal(waveform, before)


def test_importing_loads_no_torch() -> None:
    code = "import sys, dragoman.data.features; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
