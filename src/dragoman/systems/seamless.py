"""SeamlessM4T: speech in about a hundred languages -> text in 96 (Seamless Communication 2023: v2 arXiv 2312.05187, the
first version arXiv 2308.11596).

The target is given by the token that its text decoder begins with; the source is not given.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import SeamlessM4TForSpeechToText, SeamlessM4Tv2ForSpeechToText

from dragoman.data.audio import SAMPLE_RATE
from dragoman.inference.decoding.decoder import DecodedSpeech, Translation
from dragoman.inference.recordings import Speech
from dragoman.systems.base import EMPTY_TRANSLATION, SingleCheckpointSystem, translate_into_each
from dragoman.systems.pretrained import CheckpointSpec, PretrainedModel
from dragoman.text.languages import is_code

# Where Seamless' code is not ours: it names the member of a macrolanguage (the model card's table of languages).
# Standard Malay is `zsm` in that table and in transformers' medium checkpoint, `zlm` in the large ones.
_OURS = {
    "arb": "ara", "pes": "fas", "fuv": "ful", "lvs": "lav", "khk": "mon", "zlm": "msa", "zsm": "msa", "gaz": "orm",
    "pbt": "pus", "uzn": "uzb",
}  # fmt: skip
_LEAST = SAMPLE_RATE // 10
"""Samples; less than two frames of features cannot be normalised."""


class Seamless(SingleCheckpointSystem):
    """SeamlessM4T-v2's direct translation (S2TT); `transcribe` serves cascades. Beam 5, as in its authors' own
    `Translator`."""

    name = "seamless-m4t-v2-large"
    checkpoint = CheckpointSpec(SeamlessM4Tv2ForSpeechToText, "facebook/seamless-m4t-v2-large", beams=5)

    def __init__(self, part: PretrainedModel, batch_size: int = 16) -> None:
        super().__init__(part, batch_size)
        known = part.model.generation_config.text_decoder_lang_to_code_id
        codes = sorted((_OURS.get(own, own), own) for own in known)
        self._codes = {code: own for code, own in codes if is_code(code)}
        for layer in part.model.speech_encoder.adapter.layers:
            layer.residual_conv.register_forward_pre_hook(self._nothing_beyond)
            layer.self_attn_conv.register_forward_pre_hook(self._nothing_beyond)

    @property
    def sources(self) -> list[str]:
        return list(self._codes)

    @property
    def targets(self) -> list[str]:
        return list(self._codes)

    def decode(self, speech: Sequence[Speech], targets: Sequence[str]) -> list[DecodedSpeech]:
        def translate(rows: list[int], target: str) -> list[Translation]:
            return self._write([speech[number] for number in rows], target)

        return translate_into_each(speech, targets, [EMPTY_TRANSLATION] * len(speech), translate)

    def transcribe(self, speech: Sequence[Speech]) -> list[Translation]:
        """What is said: the target is the language it is said in."""
        rows: dict[str, list[int]] = defaultdict(list)
        for number, part in enumerate(speech):
            rows[part.language].append(number)
        found: dict[int, Translation] = {}
        for code, numbers in rows.items():
            found.update(zip(numbers, self._write([speech[number] for number in numbers], code), strict=True))
        return [found[number] for number in range(len(speech))]

    def _write(self, speech: Sequence[Speech], language: str) -> list[Translation]:
        features = [self.features(part) for part in speech]
        self.lengths = torch.tensor([len(one["input_features"]) for one in features], device=self.part.model.device)
        inputs = {name: pad_sequence([one[name] for one in features], batch_first=True) for name in features[0]}
        found = self.part.generate(inputs, tgt_lang=self._codes[language])
        return self.part.texts(found[:, 2:].tolist())  # after start and language

    def labels(self, text: str, target: str) -> Tensor:
        """What the text decoder is to write after its start, (T,): language, text, end."""
        tokenizer = self.part.processor.tokenizer
        language = self.part.model.generation_config.text_decoder_lang_to_code_id[self._codes[target]]
        ids = tokenizer(text, add_special_tokens=False).input_ids
        return torch.tensor([language, *ids, tokenizer.eos_token_id])

    def features(self, speech: Speech) -> dict[str, Tensor]:
        """Filter banks (S, 160), S frames of 20 ms, and which of them are whole, (S,)."""
        samples = np.pad(speech.samples, (0, max(0, _LEAST - len(speech.samples))))
        found = self.part.processor.feature_extractor(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        return {name: value[0] for name, value in found.items()}

    def _nothing_beyond(self, conv: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        """Transformers' adapter draws its frames together across a clip's end, where in a batch others' padding lies
        that is not zero. Zeros, (B, E, S), are what it finds there when the clip is alone."""
        beyond = torch.arange(inputs[0].shape[2], device=self.lengths.device) >= self.lengths[:, None]
        return (inputs[0].masked_fill(beyond[:, None], 0.0),)


class SeamlessV1(Seamless):
    """The first version, large: the same but for its speech encoder's attention and its weights."""

    name = "seamless-m4t-large"
    checkpoint = CheckpointSpec(SeamlessM4TForSpeechToText, "facebook/hf-seamless-m4t-large", beams=5)


class SeamlessV1Medium(SeamlessV1):
    """The first version, medium. Its tokens name NLLB's 200 languages; its card says which 101 it was taught to hear
    and which 96 to write."""

    name = "seamless-m4t-medium"
    checkpoint = CheckpointSpec(SeamlessM4TForSpeechToText, "facebook/hf-seamless-m4t-medium", beams=5)
