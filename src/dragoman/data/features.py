"""Waveform -> speech features, as the encoder that hears them was trained on: log-mel, samples or filter banks.

The log-mel is Whisper's (Radford et al. 2022, https://arxiv.org/abs/2212.04356, section 2.2), summed in float32 by
torch like transformers' WhisperFeatureExtractor: on quiet bins another order of the same sums already differs by 5e-5.

Shapes: U recordings, N samples at 16 kHz, C channels (M mel bins, 1 of a waveform, 160 of filter banks), F frames.
Features are (C, F), time last.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from dragoman.data.audio import SAMPLE_RATE, Waveform
from dragoman.errors import AudioError
from dragoman.recipe import AudioConfig, FbankConfig, LogMelConfig, WaveformConfig

if TYPE_CHECKING:
    import torch

Features = npt.NDArray[np.float32]
"""(C, F)."""

HOP = 160
"""Samples from one frame to the next."""
FRAMES_PER_SECOND = SAMPLE_RATE // HOP
_WINDOW = _FFT = 400
"""Samples that a frame is made of, whoever makes it."""
_REACH = _FFT // 2
"""Samples that a frame sees on either side of its centre."""
_ENCODER_STRIDE = 2
"""The encoder halves the frames, so their number is even."""


class SpeechFeatures(Protocol):
    """(N,) -> (C, F) float32; a recording longer than `max_samples` is an AudioError, never cut."""

    @property
    def max_samples(self) -> int:
        """N of the longest recording."""
        ...

    def __call__(self, waveform: Waveform) -> Features: ...

    def batch(self, waveforms: Sequence[Waveform]) -> list[Features]:
        """Each as by itself."""
        ...


@dataclass(frozen=True)
class LogMel:
    """(N,) -> (M, F) float32.

    `window_s` is the longest recording allowed. Padded: silence up to the whole window, exactly as Whisper.
    Otherwise trimmed: only the frames that hold the recording and `silence_s` behind it, as far as the window goes: the
    first `num_frames(N)` of the padded ones. The loudest bin of the clip sets the floor in both.
    """

    mel_bins: int = 80
    window_s: float = 30.0
    padded: bool = True
    silence_s: float = 0.0

    @classmethod
    def from_config(cls, audio: LogMelConfig) -> LogMel:
        """As a recipe says."""
        return cls(audio.mel_bins, audio.window_s, audio.padding == "window", audio.silence_s)

    @property
    def max_samples(self) -> int:
        """N of the longest recording."""
        return round(self.window_s * SAMPLE_RATE)

    def num_frames(self, num_samples: int) -> int:
        """F for N samples: the window's, or ceil(N / 160) made even and at least one pair, the silence included."""
        step = HOP * _ENCODER_STRIDE
        heard = min(num_samples + round(self.silence_s * SAMPLE_RATE), max(num_samples, self.max_samples))
        pairs = self.max_samples // step if self.padded else max(1, -(-heard // step))
        return _ENCODER_STRIDE * pairs

    def __call__(self, waveform: Waveform) -> Features:
        """Compute the features; a recording longer than the window is an AudioError, never cut."""
        return self.batch([waveform])[0]

    def batch(self, waveforms: Sequence[Waveform]) -> list[Features]:
        """Each as by itself, computed at once; neighbours in length are best together."""
        for waveform in waveforms:
            _check_length(waveform, self.window_s)
        lengths = [self.num_frames(len(waveform)) for waveform in waveforms]
        samples = np.zeros((len(waveforms), max(lengths, default=0) * HOP + 2 * _REACH), np.float32)
        for row, waveform in zip(samples, waveforms, strict=True):
            whole = self._with_margins(waveform)
            row[: len(whole)] = whole
        features = _log_mel(samples, lengths, self.mel_bins) if waveforms else np.zeros((0, 0, 0), np.float32)
        return [row[:, :length] for row, length in zip(features, lengths, strict=True)]

    def _with_margins(self, waveform: Waveform) -> Waveform:
        """Put what the outermost frames see around the recording: a window is mirrored, a clip ends in silence."""
        length = self.num_frames(len(waveform)) * HOP
        silence_after = length - len(waveform) + (0 if self.padded else _REACH)
        padded = np.pad(waveform.astype(np.float32, copy=False), (0, silence_after))
        return np.pad(padded, (_REACH, _REACH if self.padded else 0), mode="reflect")


