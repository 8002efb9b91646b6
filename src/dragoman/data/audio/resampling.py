"""Any rate -> 16 kHz, with swresample; what is at 16 kHz already passes. The rate may change midway."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from av.filter import Graph

Waveform = npt.NDArray[np.float32]

SAMPLE_RATE = 16_000

MOST_STRETCH = 0.1
"""More than this samples are neither stretched nor squeezed to fit their timestamps: speech would be spoilt."""
_SETTLE_S = 0.1
"""swresample drops or inserts samples, instead of stretching, while nothing has come out of it."""


class Resampler:
    """(N,) at any rate -> (N,) at 16 kHz. Once it shall `follow`, samples are stretched to where they belong."""

    def __init__(self) -> None:
        self.written = 0
        """Samples that came out, or are held back in the filter and will, of the parts that are over."""
        self._rate = SAMPLE_RATE
        self._plain: av.AudioResampler | None = None
        self._stretching: _Stretching | None = None
        self._follows = False

    @property
    def position_s(self) -> float:
        """How much came out so far."""
        return self.written / SAMPLE_RATE

    @property
    def follows(self) -> bool:
        return self._follows

    def follow(self) -> Iterator[Waveform]:
        """From now on go by the times; yields what was held back."""
        yield from self.flush()
        self._follows = True

    def push(self, samples: Waveform, rate: int, at_s: float) -> Iterator[Waveform]:
        """(N,) at `rate`, the first of them at second `at_s` -> pieces at 16 kHz, some held back until more comes."""
        if rate != self._rate:
            yield from self.flush()
            self._rate = rate
        if self._follows:
            self._stretching = self._stretching or _Stretching(rate, self.position_s)
            pieces = self._stretching.push(samples, at_s)
        elif rate == SAMPLE_RATE:
            pieces = iter([samples])
        else:
            self._plain = self._plain or av.AudioResampler("flt", "mono", SAMPLE_RATE)
            pieces = bounded(self._plain.resample(frame_of(samples, rate)))
        yield from self._counted(pieces)

    def flush(self) -> Iterator[Waveform]:
        """What was held back; the next push starts afresh."""
        if self._plain is not None:
            yield from self._counted(bounded(self._plain.resample(None)))
        if self._stretching is not None:
            yield from self._counted(self._stretching.flush())
        self._plain = self._stretching = None

    def _counted(self, pieces: Iterator[Waveform]) -> Iterator[Waveform]:
        for piece in pieces:
            self.written += len(piece)
            yield piece


class _Stretching:
    """FFmpeg's filter aresample, which stretches as far as the timestamps ask; it goes about it smoothly, and 3 % are
    followed with a lag of 30 ms."""

    def __init__(self, rate: int, start_s: float) -> None:
        self._rate, self._start_s, self._pushed = rate, start_s, 0
        graph = Graph()
        self._source = graph.add_abuffer(
            sample_rate=rate, format="flt", layout="mono", time_base=Fraction(1, rate), name="source"
        )
        settings = f"{SAMPLE_RATE}:flags=res:async={MOST_STRETCH * rate:g}:min_hard_comp=1e9"
        resample = graph.add("aresample", settings)
        self._sink = graph.add("abuffersink")
        self._source.link_to(resample)
        resample.link_to(self._sink)
        graph.configure()
        self._graph = graph  # its contexts do not keep it alive

    def push(self, samples: Waveform, at_s: float) -> Iterator[Waveform]:
        if self._pushed < _SETTLE_S * self._rate:
            at_s = self._start_s + self._pushed / self._rate
        frame = frame_of(samples, self._rate)
        frame.time_base = Fraction(1, self._rate)
        frame.pts = round(at_s * self._rate)
        self._pushed += len(samples)
        self._source.push(frame)
        return bounded(self._ready())

    def flush(self) -> Iterator[Waveform]:
        self._source.push(None)
        return bounded(self._ready())

    def _ready(self) -> list[av.AudioFrame]:
        frames: list[av.AudioFrame] = []
        while True:
            try:
                frame = self._sink.pull()
            except (av.BlockingIOError, av.EOFError):
                return frames
            assert isinstance(frame, av.AudioFrame)
            frames.append(frame)


def frame_of(samples: Waveform, rate: int) -> av.AudioFrame:
    """(N,) -> a frame of PyAV's."""
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), "flt", "mono")
    frame.sample_rate = rate
    return frame


def bounded(frames: list[av.AudioFrame]) -> Iterator[Waveform]:
    """Resampled frames -> (N,) each; the filter may overshoot full scale a little."""
    return (np.clip(frame.to_ndarray()[0], -1, 1, dtype=np.float32) for frame in frames)
