"""Other systems behind our door, to translate with and to compare with."""

from __future__ import annotations

from dragoman.errors import ModelError
from dragoman.systems.audio_llm import Qwen2Audio
from dragoman.systems.base import System
from dragoman.systems.cascade import cascade
from dragoman.systems.machine_translation import ChatTranslator, Nllb
from dragoman.systems.omni import Qwen3Omni, Qwen25Omni
from dragoman.systems.seamless import Seamless, SeamlessV1, SeamlessV1Medium
from dragoman.systems.speech2text import Speech2Text
from dragoman.systems.voxtral import Voxtral
from dragoman.systems.whisper import Whisper

SYSTEMS: dict[str, type[System]] = {
    "whisper": Whisper,
    "speech2text": Speech2Text,
    "seamless-m4t-medium": SeamlessV1Medium,
    "seamless-m4t-large": SeamlessV1,
    "seamless-m4t-v2-large": Seamless,
    "qwen2-audio-7b": Qwen2Audio,
    "qwen2.5-omni-7b": Qwen25Omni,
    "qwen3-omni-30b-a3b": Qwen3Omni,
    "voxtral-mini-3b": Voxtral,
}
for _asr in (Whisper, Seamless, Voxtral):
    for _mt in (Nllb, ChatTranslator):
        _both = cascade(_asr, _mt)
        SYSTEMS[_both.name] = _both

QWEN_AUDIO = (
    "Qwen-Audio, the first generation, is not here: its network is code on the hub, in none of transformers' classes,"
    " and no code from the hub is run; its successor is qwen2-audio-7b."
)


def find_system(name: str) -> type[System]:
    """By its name. Raises ModelError."""
    if name.lower().startswith("qwen-audio"):
        raise ModelError(QWEN_AUDIO)
    if name not in SYSTEMS:
        raise ModelError(f"There is no system {name!r}; choose among {', '.join(SYSTEMS)}.")
    return SYSTEMS[name]
