"""Text -> speech, for data made on the spot: engines speak, a room and a background are added.

`speak(text, voice)` is a pure function whatever the engine. S: samples at 16 kHz, float32, full scale 1.
"""

from __future__ import annotations

from dragoman.data.synthesis.espeak import HELD_OUT_VARIANTS, TRAIN_VARIANTS, EspeakVoice
from dragoman.data.synthesis.kokoro import KokoroVoice
from dragoman.data.synthesis.pico import PicoVoice
from dragoman.data.synthesis.recording import (
    PAUSE_S,
    RecordedVoice,
    RecordingShard,
    SpokenLine,
    gather,
    into_shards,
    joined,
    record,
    record_shard,
    write_flac,
)
from dragoman.data.synthesis.rooms import RoomSimulator, add_noise, convolve
from dragoman.data.synthesis.voice import Voice, VoiceEngine, generator, speak

__all__ = [
    "ENGINES",
    "HELD_OUT_VARIANTS",
    "PAUSE_S",
    "TRAIN_VARIANTS",
    "EspeakVoice",
    "KokoroVoice",
    "PicoVoice",
    "RecordedVoice",
    "RecordingShard",
    "RoomSimulator",
    "SpokenLine",
    "Voice",
    "VoiceEngine",
    "add_noise",
    "convolve",
    "gather",
    "generator",
    "into_shards",
    "joined",
    "record",
    "record_shard",
    "speak",
    "write_flac",
]

ENGINES: dict[str, type[VoiceEngine]] = {"espeak": EspeakVoice, "pico": PicoVoice, "kokoro": KokoroVoice}
"""Each engine by its class of voices."""
