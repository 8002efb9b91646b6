"""What training does to speech: another voice, parts unheard; never another length of window, never another result for
the same random numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.data.audio import SAMPLE_RATE, Waveform
from dragoman.data.augment import AugmentedFeatures, at_speed, masked, warped
from dragoman.data.features import LogMel, mel_centres
from dragoman.recipe import AugmentConfig

FEATURES = LogMel(80, 2.0, padded=False)
ALL = AugmentConfig(speed=0.1, warp=0.1, frequency_masks=2, frequency_width=10, time_masks=2, time_width=10)


def tone(hertz: float, seconds: float = 1.0) -> Waveform:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE).astype(np.float32)


def loudest_hertz(mel: np.ndarray) -> float:
    return float(mel_centres(len(mel))[mel.mean(axis=1).argmax()])


def test_centres_are_those_of_the_filters() -> None:
    for hertz in (300.0, 900.0, 3000.0, 6000.0):
        assert loudest_hertz(FEATURES(tone(hertz))) == pytest.approx(hertz, rel=0.06)


def test_nothing_asked_is_nothing_done() -> None:
    random = np.random.default_rng(1)
    plain = FEATURES(tone(500))
    assert np.array_equal(AugmentedFeatures(FEATURES, None)(tone(500), random), plain)
    assert np.array_equal(AugmentedFeatures(FEATURES, AugmentConfig())(tone(500), random), plain)


@pytest.mark.parametrize("factor", [0.85, 1.0, 1.15])
def test_a_warped_or_faster_tone_is_that_much_higher(factor: float) -> None:
    assert loudest_hertz(warped(FEATURES(tone(2000)), factor)) == pytest.approx(2000 * factor, rel=0.06)
    faster = at_speed(tone(2000), factor)
    assert len(faster) == pytest.approx(SAMPLE_RATE / factor, abs=1)
    assert loudest_hertz(FEATURES(faster)) == pytest.approx(2000 * factor, rel=0.06)


def test_masks_hide_at_most_what_they_may() -> None:
    mel = np.arange(80 * 200, dtype=np.float32).reshape(80, 200)
    bands = masked(mel, AugmentConfig(frequency_masks=2, frequency_width=10), np.random.default_rng(3)) != mel
    stretches = masked(mel, AugmentConfig(time_masks=3, time_width=7), np.random.default_rng(3)) != mel
    assert 0 < bands.all(axis=1).sum() <= 20 and set(bands.sum(axis=1)) <= {0, 200}
    assert 0 < stretches.all(axis=0).sum() <= 21 and set(stretches.sum(axis=0)) <= {0, 80}


@settings(max_examples=25)
@given(seconds=st.floats(0.05, 2.0), seed=st.integers(0, 2**32), padded=st.booleans())
def test_it_fits_the_window_and_follows_from_its_random_numbers(seconds: float, seed: int, padded: bool) -> None:
    features = LogMel(80, 2.0, padded)
    one, same = (AugmentedFeatures(features, ALL)(tone(700, seconds), np.random.default_rng(seed)) for _ in range(2))
    assert np.array_equal(one, same) and np.isfinite(one).all()
    assert one.shape[1] % 2 == 0 and one.shape[1] <= 200 and (one.shape[1] == 200 or not padded)
