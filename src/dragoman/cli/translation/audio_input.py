"""Where live speech comes from: the microphone, or standard input."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from dragoman.cli.console import say
from dragoman.errors import AudioError, needs_extra

if TYPE_CHECKING:
    from dragoman.data.audio import Waveform

_BLOCK_S = 0.1

Blocks = Callable[[], "Iterator[Waveform]"]
"""Begins to listen: blocks of samples (N,), float32 mono at 16 kHz, as they come."""


def piped(descriptor: int, track: int | None = None, language: str | None = None) -> Blocks:
    """Raw PCM (16 bit little-endian mono at 16 kHz) or a container, from a file descriptor. Raises AudioError."""
    from dragoman.data.audio.pipes import RAW, live_audio

    if os.isatty(descriptor):
        raise AudioError(f"Standard input is a terminal; send audio to it, as in `{RAW}`.")
    return lambda: live_audio(descriptor, track=track, language=language)


def microphone(device: str | None) -> Blocks:
    """An input device by number or part of its name; the system's own by default. Raises AudioError."""
    from dragoman.data.audio import SAMPLE_RATE

    sounddevice = _sounddevice()
    how: dict[str, Any] = {
        "device": int(device) if device is not None and device.isdecimal() else device,
        "channels": 1,
        "dtype": "float32",
        "samplerate": SAMPLE_RATE,
    }
    try:
        sounddevice.check_input_settings(**how)
    except (sounddevice.PortAudioError, ValueError) as error:
        name = "the microphone" if device is None else f"the microphone {device!r}"
        raise AudioError(
            f"Cannot hear {name} ({' '.join(str(error).split())}); plug one in, name one with --input_device, or send"
            f" sound with -; `python -m sounddevice` lists what there is."
        ) from error
    return lambda: _heard(sounddevice.InputStream(**how))


def _heard(stream: Any) -> Iterator[Waveform]:
    with stream:
        while True:
            samples, overflowed = stream.read(round(_BLOCK_S * stream.samplerate))
            if overflowed:
                say("input overflow: some audio is lost.")
            yield samples[:, 0].copy()


def _sounddevice() -> Any:
    try:
        with needs_extra("The microphone", "live", ", or send sound with -"):
            import sounddevice
    except OSError as error:  # PortAudio itself
        raise AudioError(
            f"The microphone needs PortAudio ({' '.join(str(error).split())}); install it (Debian: `apt install"
            " libportaudio2`), or send sound with -."
        ) from error
    return sounddevice
