"""Packets -> frames of samples; what cannot be decoded is counted.

Shapes: C channels, N samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer

from dragoman.data.audio.opening import UNREADABLE
from dragoman.data.audio.resampling import SAMPLE_RATE, Waveform
from dragoman.errors import AudioError

_SOURCE_RATES = range(1_000, 1_000_001)
_INTEGERS = {  # bytes per sample: (offset, scale); one byte is unsigned
    size: (np.float32(size == 1), np.float32(2.0 ** (1 - 8 * size))) for size in (1, 2, 4, 8)
}
_TOO_MANY_PLANES = 8
"""With this many, PyAV 18.1 reads beyond the end of the list of planes: a segmentation fault."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Samples (C, N) that were decoded together; the container's time of the first, if it says one; the channels by
    FFmpeg's names."""

    start_s: float | None
    rate: int
    samples: Waveform
    channels: tuple[str, ...]

    @property
    def duration_s(self) -> float:
        return self.samples.shape[1] / self.rate


class Frames:
    """The decoded frames of one audio stream, by its index. `check` raises where the file itself could not be read."""

    def __init__(self, container: InputContainer, index: int, name: str, check: Callable[[], None]) -> None:
        self.lost = 0
        """Packets that could not be read or decoded."""
        self._container, self._index, self._name, self._check = container, index, name, check

    def lose(self) -> None:
        """Count one more."""
        self.lost += 1

    def __iter__(self) -> Iterator[Frame]:
        packets = self._container.demux(self._container.streams[self._index])
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                self._check()
                return
            except UNREADABLE:
                self._check()
                self.lost += 1
                return
            try:
                decoded = [_frame(frame) for frame in packet.decode() if isinstance(frame, av.AudioFrame)]
            except UNREADABLE:
                self.lost += 1
                continue
            for frame in decoded:
                if frame.rate not in _SOURCE_RATES:
                    claim = f"{self._name}: claims a rate of {frame.rate} Hz"
                    raise AudioError(f"{claim}; convert it to a usual one such as {SAMPLE_RATE} Hz.")
                yield frame


def _frame(frame: av.AudioFrame) -> Frame:
    names = tuple(channel.name for channel in frame.layout.channels)
    return Frame(frame.time, frame.sample_rate, samples_of(frame), names)


def samples_of(frame: av.AudioFrame) -> Waveform:
    """Decoded frame -> (C, N) float32 in [-1, 1], without NaN or infinity."""
    if frame.format.is_planar and frame.layout.nb_channels >= _TOO_MANY_PLANES:
        (frame,) = av.AudioResampler("flt").resample(frame)
    raw: npt.NDArray[Any] = frame.to_ndarray()
    if not frame.format.is_planar:
        raw = raw.reshape(-1, frame.layout.nb_channels).T
    if raw.dtype.kind in "iu":
        zero, scale = _INTEGERS[raw.dtype.itemsize]
        return raw.astype(np.float32) * scale - zero
    finite: Waveform = np.nan_to_num(raw, nan=0.0, posinf=0.0, neginf=0.0).clip(-1, 1).astype(np.float32)
    return finite