@dataclass(frozen=True)
class Samples:
    """(N,) -> (1, N) for HuBERT and wav2vec 2.0, by transformers' extractor; as many as one frame is made of at least,
    with silence behind a shorter clip."""

    normalise: bool
    window_s: float = 30.0

    @classmethod
    def from_config(cls, audio: WaveformConfig) -> Samples:
        """As a recipe says."""
        return cls(audio.normalise, audio.window_s)

    @property
    def max_samples(self) -> int:
        """N of the longest recording."""
        return round(self.window_s * SAMPLE_RATE)

    def __call__(self, waveform: Waveform) -> Features:
        """Raises AudioError for a recording longer than the window."""
        _check_length(waveform, self.window_s)
        found = _wav2vec2(self.normalise)(waveform.astype(np.float32, copy=False), sampling_rate=SAMPLE_RATE)
        return _at_least(found.input_values[0], _WINDOW)[None]

    def batch(self, waveforms: Sequence[Waveform]) -> list[Features]:
        """One after the other."""
        return [self(waveform) for waveform in waveforms]


@dataclass(frozen=True)
class Fbank:
    """(N,) -> (160, F) for w2v-BERT 2.0, by transformers' extractor: filter banks of whole pairs of frames, of each bin
    less its mean and over its deviation; silence is put behind a clip shorter than a pair."""

    window_s: float = 30.0

    @classmethod
    def from_config(cls, audio: FbankConfig) -> Fbank:
        """As a recipe says."""
        return cls(audio.window_s)

    @property
    def max_samples(self) -> int:
        """N of the longest recording."""
        return round(self.window_s * SAMPLE_RATE)

    def __call__(self, waveform: Waveform) -> Features:
        """Raises AudioError for a recording longer than the window."""
        _check_length(waveform, self.window_s)
        heard = _at_least(waveform.astype(np.float32, copy=False), _WINDOW + HOP)
        # Of an odd number of frames it pads the last to a pair and masks that; here it is left out.
        found = _seamless()(heard, sampling_rate=SAMPLE_RATE, pad_to_multiple_of=None)
        pairs: Features = np.ascontiguousarray(found.input_features[0].T, np.float32)
        return pairs

    def batch(self, waveforms: Sequence[Waveform]) -> list[Features]:
        """One after the other."""
        return [self(waveform) for waveform in waveforms]


FEATURES: dict[str, Callable[[Any], SpeechFeatures]] = {
    "log-mel": LogMel.from_config,
    "waveform": Samples.from_config,
    "fbank": Fbank.from_config,
}


def speech_features(audio: AudioConfig) -> SpeechFeatures:
    """The features that a recipe's encoder hears."""
    return FEATURES[audio.kind](audio)


def _check_length(waveform: Waveform, window_s: float) -> None:
    if len(waveform) > round(window_s * SAMPLE_RATE):
        lasts = f"The audio lasts {len(waveform) / SAMPLE_RATE:.2f} s"
        raise AudioError(f"{lasts} and the model hears {window_s:g} s at a time; cut it into segments first.")


def _at_least(waveform: Waveform, size: int) -> Waveform:
    return np.pad(waveform, (0, max(0, size - len(waveform))))


@functools.cache
def _wav2vec2(normalise: bool) -> Any:
    from transformers import Wav2Vec2FeatureExtractor

    return Wav2Vec2FeatureExtractor(do_normalize=normalise)


@functools.cache
def _seamless() -> Any:
    from transformers import SeamlessM4TFeatureExtractor

    return SeamlessM4TFeatureExtractor()


def _log_mel(samples: npt.NDArray[np.float32], lengths: Sequence[int], mel_bins: int) -> Features:
    """samples (U, 200 + 160 F + 200) and how many of the F frames are each one's own -> (U, M, F): log10 of mel power,
    at most 8 below the loudest of the own ones, scaled to about ±1."""
    import torch

    window, filters = _constants(mel_bins)
    signal = torch.from_numpy(samples)
    spectrum = torch.stft(signal, _FFT, HOP, window=window, center=False, return_complex=True)  # (U, 201, F + 1)
    power = (spectrum[..., :-1].abs() ** 2).contiguous()
    log_power = (filters @ power).clamp(min=1e-10).log10()
    own = torch.arange(log_power.shape[2]) < torch.tensor(lengths)[:, None]
    loudest = log_power.masked_fill(~own[:, None], -torch.inf).amax((1, 2), keepdim=True)
    bounded = torch.maximum(log_power, loudest - 8.0)
    features: Features = ((bounded + 4.0) / 4.0).numpy()
    return features


@functools.cache
def _constants(mel_bins: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The Hann window (400,) and the Slaney mel filters (M, 201)."""
    import torch
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(
        1 + _FFT // 2, mel_bins, 0.0, SAMPLE_RATE / 2, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
    )
    return torch.hann_window(_FFT), torch.from_numpy(filters).to(torch.float32).T


@functools.cache
def mel_centres(mel_bins: int) -> npt.NDArray[np.float64]:
    """The frequency in Hz that each bin is about, (M,)."""
    from transformers.audio_utils import hertz_to_mel, mel_to_hertz

    edges = np.linspace(0.0, float(hertz_to_mel(SAMPLE_RATE / 2, "slaney")), mel_bins + 2)
    centres: npt.NDArray[np.float64] = mel_to_hertz(edges[1:-1], "slaney")
    return centres
