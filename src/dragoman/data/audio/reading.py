"""What the rest of the house calls: a whole recording, a stretch of it, its blocks, or excerpts from all over it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator, Iterable, Iterator

import numpy as np
from av import time_base
from av.container import InputContainer

from dragoman.data.audio.decoding import Frames
from dragoman.data.audio.mixing import Mixer
from dragoman.data.audio.opening import (
    UNREADABLE,
    MediaSource,
    can_be_read_again,
    name_of,
    opened_container,
    opened_file,
)
from dragoman.data.audio.resampling import SAMPLE_RATE, Resampler, Waveform
from dragoman.data.audio.seeking import seek_samples
from dragoman.data.audio.timeline import on_timeline
from dragoman.data.audio.tracks import choose_tracks, first_with_sound, report_track, tracks_of
from dragoman.errors import AudioError

OnDamage = Callable[[str], None]
"""Called with a sentence when a part of a recording is lost."""
_WORTH_SEEKING_S = 5.0
"""Before this, decoding from the start is as fast."""
_WITHOUT_HOLES = frozenset({"ape", "flac", "tak", "tta", "wv"})
"""Formats that number their samples one after the other: what is missing there was once written."""


def log_damage(message: str) -> None:
    logging.getLogger("dragoman.data.audio").warning("%s", message)


def load_audio(
    source: MediaSource,
    start_s: float = 0.0,
    duration_s: float | None = None,
    *,
    track: int | None = None,
    language: str | None = None,
    on_damage: OnDamage = log_damage,
) -> Waveform:
    """Decode the stretch that starts at `start_s`, to the end or for `duration_s`: (N,) float32 at 16 kHz.

    A path may name a member of a tar file, as `shards/000.tar#clip.flac` (see `data/shards.py`); `-` is standard input.
    Of several audio tracks `track` (from 1) is heard, else the one tagged with the `language`; see the package. A valid
    file without samples gives an empty array. Raises AudioError, in one sentence, when the file cannot be opened or
    decoded, has no audio stream, or ends before `start_s`.
    """
    if source == "":
        raise AudioError("There is no audio: the row is text alone; give it a recording, or leave it out.")
    first = round(start_s * SAMPLE_RATE)
    stop = None if duration_s is None else first + round(duration_s * SAMPLE_RATE)
    if first >= _WORTH_SEEKING_S * SAMPLE_RATE and can_be_read_again(source):
        with opened_file(source) as file:
            found = seek_samples(file, name_of(source), first, stop)
        if found is not None:
            return found
    pieces: list[Waveform] = []
    position = 0
    with contextlib.closing(stream_audio(source, track=track, language=language, on_damage=on_damage)) as blocks:
        for block in blocks:
            piece = block[max(first - position, 0) : None if stop is None else max(stop - position, 0)]
            if len(piece):  # an empty one would keep its block
                pieces.append(piece)
            position += len(block)
            if stop is not None and position >= stop:
                break
    if first and first >= position:
        lasts = f"{name_of(source)}: lasts {position / SAMPLE_RATE:.2f} s"
        raise AudioError(f"{lasts}, so nothing starts at {start_s:g} s; correct the start.")
    return joined(pieces)


def stream_audio(
    source: MediaSource,
    block_s: float = 30.0,
    *,
    track: int | None = None,
    language: str | None = None,
    on_damage: OnDamage = log_damage,
) -> Generator[Waveform, None, None]:
    """Yield the recording in blocks of `block_s` seconds, the last one shorter; memory is bounded by a block.

    The blocks joined are the same for every `block_s`. Raises AudioError as `load_audio` does, at `next`.
    """
    with _tuned(source, track, language) as (container, frames):
        yield from in_blocks(decoded_audio(frames, container, name_of(source), on_damage), block_s)


def excerpts(
    source: MediaSource, places: int, seconds: float, *, track: int | None = None, language: str | None = None
) -> list[Waveform]:
    """`seconds` from each of this many places, spread evenly over the recording: (N,) each at 16 kHz, without decoding
    what lies between. Empty where the length is not known, nothing can be found by its time, or it comes through a
    pipe, which can be read but once. Raises AudioError."""
    if not can_be_read_again(source):
        return []
    with _tuned(source, track, language, says_which=False) as (container, frames):
        if not container.duration:
            return []
        origin_s, lasts_s = origin_of(container) or 0.0, container.duration / time_base
        middles = [origin_s + lasts_s * (place + 0.5) / places for place in range(places)]
        found = [_excerpt(container, frames, max(middle - seconds / 2, origin_s), seconds) for middle in middles]
    return [excerpt for excerpt in found if len(excerpt)]


def _excerpt(container: InputContainer, frames: Frames, start_s: float, seconds: float) -> Waveform:
    try:
        container.seek(round(start_s * time_base))
    except UNREADABLE:
        return joined([])
    mixer, resampler, pieces, heard_s = Mixer(), Resampler(), list[Waveform](), 0.0
    for frame in frames:
        pieces += resampler.push(mixer.mix(frame.samples, frame.channels), frame.rate, 0.0)
        heard_s += frame.duration_s
        if heard_s >= seconds:
            break
    return joined([*pieces, *resampler.flush()])


@contextlib.contextmanager
def _tuned(
    source: MediaSource, number: int | None, language: str | None, *, says_which: bool = True
) -> Iterator[tuple[InputContainer, Frames]]:
    """An open recording and the frames of the track to hear; a line says which where there are several and none was
    asked for."""
    name = name_of(source)
    with opened_file(source) as file, contextlib.ExitStack() as stack:
        container = stack.enter_context(opened_container(file, name))
        tracks = tracks_of(container, name)
        likely = choose_tracks(tracks, name, number, language)
        track = likely[0]
        if len(likely) > 1:
            track = first_with_sound(container, likely)
            if says_which:
                report_track(track, tracks, name)
            stack.pop_all().close()
            file.seek(0)
            container = stack.enter_context(opened_container(file, name))
        yield container, Frames(container, track.index, name, file.check)


def decoded_audio(frames: Frames, container: InputContainer, name: str, on_damage: OnDamage) -> Iterator[Waveform]:
    """The recording piece by piece, (N,) each, and what was lost."""
    decoded_s = 0.0
    on_hole = frames.lose if container.format.name in _WITHOUT_HOLES else lambda: None
    for piece in on_timeline(frames, origin_of(container), name, on_hole):
        decoded_s += len(piece) / SAMPLE_RATE
        yield piece
    if frames.lost and not decoded_s:
        raise AudioError(f"{name}: is damaged, none of its audio can be decoded; get the file again.")
    if frames.lost:
        places = f"{frames.lost} place{'s' * (frames.lost != 1)}"
        on_damage(f"{name}: is damaged in {places}; the {decoded_s:.1f} s that can be decoded are used.")


def in_blocks(pieces: Iterable[Waveform], block_s: float) -> Iterator[Waveform]:
    """Pieces of any size -> blocks of `block_s` seconds, the last one shorter."""
    size = max(1, round(block_s * SAMPLE_RATE))
    held: list[Waveform] = []
    count = 0
    for piece in pieces:
        held.append(piece)
        count += len(piece)
        if count >= size:
            whole = joined(held)
            end = count - count % size
            yield from (whole[cut : cut + size] for cut in range(0, end, size))
            held, count = [whole[end:].copy()], count - end
    if count:
        yield joined(held)


def origin_of(container: InputContainer) -> float | None:
    """The container's time of second 0: where its earliest stream starts, as FFmpeg sees it, if it does."""
    return None if container.start_time is None else container.start_time / time_base


def joined(pieces: list[Waveform]) -> Waveform:
    return pieces[0] if len(pieces) == 1 else np.concatenate([np.zeros(0, np.float32), *pieces])
