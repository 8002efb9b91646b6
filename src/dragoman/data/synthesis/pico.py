"""SVOX Pico (Apache-2.0): five languages, clear and fast, one speaker each and two for English.

It comes with the optional package `py-nanotts`, library and voices. Pico reads memory that it never wrote: through the
package's own `speak` a text comes out at another speed once the allocator has handed out used memory. So the library
is called here with memory that is all zeros: what is said depends on the text and the voice alone.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from dragoman.data.audio import SAMPLE_RATE
from dragoman.data.synthesis.voice import Pcm
from dragoman.errors import DataError, DragomanError, LanguageError, missing_extra

# Pico's name of a voice -> its text analysis and its signal generation
_SPEAKERS = {
    "eng": {"en-US": "lh0", "en-GB": "kh0"},
    "deu": {"de-DE": "gl0"},
    "fra": {"fr-FR": "nk0"},
    "spa": {"es-ES": "zl0"},
    "ita": {"it-IT": "cm0"},
}
_CHARACTERS_PER_S = {"eng": 13.0, "deu": 15.5, "fra": 20.0, "spa": 10.5, "ita": 10.0}
SPEED = (0.75, 1.3)
PITCH = (0.75, 1.3)
SIZE = (0.86, 1.16)
"""What is drawn for training; all sizes but those near 1, which `HELD_OUT_SIZE` keeps."""
HELD_OUT_SIZE = (0.97, 1.03)

_VOLUME = 60
"""In percent: at 100 Pico clips."""
_LONGEST_WORD = 100
"""Pico does not come back from words of thousands of letters."""

# picoapi.h, picodefs.h
_MEMORY_BYTES = 2_500_000
_BUSY, _IDLE = 201, 200
_NAME_BYTES = 200


@dataclass(frozen=True, slots=True)
class PicoVoice:
    """How Pico speaks: a speaker, and how far from that speaker's own speed, pitch and size."""

    language: str
    """ISO 639-3."""
    speaker: str = ""
    """Pico's own name, such as `en-GB`; empty is the language's first."""
    speed: float = 1.0
    pitch: float = 1.0
    size: float = 1.0
    """Of the formants: above 1 a smaller head, below 1 a larger one. Speed and pitch stay what they are."""

    @property
    def characters_per_s(self) -> float:
        """As `Speaker.characters_per_s`."""
        return self.speed * _CHARACTERS_PER_S[self.language]

    @classmethod
    def speaks(cls) -> tuple[str, ...]:
        """eng, deu, fra, spa, ita."""
        return tuple(_SPEAKERS)

    @classmethod
    def draw(cls, language: str, rng: np.random.Generator, held_out: bool = False) -> PicoVoice:
        """Draw a speaker, a speed, a pitch and a size. Raises LanguageError."""
        return cls(
            language,
            str(rng.choice(_speakers(language))),
            speed=round(rng.uniform(*SPEED), 2),
            pitch=round(rng.uniform(*PITCH), 2),
            size=_size(rng, held_out),
        )

    def say(self, text: str) -> tuple[Pcm, int]:
        """As `Voice.say`. Played at another rate the formants move; speed and pitch make up for it."""
        speaker = self.speaker or _speakers(self.language)[0]
        levels = {"speed": self.speed / self.size, "pitch": self.pitch / self.size}
        opening = "".join(f"<{name} level='{round(100 * level)}'>" for name, level in levels.items())
        closing = "".join(f"</{name}>" for name in reversed(levels))
        volume = f"<volume level='{_VOLUME}'>"
        samples = _synthesise(f"{volume}{opening}{_plain(text)}{closing}</volume>", *_resources(self.language, speaker))
        return samples, round(SAMPLE_RATE * self.size)


def _size(rng: np.random.Generator, held_out: bool) -> float:
    if held_out:
        return round(rng.uniform(*HELD_OUT_SIZE), 3)
    below, above = (SIZE[0], HELD_OUT_SIZE[0]), (HELD_OUT_SIZE[1], SIZE[1])
    return round(rng.uniform(*(below if rng.random() < 0.5 else above)), 3)


