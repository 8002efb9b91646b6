"""espeak-ng (GPL-3; the optional package `espeakng-loader`, loaded at run time, never vendored): many languages.

It is one state per process, so work is spread over processes. It also carries state from one text to the next
(noise, flutter), so the library is loaded afresh for every text (0.6 ms): what is said depends on the text and the
voice, not on the number of workers or the order.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from dragoman.data.synthesis.voice import Pcm
from dragoman.errors import DataError, DragomanError, LanguageError, needs_extra
from dragoman.text.languages import LANGUAGES, find

TRAIN_VARIANTS = (
    *("m1", "m2", "m3", "m4", "m5", "m6", "m8", "f1", "f2", "f3", "f4"),
    *("Alex", "Andrea", "Annie", "Denis", "Diogo", "Mario", "adam", "aunty", "boris"),
    *("david", "grandma", "klatt6", "linda", "max", "robert", "steph", "travis", "victor"),
)
"""Timbres for training: the plain ones of espeak-ng and the named ones that still sound like a person.

`Reed` and `caleb` would too, but they never say a thing twice alike (they call C's `rand`)."""
HELD_OUT_VARIANTS = ("m7", "f5", "Michael", "belinda")
"""Timbres that training never hears: two male, two female."""

# espeak-ng's names where they are not the ISO 639-1 code; the first is the usual one. It refuses `en-gb`.
_ACCENTS: dict[str, tuple[str, ...]] = {
    "eng": ("en-us", "en", "en-gb-x-rp", "en-gb-scotland", "en-us-nyc"),
    "fra": ("fr", "fr-be", "fr-ch"),
    "por": ("pt", "pt-br"),
    "spa": ("es", "es-419"),
    "cmn": ("cmn",),
    "yue": ("yue",),
    "jpn": (),  # reads kanji by their names
}

# espeak-ng/speak_lib.h
_SYNCHRONOUS = 2
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_CHARS_UTF8 = 1
_IPA_WITH_TIES = 0x02 | 0x80 | ord("^") << 8
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True, slots=True)
class EspeakVoice:
    """How espeak-ng speaks; pitch, pitch range and volume are on its scale of 0 to 100."""

    language: str
    """ISO 639-3."""
    variant: str
    """Timbre, such as `f3`."""
    rate_wpm: int = 165
    pitch: int = 50
    pitch_range: int = 50
    volume: int = 60
    """At 100 some timbres clip inside espeak-ng."""
    accent: str = ""
    """espeak-ng's own name, one of `accents(language)`; empty is the usual one."""

    @classmethod
    def speaks(cls) -> tuple[str, ...]:
        """Dragoman's languages that espeak-ng names."""
        return tuple(code for code in LANGUAGES if code in _ACCENTS or find(code).iso1)

    @classmethod
    def draw(cls, language: str, rng: np.random.Generator, held_out: bool = False) -> EspeakVoice:
        """Draw accent, timbre, rate (130 to 200 words a minute), pitch (25 to 75), liveliness. Raises LanguageError."""
        variants = HELD_OUT_VARIANTS if held_out else TRAIN_VARIANTS
        return cls(
            language=language,
            variant=variants[int(rng.integers(len(variants)))],
            rate_wpm=int(rng.integers(130, 201)),
            pitch=int(rng.integers(25, 76)),
            pitch_range=int(rng.integers(30, 71)),
            accent=str(rng.choice(accents(language))),
        )

    @property
    def characters_per_s(self) -> float:
        """As `Speaker.characters_per_s`."""
        return self.rate_wpm / 165 * (14.0 if LANGUAGES[self.language].uses_spaces else 4.0)

    def say(self, text: str) -> tuple[Pcm, int]:
        """As `Voice.say`."""
        chunks: list[bytes] = []

        def collect(samples: int | None, count: int, _events: int | None) -> int:
            if samples and count > 0:
                chunks.append(ctypes.string_at(samples, 2 * count))
            return 0

        callback = _CALLBACK(collect)  # must live as long as espeak-ng speaks
        encoded = text.encode() + b"\0"
        with fresh_library() as (library, rate):
            library.espeak_SetSynthCallback(callback)
            _set_voice(library, self)
            if library.espeak_Synth(encoded, len(encoded), 0, 1, 0, _CHARS_UTF8, None, None) != 0:
                raise DataError(f"espeak-ng failed on {text!r}; leave the text out.")
        return np.frombuffer(b"".join(chunks), np.int16), rate


def accents(language: str) -> tuple[str, ...]:
    """espeak-ng's names for a language (ISO 639-3), the usual one first.

    Raises LanguageError if it has none.
    """
    iso1 = find(language).iso1
    names = _ACCENTS.get(language, (iso1,) if iso1 else ())
    if not names:
        raise LanguageError(f"espeak-ng cannot read {language!r} aloud; choose another language.")
    return names


def phonemes(text: str, accent: str) -> str:
    """How espeak-ng reads a text, in the International Phonetic Alphabet with `^` inside of what is one sound.

    Raises LanguageError, DragomanError without espeakng-loader.
    """
    buffer = ctypes.create_string_buffer(text.encode())
    rest = ctypes.c_void_p(ctypes.addressof(buffer))
    clauses: list[bytes] = []
    with fresh_library() as (library, _):
        if library.espeak_SetVoiceByName(accent.encode()) != 0:
            raise LanguageError(f"espeak-ng has no voice {accent!r}; choose another language or accent.")
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        while rest.value:
            clauses.append(library.espeak_TextToPhonemes(ctypes.byref(rest), _CHARS_UTF8, _IPA_WITH_TIES) or b"")
    return " ".join(clause.decode() for clause in clauses if clause)


@contextmanager
def fresh_library() -> Iterator[tuple[ctypes.CDLL, int]]:
    """Load espeak-ng with nothing remembered; yields the library and its sample rate in Hz."""
    import _ctypes  # holds dlclose, which ctypes itself does not offer

    library_path, data_path = _locate()
    library = ctypes.CDLL(library_path)
    try:
        rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data_path.encode(), 0)
        if rate <= 0:
            raise DragomanError(f"espeak-ng does not start ({data_path}); reinstall 'dragoman[synthesis]'.")
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # else it is the time of day
        yield library, rate
        library.espeak_Terminate()
    finally:
        _ctypes.dlclose(library._handle)


@cache
def _locate() -> tuple[str, str]:
    with needs_extra("Speaking with eSpeak NG", "synthesis"):
        import espeakng_loader
    return str(espeakng_loader.get_library_path()), str(espeakng_loader.get_data_path())


@cache
def _known_variants() -> frozenset[str]:
    return frozenset(path.name for path in Path(_locate()[1], "voices", "!v").iterdir())


def _set_voice(library: ctypes.CDLL, voice: EspeakVoice) -> None:
    if voice.variant not in _known_variants():  # espeak-ng would silently take the plain timbre
        known = ", ".join(sorted(_known_variants()))
        raise DataError(f"espeak-ng has no timbre {voice.variant!r}; it has {known}.")
    name = f"{voice.accent or accents(voice.language)[0]}+{voice.variant}"
    if library.espeak_SetVoiceByName(name.encode()) != 0:  # else it silently keeps the voice before
        raise LanguageError(f"espeak-ng has no voice {name!r}; choose another language or accent.")
    for parameter, value in (
        (_RATE, voice.rate_wpm), (_VOLUME, voice.volume), (_PITCH, voice.pitch), (_RANGE, voice.pitch_range),
    ):  # fmt: skip
        library.espeak_SetParameter(parameter, value, 0)
