"""Voxtral: a Whisper encoder and a Ministral that transcribes and answers (Liu et al. 2025, arXiv 2507.13264).

Its checkpoints have Mistral's own kind of tokenizer, tekken.json. Transformers' processor reads it with mistral-common,
which on Python 3.11 and 3.12 refuses NumPy 2.4; so it is converted by transformers alone, and the prompts are put
together here, as mistral-common does it (its InstructTokenizerV7; compared with version 1.13.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import VoxtralForConditionalGeneration, WhisperFeatureExtractor
from transformers.integrations.mistral import convert_tekken_tokenizer
from transformers.utils import cached_file

from dragoman.data.audio import SAMPLE_RATE
from dragoman.inference.decoding.decoder import Translation
from dragoman.inference.recordings import Speech
from dragoman.systems.audio_llm import AudioLlm
from dragoman.systems.pretrained import CheckpointSpec
from dragoman.text.languages import LANGUAGES

_PLACE = "[AUDIO]"
_RECORDING = f"<s>[INST][BEGIN_AUDIO]{_PLACE}"


@dataclass(frozen=True)
class _VoxtralAudioProcessor:
    tokenizer: Any
    feature_extractor: Any

    @classmethod
    def from_pretrained(cls, name: str) -> _VoxtralAudioProcessor:
        tokenizer = convert_tekken_tokenizer(cached_file(name, "tekken.json"))
        return cls(tokenizer, WhisperFeatureExtractor.from_pretrained(name))


class Voxtral(AudioLlm):
    """It transcribes by its own mode for that, given the language, and translates by an instruction after the
    recording. The words of the instruction are ours: its authors publish none."""

    name = "voxtral-mini-3b"
    checkpoint = CheckpointSpec(
        VoxtralForConditionalGeneration, "mistralai/Voxtral-Mini-3B-2507", processor=_VoxtralAudioProcessor
    )
    writes_transcripts = True

    def transcribe(self, speech: Sequence[Speech]) -> list[Translation]:
        return self._write(speech, [self.heard(part.language) for part in speech])

    def heard(self, source: str) -> str:
        """The whole prompt for a transcript; a language that has no code of two letters is detected from the speech."""
        spoken = LANGUAGES[source].iso1
        return f"{_RECORDING}[/INST]{f'lang:{spoken}' if spoken else ''}[TRANSCRIBE]"

    def asked(self, source: str, target: str) -> str:
        spoken, wanted = LANGUAGES[source].name, LANGUAGES[target].name
        return f"{_RECORDING}Translate the {spoken} speech into {wanted}. Answer with the translation alone.[/INST]"

    def inputs(self, prompts: list[str], samples: list[Any]) -> dict[str, Any]:
        """Every recording fills the window: 375 places."""
        ears, audio = self.part.processor, self.part.model.config.audio_config
        places = audio.max_source_positions * audio.hidden_size // audio.intermediate_size
        texts = [prompt.replace(_PLACE, _PLACE * places) for prompt in prompts]
        tokens = ears.tokenizer(texts, padding=True, padding_side="left", add_special_tokens=False, return_tensors="pt")
        features = ears.feature_extractor(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        return {
            "input_ids": tokens["input_ids"],
            "attention_mask": tokens["attention_mask"],
            "input_features": features["input_features"],
        }
