"""Speech as other voices would have said it, and with parts unheard, so that training on few voices serves others.

Speed perturbation (Ko et al. 2015), vocal tract length perturbation (Jaitly and Hinton 2013) and SpecAugment's masks
(Park et al. 2019, https://arxiv.org/abs/1904.08779). Shapes: N samples at 16 kHz, M mel bins, F frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dragoman.data.audio import Waveform
from dragoman.data.features import Features, SpeechFeatures, mel_centres
from dragoman.recipe import AugmentConfig


@dataclass(frozen=True)
class AugmentedFeatures:
    """A waveform's features; altered, when `settings` are given, by the random numbers of a call."""

    features: SpeechFeatures
    settings: AugmentConfig | None

    def __call__(self, waveform: Waveform, random: np.random.Generator) -> Features:
        """(N,) -> (C, F)."""
        if self.settings is None:
            return self.features(waveform)
        factor = 1 + self.settings.speed * random.uniform(-1, 1)
        features = self.features(at_speed(waveform, max(factor, len(waveform) / self.features.max_samples)))
        if not self.settings.alters_mel:
            return features
        mel = warped(features, 1 + self.settings.warp * random.uniform(-1, 1))
        return masked(mel, self.settings, random)


def at_speed(waveform: Waveform, factor: float) -> Waveform:
    """(N,) -> (N / factor,): the recording played that much faster, and higher."""
    times = np.arange(int(len(waveform) / factor)) * factor
    faster: Waveform = np.interp(times, np.arange(len(waveform)), waveform).astype(np.float32)
    return faster


def warped(mel: Features, factor: float) -> Features:
    """(M, F) with each bin moved to `factor` times its frequency: a shorter or a longer vocal tract."""
    centres = mel_centres(len(mel))
    below = np.interp(centres / factor, centres, np.arange(len(mel)))  # which bin, whole and part, comes here
    lower = np.minimum(below.astype(int), len(mel) - 2)
    share = (below - lower).astype(np.float32)[:, None]
    moved: Features = mel[lower] * (1 - share) + mel[lower + 1] * share
    return moved


def masked(mel: Features, settings: AugmentConfig, random: np.random.Generator) -> Features:
    """(M, F) with bands of bins and stretches of frames as loud as the mean."""
    mel = mel.copy()
    mean = mel.mean()
    bins, frames = mel.shape
    for _ in range(settings.frequency_masks):
        size = int(random.integers(0, settings.frequency_width + 1))
        start = int(random.integers(0, max(1, bins - size)))
        mel[start : start + size] = mean
    for _ in range(settings.time_masks):
        size = int(random.integers(0, min(settings.time_width, frames // 5) + 1))  # a fifth at most: words stay
        start = int(random.integers(0, max(1, frames - size)))
        mel[:, start : start + size] = mean
    return mel
