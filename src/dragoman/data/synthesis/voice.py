"""What every engine's voices have in common, and the door to all of them: `speak(text, voice)`.

An engine is a module with one frozen dataclass, its voice; `ENGINES` in the package's `__init__` lists them.
S: samples at 16 kHz, float32, full scale 1.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import av
import numpy as np
import numpy.typing as npt

from dragoman.data.audio import SAMPLE_RATE, Waveform
from dragoman.errors import DataError

Pcm = npt.NDArray[np.int16]

_SILENT = 0.01
"""What stays below it all along is no speech: Pico says a text without words as a faint noise."""


class Voice(Protocol):
    """A voice of one engine, with all that decides how it sounds."""

    @property
    def language(self) -> str:
        """ISO 639-3."""
        ...

    def say(self, text: str) -> tuple[Pcm, int]:
        """What the engine itself gives for a text: 16-bit samples and their rate in Hz."""
        ...


class Speaker(Voice, Protocol):
    """A voice that reads texts aloud."""

    @property
    def characters_per_s(self) -> float:
        """About how fast it speaks."""
        ...


class VoiceEngine(Protocol):
    """What draws voices: each engine's class of voices."""

    @classmethod
    def speaks(cls) -> tuple[str, ...]:
        """The languages that it is meant for, ISO 639-3."""
        ...

    @classmethod
    def draw(cls, language: str, rng: np.random.Generator, held_out: bool = False) -> Speaker:
        """A voice at random; training draws other ones than `held_out`. Raises LanguageError."""
        ...


def generator(seed: int, *names: str) -> np.random.Generator:
    """A random generator that depends on the seed and the names alone."""
    digest = hashlib.sha256("/".join([str(seed), *names]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def speak(text: str, voice: Voice) -> Waveform:
    """Speak a text; returns (S,) samples without the silence before and after it.

    The same text and voice give the same samples. Raises DragomanError where the engine is not installed,
    LanguageError or DataError for a voice that it lacks, DataError for a text that it does not say.
    """
    samples = trim(resample(*voice.say(text)))
    if np.abs(samples).max(initial=0.0) < _SILENT:
        raise DataError(f"Nothing was said for {text!r} in {voice.language}; leave the text out.")
    return samples


def resample(samples: Pcm, rate: int) -> Waveform:
    """16-bit samples at `rate` Hz -> (S,)."""
    if not len(samples):
        return np.zeros(0, np.float32)
    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE)
    parts = [part.to_ndarray()[0] for source in (frame, None) for part in resampler.resample(source)]
    return np.concatenate(parts).astype(np.float32)


def trim(samples: Waveform, margin_s: float = 0.01, floor: float = 1e-3) -> Waveform:
    """Cut what is below `floor` times the peak (-60 dB) at both ends, except for a margin."""
    level = np.abs(samples)
    loud = np.flatnonzero(level > floor * level.max(initial=0.0))
    margin = round(margin_s * SAMPLE_RATE)
    return samples[max(0, loud[0] - margin) : loud[-1] + 1 + margin] if len(loud) else samples[:0]
