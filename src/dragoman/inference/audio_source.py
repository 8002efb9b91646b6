"""What a recording may be: a file, its content, or something that is decoded elsewhere. Shapes: N samples at 16 kHz."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from dragoman.data.audio import Waveform, excerpts, stream_audio
from dragoman.data.audio.opening import can_be_read_again
from dragoman.inference.options import TranslateOptions


class DecodedElsewhere(Protocol):
    """A recording that somebody else decodes, such as a child process with little power."""

    def blocks(self, track: int | None, language: str | None) -> Iterator[Waveform]:
        """As `stream_audio`."""

    def excerpts(self, places: int, seconds: float, track: int | None, language: str | None) -> list[Waveform]:
        """As `excerpts`."""


AudioSource = str | Path | bytes | DecodedElsewhere


def blocks_of(audio: AudioSource, options: TranslateOptions) -> Iterator[Waveform]:
    """The track that is to be heard, (N,) at a time."""
    if isinstance(audio, str | Path | bytes):
        return stream_audio(audio, track=options.audio_track, language=options.language)
    return audio.blocks(options.audio_track, options.language)


def excerpts_of(audio: AudioSource, places: int, seconds: float, options: TranslateOptions) -> list[Waveform]:
    """So much of it at each of a few places, (N,); none where a recording cannot be read by its times."""
    if isinstance(audio, str | Path | bytes):
        return excerpts(audio, places, seconds, track=options.audio_track, language=options.language)
    return audio.excerpts(places, seconds, options.audio_track, options.language)


def is_pipe(audio: AudioSource) -> bool:
    """Whether it can be heard but once."""
    return isinstance(audio, str | Path | bytes) and not can_be_read_again(audio)


def name_of(audio: AudioSource) -> str:
    """What it is called in results and messages."""
    return "<bytes>" if isinstance(audio, bytes) else str(audio)
