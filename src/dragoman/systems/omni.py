"""Qwen's Omni models, of which only the thinker is loaded: the part that hears and writes.

Tokenizer and feature extractor are used without transformers' processor around them, which needs torchvision for
pictures; so the places of a recording's frames are put into the prompt here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import (
    AutoTokenizer,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen3OmniMoeThinkerForConditionalGeneration,
    WhisperFeatureExtractor,
)
from transformers.models.qwen2_5_omni.processing_qwen2_5_omni import _get_feat_extract_output_lengths as _frames_2_5
from transformers.models.qwen3_omni_moe.processing_qwen3_omni_moe import _get_feat_extract_output_lengths as _frames_3

from dragoman.data.audio import SAMPLE_RATE
from dragoman.systems.audio_llm import AudioLlm
from dragoman.systems.pretrained import CheckpointSpec, PretrainedModel
from dragoman.text.languages import LANGUAGES


@dataclass(frozen=True)
class _OmniAudioProcessor:
    tokenizer: Any
    feature_extractor: Any

    @classmethod
    def from_pretrained(cls, name: str) -> _OmniAudioProcessor:
        return cls(AutoTokenizer.from_pretrained(name), WhisperFeatureExtractor.from_pretrained(name))


def _thinker(kind: Any, name: str) -> CheckpointSpec:
    return CheckpointSpec(kind, name, processor=_OmniAudioProcessor, inner="thinker_config")


class Qwen25Omni(AudioLlm):
    """Qwen2.5-Omni (Xu et al. 2025, arXiv 2503.20215), by the prompts of the authors' cookbook
    (QwenLM/Qwen2.5-Omni, cookbooks/universal_audio_understanding.ipynb)."""

    name = "qwen2.5-omni-7b"
    checkpoint = _thinker(Qwen2_5OmniThinkerForConditionalGeneration, "Qwen/Qwen2.5-Omni-7B")
    frames = staticmethod(_frames_2_5)

    def __init__(self, part: PretrainedModel, batch_size: int = 16) -> None:
        super().__init__(part, batch_size)
        # The thinker's own files do not say what ends a turn and what pads: `<|im_end|>` and `<|endoftext|>`.
        end, pad = part.tokenizer.eos_token_id, part.tokenizer.pad_token_id
        part.model.generation_config.update(eos_token_id=[end, pad], pad_token_id=pad)

    def asked(self, source: str, target: str) -> str:
        system = "<|im_start|>system\nYou are a speech translation model.<|im_end|>\n"
        return f"{system}<|im_start|>user\n{_words(source, target)}{self._recording}<|im_end|>\n<|im_start|>assistant\n"

    def inputs(self, prompts: list[str], samples: list[Any]) -> dict[str, Any]:
        ears = self.part.processor
        features = ears.feature_extractor(
            samples,
            sampling_rate=SAMPLE_RATE,
            padding="max_length",
            max_length=round(self.window_s * SAMPLE_RATE),
            return_attention_mask=True,
            return_tensors="pt",
        )
        token, counts = ears.tokenizer.audio_token, self.frames(features["attention_mask"].sum(-1)).tolist()
        texts = [prompt.replace(token, token * count) for prompt, count in zip(prompts, counts, strict=True)]
        tokens = ears.tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
        return {
            "input_ids": tokens["input_ids"],
            "attention_mask": tokens["attention_mask"],
            "input_features": features["input_features"],
            "feature_attention_mask": features["attention_mask"],
        }

    @property
    def _recording(self) -> str:
        tokenizer = self.part.tokenizer
        return f"{tokenizer.audio_bos_token}{tokenizer.audio_token}{tokenizer.audio_eos_token}"


class Qwen3Omni(Qwen25Omni):
    """Qwen3-Omni (Xu et al. 2025, arXiv 2509.17765), by the prompt of the authors' README (QwenLM/Qwen3-Omni, "prompts
    for evaluation"), which has no system's turn."""

    name = "qwen3-omni-30b-a3b"
    checkpoint = _thinker(Qwen3OmniMoeThinkerForConditionalGeneration, "Qwen/Qwen3-Omni-30B-A3B-Instruct")
    frames = staticmethod(_frames_3)

    def asked(self, source: str, target: str) -> str:
        return f"<|im_start|>user\n{self._recording}{_words(source, target)}<|im_end|>\n<|im_start|>assistant\n"


def _words(source: str, target: str) -> str:
    spoken, wanted = LANGUAGES[source].name, LANGUAGES[target].name
    return f"Listen to the provided {spoken} speech and produce a translation in {wanted} text."
