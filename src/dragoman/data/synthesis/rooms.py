"""Speech as a room and a background change it. S: samples at 16 kHz, float32, full scale 1."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from dragoman.data.audio import SAMPLE_RATE, Waveform, load_audio
from dragoman.errors import DataError


class RoomSimulator:
    """Silence around the speech, then at random a room, a background, a level; all by the generator given."""

    silence_s = (0.05, 0.2)
    room_probability = 0.25
    noise_probability = 0.4
    snr_db = (8.0, 30.0)
    peak_db = (-20.0, -1.0)
    """Level of the loudest sample, against full scale."""

    def __init__(self, noise_root: Path) -> None:
        """Read `rir/*.wav`, `gsc/*.wav` and `kitchen.wav`. Raises DataError or AudioError for what is missing."""
        self.rooms = [_direct_sound_first(load_audio(path)) for path in sorted(noise_root.glob("rir/*.wav"))]
        paths = [*sorted(noise_root.glob("gsc/*.wav")), noise_root / "kitchen.wav"]
        self.noises = [load_audio(path) for path in paths]
        if not self.rooms:
            raise DataError(f"{noise_root}: no room responses (rir/*.wav) in it; name the folder of the noises.")

    def __call__(self, speech: Waveform, rng: np.random.Generator) -> Waveform:
        """(S,) -> (S',), with S' longer by the silence; never clipped."""
        before, after = (round(SAMPLE_RATE * rng.uniform(*self.silence_s)) for _ in range(2))
        clip = np.pad(speech, (before, after))
        if rng.random() < self.room_probability:
            clip = convolve(clip, self.rooms[rng.integers(len(self.rooms))])
        if rng.random() < self.noise_probability:
            clip = add_noise(clip, self._background(len(clip), rng), rng.uniform(*self.snr_db))
        peak = np.abs(clip).max() or 1.0
        return np.asarray(clip * (10 ** (rng.uniform(*self.peak_db) / 20) / peak), np.float32)

    def _background(self, length: int, rng: np.random.Generator) -> Waveform:
        noise = self.noises[rng.integers(len(self.noises))]
        start = rng.integers(max(1, len(noise) - length))
        return np.resize(noise[start : start + length], length)


def convolve(speech: Waveform, room: Waveform) -> Waveform:
    """Speech (S,) in a room, cut to (S,)."""
    size = 1 << (len(speech) + len(room) - 1).bit_length()
    product = np.fft.rfft(speech, size) * np.fft.rfft(room, size)
    return np.asarray(np.fft.irfft(product, size)[: len(speech)], np.float32)


def add_noise(speech: Waveform, noise: Waveform, snr_db: float) -> Waveform:
    """Mix (S,) and (S,) at this ratio of mean powers."""
    powers = [float(np.mean(np.square(part, dtype=np.float64))) for part in (speech, noise)]
    if not powers[1]:
        return speech
    gain = (powers[0] / powers[1] / 10 ** (snr_db / 10)) ** 0.5
    return np.asarray(speech + noise * gain, np.float32)


def _direct_sound_first(room: Waveform) -> Waveform:
    """Drop the time of flight, so that a room does not shift the speech; unit energy."""
    from_peak = room[int(np.abs(room).argmax()) :]
    return np.asarray(from_peak / np.linalg.norm(from_peak), np.float32)


@cache
def room_simulator(noise_root: Path) -> RoomSimulator:
    """`RoomSimulator`, read once a process."""
    return RoomSimulator(noise_root)
