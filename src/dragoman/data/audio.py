"""Any media file or bytes -> mono float32 at 16 kHz.

One decoder, PyAV (it bundles FFmpeg): two decoders disagree silently on broken headers and chained Ogg,
and only FFmpeg also reads video, m4a and webm. The rules:

- **Stream.** The first audio stream is taken; other tracks and all pictures are left alone.
- **Channels.** The mean of the channels, unless they cancel each other (opposite phase): then the louder one.
- **Values.** NaN and infinity become 0 and all is clipped to [-1, 1], as Whisper's own loader does by using int16.
- **Time.** Second 0 is the container's second 0: a late start or a hole of more than 0.1 s is filled with silence,
  up to one hour in all (more is taken for a broken clock). Formats whose clock starts anywhere (MPEG-TS, Ogg,
  mp3, …) count from the start of the container.
- **Damage.** What can be decoded is kept and a warning is logged; nothing decodable is an AudioError.
- **Safety.** FFmpeg gets one file that is already open, an allow-list of formats and no protocol at all, so a
  playlist, a concat script or a reference inside a container can open neither a file nor the network.

Shapes: C channels, N samples.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer

from dragoman.data.shards.reading import open_audio
from dragoman.errors import AudioError

Waveform = npt.NDArray[np.float32]

SAMPLE_RATE = 16_000

_FORMATS = (  # FFmpeg's names; formats that merely list other files are not among them
    "3gp,aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dts,eac3,flac,flv,gsm,ircam,latm,loas,matroska,mov,mp3,mpc,"
    "mpc8,mpeg,mpegts,mxf,nistsphere,nut,ogg,oma,rm,tak,truehd,tta,voc,w64,wav,webm,wv"
)
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "none", "threads": "1"}
_CLOCK_STARTS_AT_ZERO = {"matroska", "webm", "mov", "mp4"}
_MAX_JITTER_S = 0.1  # codec delay and rounded timestamps stay below it
_MAX_SILENCE_S = 3600.0
_SOURCE_RATES = range(1_000, 1_000_001)
_INTEGERS = {  # bytes per sample: (offset, scale); one byte is unsigned
    size: (np.float32(size == 1), np.float32(2.0 ** (1 - 8 * size))) for size in (1, 2, 4, 8)
}
_TOO_MANY_PLANES = 8
"""With so many, PyAV 18.1 reads beyond the end of the list of planes: a segmentation fault."""
_UNREADABLE = (av.FFmpegError, OSError, ValueError)  # what PyAV raises for data it cannot make sense of


def load_audio(source: str | Path | bytes, start_s: float = 0.0, duration_s: float | None = None) -> Waveform:
    """Decode the stretch that starts at `start_s`, to the end or for `duration_s`: (N,) float32 at 16 kHz. A path may
    name a member of a tar file, as `shards/000.tar#clip.flac` (see `data/shards/`).

    A valid file without samples gives an empty array. Raises AudioError, in one sentence, when the file
    cannot be opened or decoded, has no audio stream, or ends before `start_s`.
    """
    first = round(start_s * SAMPLE_RATE)
    stop = None if duration_s is None else first + round(duration_s * SAMPLE_RATE)
    pieces: list[Waveform] = []
    position = 0
    with contextlib.closing(stream_audio(source)) as blocks:
        for block in blocks:
            pieces.append(block[max(first - position, 0) : None if stop is None else max(stop - position, 0)])
            position += len(block)
            if stop is not None and position >= stop:
                break
    if first and first >= position:
        lasts = f"{_name(source)}: lasts {position / SAMPLE_RATE:.2f} s"
        raise AudioError(f"{lasts}, so nothing starts at {start_s:g} s; correct the start.")
    return _join(pieces)


def stream_audio(source: str | Path | bytes, block_s: float = 30.0) -> Generator[Waveform, None, None]:
    """Yield the recording in blocks of `block_s` seconds, the last one shorter; memory is bounded by a block.

    The blocks joined are the same for every `block_s`. Raises AudioError as `load_audio` does, at `next`.
    """
    size = max(1, round(block_s * SAMPLE_RATE))
    held: list[Waveform] = []
    count = 0
    for piece in _pieces(source):
        held.append(piece)
        count += len(piece)
        if count >= size:
            whole = _join(held)
            end = count - count % size
            yield from (whole[cut : cut + size] for cut in range(0, end, size))
            held, count = [whole[end:].copy()], count - end
    if count:
        yield _join(held)


def _pieces(source: str | Path | bytes) -> Iterator[Waveform]:
    """Decode the first audio stream piece by piece, (N,) each, and say what was lost."""
    name = _name(source)
    with _opened(source, name) as container:
        frames = _Frames(container, name)
        decoded_s = 0.0
        for piece in _on_timeline(frames, _origin_s(container)):
            decoded_s += len(piece) / SAMPLE_RATE
            yield piece
        if frames.lost and not decoded_s:
            raise AudioError(f"{name}: is damaged, none of its audio can be decoded; get the file again.")
        if frames.lost:
            places = f"{frames.lost} place{'s' * (frames.lost != 1)}"
            message = "%s: is damaged in %s; the %.1f s that can be decoded are used."
            logging.getLogger(__name__).warning(message, name, places, decoded_s)


@contextlib.contextmanager
def _opened(source: str | Path | bytes, name: str) -> Iterator[InputContainer]:
    """Open the file ourselves, so that FFmpeg never opens one."""
    try:
        file: BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else open_audio(source)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"{name}: cannot be opened ({reason}); check path and permissions.") from error
    with file:
        try:
            container = av.open(_Seekable(file), "r", options=_OPTIONS, metadata_errors="replace")
        except _UNREADABLE as error:
            message = f"{name}: is not a media file that can be read; check it, or convert it to WAV."
            raise AudioError(message) from error
        with container:
            yield container


class _Seekable:
    """A file that answers -1 where it cannot seek to: FFmpeg understands, while PyAV would print an exception."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return -1

    def __getattr__(self, name: str) -> Any:
        if name == "name":  # by a name such as x.flac, FFmpeg would take a web page for FLAC without samples
            raise AttributeError(name)
        return getattr(self._file, name)


