"""Which audio track of a file is heard."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition

from dragoman.data.audio.decoding import samples_of
from dragoman.data.audio.opening import UNREADABLE
from dragoman.errors import AudioError, AudioTrackError, LanguageError
from dragoman.text.languages import find

_ASIDE = (
    Disposition.comment
    | Disposition.visual_impaired
    | Disposition.hearing_impaired
    | Disposition.karaoke
    | Disposition.non_diegetic
    | Disposition.dependent
    | Disposition.descriptions
)
"""Tracks beside the one that most people hear: somebody comments on it, or describes what is seen."""
_SILENT = 1e-3
"""A track that stays below this has no sound (-60 dB)."""
_log = logging.getLogger("dragoman.data.audio")


@dataclass(frozen=True)
class Track:
    """An audio track, counted from 1; `index` is its stream's. The language by our code, if its tag names one."""

    number: int
    index: int
    tag: str
    title: str
    language: str | None
    is_default: bool
    is_aside: bool

    @classmethod
    def of(cls, number: int, stream: AudioStream) -> Track:
        tag, title = (str(stream.metadata.get(key, "")) for key in ("language", "title"))
        flags = stream.disposition
        return cls(
            number, stream.index, tag, title, _code(tag), bool(flags & Disposition.default), bool(flags & _ASIDE)
        )

    def __str__(self) -> str:
        marks = [self.tag, repr(self.title) if self.title else "", "default" if self.is_default else ""]
        return f"{self.number} {' '.join(filter(None, marks))}".rstrip()


def tracks_of(container: InputContainer, name: str) -> list[Track]:
    """The audio tracks that can be decoded. Raises AudioError where there is none."""
    streams = container.streams.audio
    if not streams:
        raise AudioError(f"{name}: has no audio stream; choose a file with sound.")
    found = [Track.of(number, stream) for number, stream in enumerate(streams, 1) if _has_decoder(stream)]
    if not found:
        raise AudioError(f"{name}: its sound is in a format that FFmpeg cannot decode; convert it to WAV.")
    return found


def choose_tracks(tracks: Sequence[Track], name: str, number: int | None, language: str | None) -> list[Track]:
    """The one that is asked for, or all with the likeliest first. Raises AudioError for one that is not there."""
    if number is None:
        return sorted(tracks, key=lambda track: _rank(track, language))
    found = [track for track in tracks if track.number == number]
    if not found:
        there = f"track {tracks[0].number}" if len(tracks) == 1 else f"tracks {', '.join(map(str, tracks))}"
        raise AudioTrackError(f"{name}: has no audio track {number}; choose among its {there}.")
    return found


def first_with_sound(container: InputContainer, tracks: Sequence[Track]) -> Track:
    """The first of them that is not silent, by decoding as much as that takes; the first of all if all are silent."""
    waiting = {track.index: track for track in tracks}
    heard: set[int] = set()
    packets = container.demux([container.streams[index] for index in waiting])
    while tracks[0].index not in heard:
        try:
            packet = next(packets)
        except (StopIteration, *UNREADABLE):
            break
        if packet.stream.index not in heard and _has_sound(packet):
            heard.add(packet.stream.index)
    return next((track for track in tracks if track.index in heard), tracks[0])


def report_track(track: Track, tracks: Sequence[Track], name: str) -> None:
    """One line that names the tracks of a file with several."""
    listed = ", ".join(map(str, tracks))
    message = "%s: has %d audio tracks (%s); %d is used; choose another with audio_track (--audio_track)."
    _log.warning(message, name, len(tracks), listed, track.number)


def _rank(track: Track, language: str | None) -> tuple[bool, bool, bool, int]:
    is_other = language is not None and track.language != language
    return is_other, track.is_aside, not track.is_default, track.number


def _has_decoder(stream: AudioStream) -> bool:
    return getattr(stream, "codec_context", None) is not None


def _has_sound(packet: av.Packet[Any]) -> bool:
    try:
        frames: list[object] = list(packet.decode())
        decoded = (samples_of(frame) for frame in frames if isinstance(frame, av.AudioFrame))
        return any(np.abs(samples).max(initial=0) > _SILENT for samples in decoded)
    except UNREADABLE:
        return False


def _code(tag: str) -> str | None:
    try:
        return find(tag).code if tag else None
    except LanguageError:  # und, mul, qaa
        return None
