"""Whisper's own decoder on the frames of the encoder that the adapter hears too.

Shapes: U utterances, M mel bins, F mel frames, S encoder frames, E encoder width, T text tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin, WhisperForConditionalGeneration, WhisperTokenizerFast
from transformers.modeling_outputs import BaseModelOutput

from dragoman.data.batching import Mel, pad_mels
from dragoman.errors import ModelError
from dragoman.inference.decoding.constraints import Told
from dragoman.inference.decoding.generate import Output
from dragoman.model.encoder import SpeechEncoder
from dragoman.model.llm import load_pretrained
from dragoman.text.languages import find

_MOST_TOKENS = 220
"""Of a transcript: what people say in 30 s is shorter, and a loop ends there."""


class WhisperDecoder:
    """Transcribes as Whisper was trained to: told language and task by tokens (Radford et al. 2022, section 2.3).

    The encoder's frames are computed as for the adapter; a clip's transcript does not depend on its batch.
    """

    def __init__(self, whisper: WhisperForConditionalGeneration, tokenizer: Any, encoder: SpeechEncoder) -> None:
        self.whisper, self.tokenizer, self.encoder = whisper.eval(), tokenizer, encoder
        known = whisper.generation_config.lang_to_id or {}
        if not known:
            raise ModelError("This Whisper hears English only; its decoder cannot transcribe other languages.")
        self.languages = {find(token.strip("<|>")).code: number for token, number in known.items()}

    @classmethod
    def from_pretrained(cls, folder: Path | str, encoder: SpeechEncoder, dtype: torch.dtype) -> WhisperDecoder:
        """Of the same checkpoint as `encoder`, whose weights it takes in the place of its own. Raises ModelError."""
        whisper = load_pretrained(WhisperForConditionalGeneration, folder, what="Whisper", dtype=dtype)
        whisper.model.encoder = encoder.whisper
        return cls(whisper, WhisperTokenizerFast.from_pretrained(folder), encoder)

    @torch.inference_mode()
    def __call__(self, mels: Sequence[Mel], languages: Sequence[str], beams: int) -> list[Output]:
        """mel (M, F) each and the language spoken in it -> what is said."""
        weights = next(self.whisper.parameters())
        mel, num_frames = pad_mels(mels)
        frames, lengths = self.encoder(mel.to(weights.device, weights.dtype), num_frames.to(weights.device))
        with self._attending(lengths, frames.shape[1], beams):
            found = GenerationMixin.generate(
                self.whisper,
                encoder_outputs=BaseModelOutput(last_hidden_state=frames),
                decoder_input_ids=self._prompts(languages).to(weights.device),
                generation_config=self._how(beams),
                return_dict_in_generate=True,
                output_scores=beams == 1,
            )
        return [self._output(ids) for ids in found.sequences[:, self._prompt_length :].tolist()]

    _prompt_length = 4

    def _prompts(self, languages: Sequence[str]) -> Tensor:
        """(U, 4): start, language, task, no timestamps."""
        known = self.whisper.generation_config
        task, plain = known.task_to_id["transcribe"], known.no_timestamps_token_id
        return torch.tensor([[known.decoder_start_token_id, self.languages[code], task, plain] for code in languages])

    def _how(self, beams: int) -> GenerationConfig:
        known = self.whisper.generation_config
        return GenerationConfig(
            do_sample=False,
            num_beams=beams,
            max_new_tokens=_MOST_TOKENS,
            suppress_tokens=known.suppress_tokens,
            begin_suppress_tokens=known.begin_suppress_tokens,
            eos_token_id=known.eos_token_id,
            pad_token_id=known.pad_token_id,
            decoder_start_token_id=known.decoder_start_token_id,
        )

    def _output(self, ids: list[int]) -> Output:
        end = self.whisper.generation_config.eos_token_id
        written = ids[: ids.index(end)] if end in ids else ids
        text = self.tokenizer.decode(written, skip_special_tokens=True)
        return Output(text.strip(), end not in ids, Told(0.0, 1, False, ()))

    @contextmanager
    def _attending(self, lengths: Tensor, size: int, beams: int) -> Iterator[None]:
        """Let the decoder see each clip's own frames alone: transformers' Whisper knows no padding there."""
        valid = torch.arange(size, device=lengths.device) < lengths[:, None]
        mask = valid[:, None, None].repeat_interleave(beams, 0)

        def masked(layer: Any, args: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            return args, {**options, "encoder_attention_mask": mask}

        layers = self.whisper.model.decoder.layers
        hooks = [layer.register_forward_pre_hook(masked, with_kwargs=True) for layer in layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
