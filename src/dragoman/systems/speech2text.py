"""The Speech2Text transformer of fairseq: a model for each direction of CoVoST-2 (Wang et al. 2020, arXiv 2010.05171
and 2007.10310), or for English into eight languages (MuST-C).

What a checkpoint of one direction hears and writes is in none of its files, only in its name
(s2t-small-covost2-fr-en-st).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Speech2TextForConditionalGeneration

from dragoman.data.audio import SAMPLE_RATE
from dragoman.errors import LanguageError, ModelError
from dragoman.inference.decoding.decoder import DecodedSpeech, Translation
from dragoman.inference.recordings import Speech
from dragoman.systems.base import EMPTY_TRANSLATION, SingleCheckpointSystem, translate_into_each
from dragoman.systems.pretrained import CheckpointSpec, PretrainedModel
from dragoman.text.languages import find

_DIRECTION = re.compile(r"-([a-z]{2})-([a-z]{2})-st$")
_LEAST = SAMPLE_RATE // 10
"""Samples; of less than two frames there is no variance to normalise by."""


class Speech2Text(SingleCheckpointSystem):
    """Beam 5, as its authors decode (fairseq, examples/speech_to_text/docs/covost_example.md). It hears one language
    and writes one, or, taught on MuST-C, hears English and takes the target as the first token."""

    name = "speech2text"
    checkpoint = CheckpointSpec(Speech2TextForConditionalGeneration, "facebook/s2t-small-covost2-fr-en-st", beams=5)

    def __init__(self, part: PretrainedModel, batch_size: int = 16) -> None:
        super().__init__(part, batch_size)
        several: dict[str, int] = part.tokenizer.lang_code_to_id
        self._first: dict[str, int | None] = {find(own).code: token for own, token in several.items()}
        self._source = "eng"
        if not several:
            self._source, target = _direction_of(part.name)
            self._first = {target: None}
        for conv in part.model.model.encoder.conv.conv_layers[1:]:
            conv.register_forward_pre_hook(self._nothing_beyond)

    @property
    def sources(self) -> list[str]:
        return [self._source]

    @property
    def targets(self) -> list[str]:
        return sorted(self._first)

    def decode(self, speech: Sequence[Speech], targets: Sequence[str]) -> list[DecodedSpeech]:
        def translate(rows: list[int], target: str) -> list[Translation]:
            return self._write([speech[number] for number in rows], target)

        return translate_into_each(speech, targets, [EMPTY_TRANSLATION] * len(speech), translate)

    def _write(self, speech: Sequence[Speech], target: str) -> list[Translation]:
        samples = [np.pad(part.samples, (0, max(0, _LEAST - len(part.samples)))) for part in speech]
        inputs = self.part.processor.feature_extractor(
            samples, sampling_rate=SAMPLE_RATE, padding=True, return_tensors="pt"
        )
        self.lengths = inputs["attention_mask"].sum(-1).to(self.part.model.device)
        first = self._first[target]
        options = {} if first is None else {"forced_bos_token_id": first}
        found = self.part.generate(inputs, **options)
        return self.part.texts(found[:, 1 if first is None else 2 :].tolist())  # after start (and language)

    def _nothing_beyond(self, conv: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        """The first convolution, of stride 2, leaves its bias beyond a clip's end, which the second one, (B, E, S),
        would draw in; zeros are what it finds there when the clip is alone."""
        beyond = torch.arange(inputs[0].shape[2], device=self.lengths.device) >= ((self.lengths + 1) // 2)[:, None]
        return (inputs[0].masked_fill(beyond[:, None], 0.0),)


def _direction_of(name: str) -> tuple[str, str]:
    """What a checkpoint of one direction hears and writes. Raises ModelError."""
    found = _DIRECTION.search(Path(name).name)
    try:
        if found:
            return find(found[1]).code, find(found[2]).code
    except LanguageError:
        pass
    raise ModelError(
        f"{name}: which language this Speech2Text hears and which it writes, only its name can tell; name it as the hub"
        " does, as in s2t-small-covost2-fr-en-st."
    )
