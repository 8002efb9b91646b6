"""Whisper: speech in about a hundred languages -> what is said, or English (Radford et al. 2022, arXiv 2212.04356).

It takes the language and the task as tokens that its decoder begins with (section 2.3). `large-v3-turbo` and the
`distil` checkpoints transcribe only: they were not trained to translate (the authors' and the distillers' cards).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import WhisperForConditionalGeneration

from dragoman.data.audio import SAMPLE_RATE, Waveform
from dragoman.errors import ModelError
from dragoman.inference.decoding.decoder import DecodedSpeech, Translation
from dragoman.inference.recordings import Speech
from dragoman.systems.base import SingleCheckpointSystem, translate_into_each
from dragoman.systems.pretrained import CheckpointSpec, PretrainedModel
from dragoman.text.languages import find

_PROMPT = 4
"""Tokens before the text: start, language, task, no timestamps; they share the decoder's positions with it."""


class Whisper(SingleCheckpointSystem):
    """Whisper's own translation, which is into English; `transcribe` serves cascades. Greedy, without timestamps."""

    name = "whisper"
    checkpoint = CheckpointSpec(WhisperForConditionalGeneration, "openai/whisper-large-v3")
    writes_transcripts = identifies_language = True

    def __init__(self, part: PretrainedModel, batch_size: int = 16) -> None:
        super().__init__(part, batch_size)
        known = getattr(part.model.generation_config, "lang_to_id", None)
        if not known:
            raise ModelError(f"{part.name}: this Whisper hears English only; name one that is multilingual.")
        self._tokens = dict(sorted((find(token.strip("<|>")).code, token) for token in known))

    @property
    def sources(self) -> list[str]:
        return list(self._tokens)

    @property
    def targets(self) -> list[str]:
        return ["eng"]

    def decode(self, speech: Sequence[Speech], targets: Sequence[str]) -> list[DecodedSpeech]:
        def translate(rows: list[int], target: str) -> list[Translation]:
            return self._write([speech[number] for number in rows], "translate")

        return translate_into_each(speech, targets, self.transcribe(speech), translate)

    def language_scores(self, waveforms: Sequence[Waveform]) -> npt.NDArray[np.float64]:
        """By the first token that its decoder writes, among those of the languages we know (section 2.3)."""
        start = torch.full((len(waveforms), 1), self.part.model.config.decoder_start_token_id)
        logits = self.part.forward({**self._features(waveforms), "decoder_input_ids": start}).logits[:, -1].float()
        ids = [self.part.model.generation_config.lang_to_id[token] for token in self._tokens.values()]
        return logits[:, ids].log_softmax(-1).double().cpu().numpy()

    def transcribe(self, speech: Sequence[Speech]) -> list[Translation]:
        """What is said, in the language it is said in."""
        return self._write(speech, "transcribe")

    def _write(self, speech: Sequence[Speech], task: str) -> list[Translation]:
        found: Any = self.part.generate(
            self._features([part.samples for part in speech]),
            task=task,
            language=[self._tokens[part.language] for part in speech],
            return_timestamps=False,
            max_new_tokens=self.part.model.config.max_target_positions - _PROMPT,
            force_unique_generate_call=True,  # or the token that ends a text is taken away
            return_dict_in_generate=True,
        )
        return self.part.texts(found.sequences[:, _PROMPT:].tolist())

    def _features(self, waveforms: Sequence[Waveform]) -> Any:
        return self.part.processor.feature_extractor(
            list(waveforms), sampling_rate=SAMPLE_RATE, return_attention_mask=True, return_tensors="pt"
        )
