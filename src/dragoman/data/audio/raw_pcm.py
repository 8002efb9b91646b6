"""What raw bytes are that come as PCM of 16 bits, one channel and 16 kHz: they have no mark to know them by, and text
would be invented from any others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from dragoman.data.audio.resampling import SAMPLE_RATE

Numbers = npt.NDArray[np.float64]
OTHER, TWO_CHANNELS, SLOW = "no 16 bit samples", "two channels", "too slow"

_FEW, _QUIET, _LOUD, _FULL = 64, 0.02, 0.35, 0.9
"""Samples that say nothing; how loud what is judged is (RMS)."""
_JUMPS, _FLOWS = 0.3, 0.5
"""Correlation of neighbouring samples: of random ones 0, of speech 0.7 and more."""
_UNLIKE = 0.5
"""Energies of every other sample, and of the steps to and from it, differ by less in one channel."""
_TWICE, _APART = 0.85, 0.15
"""Correlation of every other sample, and how much less neighbours have: two channels, which take turns."""
_BYTES = 0.25
"""How unlike the first and second bytes of samples are (total variation): of 8 bits they are the same."""
_FEWER = 4
"""By how much fewer the values of first bytes are, of samples in the other byte order."""
_FRAME, _VOICED, _PEAK = 1024, 0.6, 0.85
"""Samples to find a pitch in; what of their energy comes again after a period; how near to the best of all periods."""
_SLOW = ((75.0, -36.0), (100.0, -45.0))
"""Pitch in Hz, and energy above 3 kHz in dB of all: speech has not as little of both, at its own rate."""
_GLIDES = 1.1
"""Voices glide up and down, hum does not: the tenth highest pitch above the tenth lowest."""
_SILENT = 64 / 32768
"""A stretch whose samples are nearer to one another (RMS) says nothing of its bytes."""


class RawJudge:
    """Judges raw bytes as they come; silence says nothing."""

    def __init__(self) -> None:
        self._is_sound = False
        self._bytes = _Stretch(0.25, _SILENT, _is_bytes)
        self._loud = {TWO_CHANNELS: _Stretch(1.0, _QUIET, _are_two_channels), SLOW: _Stretch(3.0, _QUIET, is_too_slow)}

    def fault(self, block: bytes) -> str | None:
        """What this block (whole samples) shows the bytes to be in the place of PCM as it is expected; None while
        nothing does."""
        if not self._is_sound:
            verdict = is_pcm(block)
            if verdict is False:
                return OTHER
            self._is_sound = verdict is True
        if self._bytes.is_so(block):
            return OTHER
        return next((name for name, stretch in self._loud.items() if stretch.is_so(block)), None)


class _Stretch:
    """So many seconds of blocks that are as loud, and what is asked of them, once."""

    def __init__(self, seconds: float, loudness: float, test: Callable[[bytes], bool]) -> None:
        self._size, self._loudness, self._test = 2 * round(seconds * SAMPLE_RATE), loudness, test
        self._heard = b""

    def is_so(self, block: bytes) -> bool:
        """With this block more; False while it is too little, and ever after it was asked."""
        if len(self._heard) >= self._size or not block or _samples(block).std() < self._loudness:
            return False
        self._heard += block
        return len(self._heard) >= self._size and self._test(self._heard[: self._size])


def is_pcm(data: bytes) -> bool | None:
    """Whether these are 16 bit samples of sound; None where they could be. Other bytes read as such (compressed, text,
    float, 8 or 24 bit, the other byte order) are loud and jump from sample to sample, or stay near full scale."""
    samples = _samples(data)
    if len(samples) < _FEW:
        return None
    loudness = float(np.sqrt(_energy(samples)))
    swing = samples - samples.mean()
    alike = (swing[1:] * swing[:-1]).mean() / max(_energy(swing), 1e-12)
    if loudness > _LOUD and (alike < _JUMPS or loudness > _FULL):
        return False
    return True if loudness > _QUIET and alike > _FLOWS else None


def is_too_slow(data: bytes) -> bool:
    """Whether speech is heard two or three times too slowly, as that of 44.1 and 48 kHz is: deep and dull. Rates nearer
    to 16 kHz, and lower ones, make voices that others have."""
    samples = _samples(data)
    window = np.hanning(_FRAME)
    frames = np.lib.stride_tricks.sliding_window_view(samples, _FRAME)[:: _FRAME // 2]
    energies = np.square(frames).mean(1)
    power = np.abs(np.fft.rfft(frames[energies > 0.1 * np.quantile(energies, 0.95)] * window, 2 * _FRAME)) ** 2
    pitches = _pitches(power, window)
    if len(pitches) < _FEW // 4 or np.quantile(pitches, 0.9) < _GLIDES * np.quantile(pitches, 0.1):
        return False
    high = np.fft.rfftfreq(2 * _FRAME, 1 / SAMPLE_RATE) >= 3000
    above_3_khz = 10 * np.log10((power[:, high].sum(1) / power.sum(1)).mean() + 1e-9)
    return any(np.median(pitches) < pitch and above_3_khz < energy for pitch, energy in _SLOW)


def _pitches(power: Numbers, window: Numbers) -> Numbers:
    """Of frames with these spectra of energy, behind a window, those of the voiced ones, in Hz."""
    fades = np.fft.irfft(np.abs(np.fft.rfft(window, 2 * _FRAME)) ** 2)[:_FRAME]
    alike = np.fft.irfft(power, axis=1)[:, :_FRAME]
    shortest, longest = SAMPLE_RATE // 500, SAMPLE_RATE // 25
    again = (alike / alike[:, :1] / (fades / fades[0] + 1e-3))[:, shortest:longest]
    found = []
    for frame in again[again.max(1) > _VOICED]:
        is_peak = (frame[1:-1] >= frame[:-2]) & (frame[1:-1] > frame[2:]) & (frame[1:-1] > _PEAK * frame.max())
        if is_peak.any():
            found.append(SAMPLE_RATE / (1 + shortest + int(is_peak.argmax())))
    return np.array(found)


def _is_bytes(data: bytes) -> bool:
    """Whether first and second bytes of samples are alike, as those of 8 bits (mu-law, A-law), 24 bits or compressed
    data are: of 16 bits the first are all values equally, the second few; or whether it is the other way round. Silence
    and what is clipped say nothing."""
    samples = np.frombuffer(data, "<i2")
    says_nothing = (samples == samples.max()) | (samples == samples.min()) | (np.abs(samples.astype(int)) <= 1)
    pairs = np.frombuffer(data, np.uint8).reshape(-1, 2)[~says_nothing]
    if len(pairs) < len(samples) // 4:
        return False
    low, high = (np.bincount(pairs[:, at], minlength=256) / len(pairs) for at in (0, 1))
    swapped = (
        np.square(low[1:]).sum() > _FEWER * np.square(high[1:]).sum()
    )  # a first byte of 0 is that of a coarser recording
    return bool(swapped or np.abs(low - high).sum() / 2 < _BYTES)


def _are_two_channels(data: bytes) -> bool:
    """Whether both halves are samples of two channels in turn: one louder, alike in pairs, or each nearer to the next
    but one."""
    return all(_take_turns(half) for half in np.split(_samples(data), 2))


def _take_turns(samples: Numbers) -> bool:
    within, between = (samples[1::2] - samples[::2])[:-1], samples[2::2] - samples[1:-1:2]
    sides = (samples[::2], samples[1::2]), (within, between)
    if any(_energy(one) < _UNLIKE * _energy(other) or _energy(other) < _UNLIKE * _energy(one) for one, other in sides):
        return True
    swing = samples - samples.mean()
    next_one, next_but_one = ((swing[by:] * swing[:-by]).mean() / _energy(swing) for by in (1, 2))
    return bool(next_but_one > _TWICE and next_one < next_but_one - _APART)


def _samples(data: bytes) -> Numbers:
    """(N,) from -1 to 1."""
    return np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float64) / 32768


def _energy(samples: Numbers) -> float:
    return float(np.square(samples).mean())
