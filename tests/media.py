"""Media of any shape, made by PyAV for tests: several tracks, any timestamps, pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

RATE = 16_000


def tone(seconds: float, rate: int = RATE, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@dataclass(frozen=True)
class Track:
    """(N,) or (C, N) samples; `at` says at which second of the container's clock the frame belongs that begins at a
    second of the samples, `sends` whether the packet of a second of the clock is there."""

    samples: np.ndarray
    codec: str = "pcm_s16le"
    rate: int = RATE
    layout: str = "mono"
    at: Callable[[float], float] = lambda second: second
    sends: Callable[[float], bool] = lambda second: True
    language: str = ""
    title: str = ""
    disposition: Disposition | None = None


def write_media(path: Path, *tracks: Track, video_at_s: float | None = None, container: str | None = None) -> Path:
    """Write the tracks, and a second of pictures if it is said when they begin."""
    packets = []
    with av.open(path, "w", format=container) as out:
        video = None
        if video_at_s is not None:
            video = out.add_stream("mpeg4", rate=5, width=16, height=16, pix_fmt="yuv420p")
            video.codec_context.time_base = Fraction(1, 5)
        streams = [_stream(out, track) for track in tracks]
        out.start_encoding()
        if video is not None and video_at_s is not None:
            for number in range(5):
                picture = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))
                picture.pts, picture.time_base = round(5 * video_at_s) + number, Fraction(1, 5)
                packets += video.encode(picture)
            packets += video.encode(None)
        for track, stream in zip(tracks, streams, strict=True):
            packets += _encoded(track, stream)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            out.mux(packet)
    return path


def _stream(out: av.container.OutputContainer, track: Track) -> av.AudioStream:
    stream = out.add_stream(track.codec, rate=track.rate, layout=track.layout)
    stream.disposition = track.disposition or Disposition(0)
    stream.metadata.update({key: value for key in ("language", "title") if (value := getattr(track, key))})
    return stream


def _encoded(track: Track, stream: av.AudioStream) -> list[av.Packet]:
    samples = np.atleast_2d(np.float32(track.samples))
    whole = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T).reshape(1, -1), "flt", track.layout)
    whole.sample_rate = track.rate
    size = stream.codec_context.frame_size or 1024
    resampler = av.AudioResampler(stream.format.name, track.layout, track.rate, frame_size=size)
    position, packets = 0, []
    for frame in [*resampler.resample(whole), *resampler.resample(None)]:
        frame.pts, frame.time_base = round(track.at(position / track.rate) * track.rate), Fraction(1, track.rate)
        position += frame.samples
        packets += stream.encode(frame)
    packets += stream.encode(None)
    return [packet for packet in packets if track.sends(float(packet.pts * packet.time_base))]
