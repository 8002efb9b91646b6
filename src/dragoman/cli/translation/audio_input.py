"""Where live speech comes from: the microphone, or raw PCM on standard input."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from dragoman.cli.console import say
from dragoman.errors import AudioError

if TYPE_CHECKING:
    from dragoman.data.audio import Waveform

_BLOCK_S = 0.1
_CONTAINERS = (b"RIFF", b"OggS", b"fLaC", b"ID3", b"\x1aE\xdf\xa3")
_RAW = "ffmpeg -i talk.mp4 -f s16le -ac 1 -ar 16000 - | dragoman live - --to deu"

Blocks = Callable[[], "Iterator[Waveform]"]
"""Begins to listen: blocks of samples (N,), float32 mono at 16 kHz, as they come."""


def pcm(descriptor: int) -> Blocks:
    """Raw PCM, 16 bit little-endian mono at 16 kHz, from a file descriptor. Raises AudioError."""
    if os.isatty(descriptor):
        raise AudioError(f"Standard input is a terminal; send it raw PCM, as in `{_RAW}`.")
    return lambda: _pcm(descriptor)


def _pcm(descriptor: int) -> Iterator[Waveform]:
    import numpy as np

    from dragoman.data.audio import SAMPLE_RATE

    most = 2 * round(_BLOCK_S * SAMPLE_RATE)
    rest, first = b"", True
    # not through sys.stdin: its lock, held by a thread that waits for sound, would break the end of the process
    while data := os.read(descriptor, most):
        if first and data.startswith(_CONTAINERS):
            raise AudioError(f"Standard input is a file of sound, not raw PCM; send it so: `{_RAW}`.")
        first = False
        rest += data
        whole = len(rest) - len(rest) % 2
        yield np.frombuffer(rest[:whole], "<i2").astype(np.float32) / np.float32(32768)
        rest = rest[whole:]
    if rest:
        raise AudioError(f"Standard input ends in the middle of a sample; send 16 bit PCM, as in `{_RAW}`.")


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
            f" raw PCM with -; `python -m sounddevice` lists what there is."
        ) from error
    return lambda: _heard(sounddevice.InputStream(**how))


def _heard(stream: Any) -> Iterator[Waveform]:
    with stream:
        while True:
            samples, overflowed = stream.read(round(_BLOCK_S * stream.samplerate))
            if overflowed:
                say("the machine was too busy to listen: some sound is lost.")
            yield samples[:, 0].copy()


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise AudioError(
            "The microphone needs the package sounddevice; run `pip install 'dragoman[live]'`, or send raw PCM with -."
        ) from error
    except OSError as error:  # PortAudio itself
        raise AudioError(
            f"The microphone needs PortAudio ({' '.join(str(error).split())}); install it (Debian: `apt install"
            " libportaudio2`), or send raw PCM with -."
        ) from error
    return sounddevice
