"""Channels -> mono, by where their loudspeakers stand.

Shapes: C channels, N samples.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from dragoman.data.audio.resampling import Waveform

_CENTRE, _FRONT, _ELSEWHERE = 1.0, 0.5**0.5, 0.5
"""How much of a channel is mixed in, before all are made to add up to 1: swresample's weights for mono."""
_USUAL = {6: "FL FR FC LFE BL BR", 8: "FL FR FC LFE BL BR SL SR"}
"""This many channels without a layout are taken for 5.1 and 7.1, as ffmpeg does."""
_CANCELS = 0.1


class Mixer:
    """The weighted sum of the channels, or the loudest channel where the sum cancels.

    The sum of unrelated channels has their weighted energies, that of equal ones up to C times as much. Less than a
    tenth of the former, over all heard so far, is cancellation.
    """

    def __init__(self) -> None:
        self._weights = np.ones(1, np.float32)
        self._energies = np.zeros(1)
        self._mixed_energy = 0.0

    def mix(self, samples: Waveform, channels: tuple[str, ...]) -> Waveform:
        """(C, N), with FFmpeg's names of the channels -> (N,)."""
        if len(samples) == 1:
            only: Waveform = samples[0]
            return only
        found = weights(channels)
        if len(found) != len(self._weights) or (found != self._weights).any():
            self._weights, self._energies, self._mixed_energy = found, np.zeros(len(found)), 0.0
        mixed: Waveform = found @ samples
        self._energies += np.square(found[:, None] * samples).sum(axis=1)
        self._mixed_energy += float(np.square(mixed).sum())
        if self._mixed_energy < _CANCELS * self._energies.sum():
            mixed = samples[int(self._energies.argmax())]
        return mixed


def guessed_layout(channels: tuple[str, ...]) -> str | None:
    """What channels without a layout are taken for, if for any."""
    return _USUAL.get(len(channels)) if set(channels) == {"NONE"} else None


@functools.cache
def weights(channels: tuple[str, ...]) -> npt.NDArray[np.float32]:
    """How much of each channel is mixed in, (C,), together 1; without a layout all the same, but for 6 and 8."""
    if layout := guessed_layout(channels):
        channels = tuple(layout.split())
    found = np.array([_weight(name, channels) for name in channels])
    if not found.any():
        found = np.ones(len(channels))
    return (found / found.sum()).astype(np.float32)


def _weight(name: str, channels: tuple[str, ...]) -> float:
    if name.startswith("LFE"):
        return 0.0
    if name in ("FC", "NONE"):
        return _CENTRE
    return _FRONT if name.removeprefix("T") in ("FL", "FR", "FC", "FLC", "FRC") else _ELSEWHERE
