"""A stretch from the middle of a long recording without decoding what comes before, where that is exact to the sample.

It is for PCM and FLAC in files that number their samples, of one channel: each sample there stands for itself, while
lossy codecs go on from what they decoded before, and how several channels are mixed depends on all heard so far.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer

from dragoman.data.audio.decoding import samples_of
from dragoman.data.audio.opening import UNREADABLE, MediaFile, opened_container
from dragoman.data.audio.resampling import SAMPLE_RATE, Resampler, Waveform

_FORMATS = frozenset({"wav", "w64", "aiff", "au", "caf", "flac"})
_REACH_S = 0.1
"""The resampling filter reaches less far; what it makes within that of its beginning is thrown away."""


def seek_samples(file: MediaFile, name: str, first: int, stop: int | None) -> Waveform | None:
    """Samples `first` to `stop` of the recording at 16 kHz, (N,), as decoding it from its start would give them; None
    where that cannot be had, and where there is no such stretch."""
    try:
        with opened_container(file, name) as container:
            stream = container.streams.audio[0] if len(container.streams) == 1 else None
            if stream is None or not _is_exact(container, stream):
                return None
            found = _resampled(_from(container, stream, first), stream.rate, first, stop)
            return found if len(found) else None
    except UNREADABLE:
        return None


def _is_exact(container: InputContainer, stream: AudioStream) -> bool:
    codec = stream.codec_context.name
    return (
        container.format.name in _FORMATS
        and (codec == "flac" or codec.startswith("pcm_"))
        and stream.codec_context.layout.nb_channels == 1
        and not stream.start_time
        and stream.time_base == Fraction(1, stream.rate)
    )


def _from(container: InputContainer, stream: AudioStream, first: int) -> Iterator[tuple[int, Waveform]]:
    """(position, samples) of the frames from a little before sample `first` at 16 kHz on."""
    container.seek(max(0, int((first / SAMPLE_RATE - 2 * _REACH_S) * stream.rate)), stream=stream)
    for packet in container.demux(stream):
        for frame in packet.decode():
            if isinstance(frame, av.AudioFrame):
                if frame.pts is None or frame.sample_rate != stream.rate:
                    raise ValueError("samples without a number")
                yield frame.pts, samples_of(frame)[0]


def _resampled(frames: Iterator[tuple[int, Waveform]], rate: int, first: int, stop: int | None) -> Waveform:
    """The filter begins where its output falls on a whole sample, so that it goes the way it would have gone."""
    step = rate // math.gcd(rate, SAMPLE_RATE)
    start = max(0, int((first / SAMPLE_RATE - _REACH_S) * rate)) // step * step
    position = start * SAMPLE_RATE // rate
    resampler, pieces, expected = Resampler(), list[Waveform](), start
    for at, samples in frames:
        ahead = samples[max(0, start - at) :]
        at = max(at, start)
        if not len(ahead):
            continue
        if at != expected:
            raise ValueError("a hole")
        expected += len(ahead)
        pieces += resampler.push(ahead, rate, 0.0)
        if stop is not None and position + resampler.written >= stop:
            break
    pieces += resampler.flush()
    whole = np.concatenate([np.zeros(0, np.float32), *pieces])
    return whole[first - position : None if stop is None else stop - position]