class _Frames:
    """The decoded frames of the first audio stream: (start in s or None, rate, samples (C, N)) each."""

    def __init__(self, container: InputContainer, name: str) -> None:
        if not container.streams.audio:
            raise AudioError(f"{name}: has no audio stream; choose a file with sound.")
        self._container = container
        self._name = name
        self.lost = 0
        """Packets that could not be read or decoded, and holes."""

    def __iter__(self) -> Iterator[tuple[float | None, int, Waveform]]:
        packets = self._container.demux(self._container.streams.audio[0])
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except _UNREADABLE:
                self.lost += 1
                return
            try:
                decoded = [(frame.time, frame.sample_rate, _samples(frame)) for frame in packet.decode()]
            except _UNREADABLE:
                self.lost += 1
                continue
            for start_s, rate, samples in decoded:
                if rate not in _SOURCE_RATES:
                    claim = f"{self._name}: claims a rate of {rate} Hz"
                    raise AudioError(f"{claim}; convert it to a usual one such as {SAMPLE_RATE} Hz.")
                yield start_s, rate, samples


def _on_timeline(frames: _Frames, origin_s: float) -> Iterator[Waveform]:
    """Mix to mono, bring to 16 kHz, and put silence where the timestamps leave a hole; (N,) each."""
    mono = _Mono()
    resampler = _Resampler()
    clock_s = filled_s = 0.0
    for start_s, rate, samples in frames:
        hole_s = 0.0 if start_s is None else start_s - origin_s - clock_s
        if hole_s > _MAX_JITTER_S and filled_s + hole_s <= _MAX_SILENCE_S:
            yield from resampler.flush()
            yield from _silence(round(hole_s * SAMPLE_RATE))
            frames.lost += clock_s > 0
            clock_s += hole_s
            filled_s += hole_s
        clock_s += samples.shape[1] / rate
        yield from resampler.push(mono.mix(samples), rate)
    yield from resampler.flush()


class _Mono:
    """Mean of the channels, or the louder channel where the mean cancels.

    The mean of unrelated channels has 1/C² of their summed energy, that of equal ones C times as much. Less than
    a tenth of 1/C², over all heard so far, is cancellation.
    """

    def __init__(self) -> None:
        self._energies = np.zeros(1)
        self._mean_energy = 0.0

    def mix(self, samples: Waveform) -> Waveform:
        """(C, N) -> (N,)."""
        channels = len(samples)
        if channels == 1:
            only: Waveform = samples[0]
            return only
        if len(self._energies) != channels:
            self._energies, self._mean_energy = np.zeros(channels), 0.0
        mean: Waveform = samples.mean(axis=0, dtype=np.float32)
        self._energies += np.square(samples).sum(axis=1)
        self._mean_energy += float(np.square(mean).sum())
        if self._mean_energy < 0.1 * self._energies.sum() / channels**2:
            mean = samples[int(self._energies.argmax())]
        return mean


class _Resampler:
    """Any rate -> 16 kHz, with swresample; what is at 16 kHz already passes. The rate may change midway."""

    def __init__(self) -> None:
        self._rate = SAMPLE_RATE
        self._filter: av.AudioResampler | None = None

    def push(self, samples: Waveform, rate: int) -> Iterator[Waveform]:
        """(N,) at `rate` -> pieces at 16 kHz, some of it held back until more comes."""
        if rate != self._rate:
            yield from self.flush()
            self._rate = rate
        if rate == SAMPLE_RATE:
            yield samples
            return
        self._filter = self._filter or av.AudioResampler("flt", "mono", SAMPLE_RATE)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), "flt", "mono")
        frame.sample_rate = rate
        yield from _bounded(self._filter.resample(frame))

    def flush(self) -> Iterator[Waveform]:
        """What was held back; the next push starts afresh."""
        if self._filter is not None:
            yield from _bounded(self._filter.resample(None))
            self._filter = None


def _samples(frame: av.AudioFrame) -> Waveform:
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


def _bounded(frames: list[av.AudioFrame]) -> Iterator[Waveform]:
    """Resampled frames -> (N,) each; the filter may overshoot full scale a little."""
    return (np.clip(frame.to_ndarray()[0], -1, 1, dtype=np.float32) for frame in frames)


def _silence(count: int) -> Iterator[Waveform]:
    """`count` zeros, a second at a time."""
    return (np.zeros(min(SAMPLE_RATE, count - at), np.float32) for at in range(0, count, SAMPLE_RATE))


def _origin_s(container: InputContainer) -> float:
    """The timestamp that is second 0 of the recording."""
    if _CLOCK_STARTS_AT_ZERO & set(container.format.name.split(",")):
        return 0.0
    return (container.start_time or 0) / av.time_base


def _join(pieces: list[Waveform]) -> Waveform:
    return pieces[0] if len(pieces) == 1 else np.concatenate([np.zeros(0, np.float32), *pieces])


def _name(source: str | Path | bytes) -> str:
    """How a message calls the source; undecodable bytes of a file name are replaced, to be printable."""
    if isinstance(source, bytes):
        return "audio given as bytes"
    return os.fsencode(source).decode("utf-8", "replace")
