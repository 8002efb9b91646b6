"""LLMs that hear: they are asked in words for a translation, each in the words of its authors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from typing import Any

from transformers import Qwen2AudioForConditionalGeneration

from dragoman.data.audio import SAMPLE_RATE
from dragoman.inference.decoding.decoder import DecodedSpeech, Translation
from dragoman.inference.recordings import Speech
from dragoman.systems.base import EMPTY_TRANSLATION, SingleCheckpointSystem, translate_into_each
from dragoman.systems.pretrained import CheckpointSpec
from dragoman.text.languages import LANGUAGES


class AudioLlm(SingleCheckpointSystem):
    """Greedy. All languages: what such a model really knows, it does not tell."""

    @property
    def sources(self) -> Collection[str]:
        return LANGUAGES

    @property
    def targets(self) -> Collection[str]:
        return LANGUAGES

    @abstractmethod
    def asked(self, source: str, target: str) -> str:
        """The whole prompt, with a place for one recording."""

    @abstractmethod
    def inputs(self, prompts: list[str], samples: list[Any]) -> Any:
        """What the model is given, padded on the left: `input_ids` (B, T) and the rest. samples: (N,) each."""

    def decode(self, speech: Sequence[Speech], targets: Sequence[str]) -> list[DecodedSpeech]:
        def translate(rows: list[int], target: str) -> list[Translation]:
            chosen = [speech[number] for number in rows]
            return self._write(chosen, [self.asked(part.language, target) for part in chosen])

        return translate_into_each(speech, targets, self.transcribe(speech), translate)

    def transcribe(self, speech: Sequence[Speech]) -> list[Translation]:
        """What is said, of those that are asked for it too."""
        return [EMPTY_TRANSLATION] * len(speech)

    def _write(self, speech: Sequence[Speech], prompts: list[str]) -> list[Translation]:
        inputs = self.inputs(prompts, [part.samples for part in speech])
        found = self.part.generate(inputs)
        return self.part.texts(found[:, inputs["input_ids"].shape[1] :].tolist())


class Qwen2Audio(AudioLlm):
    """Qwen2-Audio (Chu et al. 2024, arXiv 2407.10759), the base model, by the prompt of the authors' evaluation
    (QwenLM/Qwen2-Audio, eval_audio/evaluate_st.py with its covost2_eval.jsonl); they say Mandarin for Chinese."""

    name = "qwen2-audio-7b"
    checkpoint = CheckpointSpec(Qwen2AudioForConditionalGeneration, "Qwen/Qwen2-Audio-7B")

    def asked(self, source: str, target: str) -> str:
        spoken = LANGUAGES[source].iso1 or source
        wanted = "Mandarin" if target == "cmn" else LANGUAGES[target].name
        ask = f"Detect the language and translate the speech into {wanted}: <|{spoken}|>"
        return f"<|audio_bos|><|AUDIO|><|audio_eos|>{ask}"

    def inputs(self, prompts: list[str], samples: list[Any]) -> Any:
        return self.part.processor(
            text=prompts,
            audio=samples,
            sampling_rate=SAMPLE_RATE,
            padding=True,
            text_kwargs={"padding_side": "left"},
            return_tensors="pt",
        )