def _speakers(language: str) -> tuple[str, ...]:
    if language not in _SPEAKERS:
        raise LanguageError(f"Pico does not speak {language!r}; it speaks {', '.join(_SPEAKERS)}.")
    return tuple(_SPEAKERS[language])


def _plain(text: str) -> str:
    """The text without what Pico takes for its own tags."""
    plain = " ".join(text.translate({ord(sign): " " for sign in "<>&\0"}).split())
    if any(len(word) > _LONGEST_WORD for word in plain.split()):
        raise DataError(f"Pico cannot say a word of more than {_LONGEST_WORD} letters: {text[:50]!r}; leave it out.")
    return plain


def _resources(language: str, speaker: str) -> tuple[Path, Path]:
    """The files of a voice: text analysis, signal generation."""
    if speaker not in _speakers(language):
        raise DataError(f"Pico has no speaker {speaker!r} in {language}; it has {', '.join(_speakers(language))}.")
    folder = _package() / "lang"
    return folder / f"{speaker}_ta.bin", folder / f"{speaker}_{_SPEAKERS[language][speaker]}_sg.bin"


def _synthesise(text: str, analysis: Path, generation: Path) -> Pcm:
    library, encoded = _library(), text.encode() + b"\0"
    chunks: list[bytes] = []
    sent, received, kind = ctypes.c_int16(), ctypes.c_int16(), ctypes.c_int16()
    buffer = ctypes.create_string_buffer(1 << 12)
    with _engine(library, analysis, generation) as engine:
        while encoded:
            piece = encoded[: 1 << 14]
            _check(library.pico_putTextUtf8(engine, piece, len(piece), ctypes.byref(sent)))
            encoded, status = encoded[sent.value :], _BUSY
            while status == _BUSY:
                status = library.pico_getData(engine, buffer, len(buffer), ctypes.byref(received), ctypes.byref(kind))
                chunks.append(ctypes.string_at(buffer, received.value))
            _check(status, _IDLE)
    return np.frombuffer(b"".join(chunks), np.int16)


@contextmanager
def _engine(library: ctypes.CDLL, analysis: Path, generation: Path) -> Iterator[ctypes.c_void_p]:
    """An engine in fresh memory with the voice in it."""
    memory = ctypes.create_string_buffer(_MEMORY_BYTES)
    system, engine = ctypes.c_void_p(), ctypes.c_void_p()
    resources = (ctypes.c_void_p(), ctypes.c_void_p())
    _check(library.pico_initialize(memory, _MEMORY_BYTES, ctypes.byref(system)))
    try:
        _check(library.pico_createVoiceDefinition(system, b"voice"))
        for resource, path in zip(resources, (analysis, generation), strict=True):
            name = ctypes.create_string_buffer(_NAME_BYTES)
            _check(library.pico_loadResource(system, bytes(path), ctypes.byref(resource)))
            _check(library.pico_getResourceName(system, resource, name))
            _check(library.pico_addResourceToVoiceDefinition(system, b"voice", name))
        _check(library.pico_newEngine(system, b"voice", ctypes.byref(engine)))
        yield engine
    finally:  # step by step: to end the whole leaves files open
        library.pico_disposeEngine(system, ctypes.byref(engine))
        library.pico_releaseVoiceDefinition(system, b"voice")
        for resource in resources:
            library.pico_unloadResource(system, ctypes.byref(resource))
        library.pico_terminate(ctypes.byref(system))


def _check(status: int, wanted: int = 0) -> None:
    if status != wanted:
        raise DragomanError(f"Pico failed (its status {status}); reinstall 'dragoman[synthesis]'.")


@cache
def _package() -> Path:
    found = importlib.util.find_spec("py_nanotts")
    if found is None or found.origin is None:
        raise missing_extra("Speaking with Pico", "py-nanotts (Linux)", "synthesis")
    return Path(found.origin).parent


@cache
def _library() -> ctypes.CDLL:
    path = next(_package().glob("_nanotts*.so"), None)
    if path is None:
        raise DragomanError(
            "Pico is used on Linux only: elsewhere py-nanotts hides its functions. Choose another engine."
        )
    return ctypes.CDLL(str(path))
