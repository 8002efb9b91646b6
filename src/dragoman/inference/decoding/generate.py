"""The LLM's search for what to write: greedy or with beams, steered, many rows from shared beginnings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import GenerationConfig, LogitsProcessorList

from dragoman.data.batching import TextRow, pad_rows
from dragoman.inference.decoding.constraints import DecodeStats, DecodingConstraints, PhraseBias
from dragoman.inference.decoding.prefix_cache import AudioPrefix
from dragoman.model.build import LoadedModel
from dragoman.model.llm import embed
from dragoman.model.splice import splice


@dataclass(frozen=True)
class GeneratedText:
    """`text` as the tokenizer decodes it, without what was begun; `truncated`: max_new_tokens came before the end."""

    text: str
    truncated: bool
    stats: DecodeStats


EMPTY_OUTPUT = GeneratedText("", False, DecodeStats(0.0, 1, False, ()))


class BeamSearch:
    """At most `max_rows` rows, beams counted, are searched at a time. `no_repeat_ngram_size`: see
    DecodingConstraints."""

    def __init__(
        self, loaded: LoadedModel, max_new_tokens: int, max_rows: int, no_repeat_ngram_size: int | None = None
    ) -> None:
        self.model, self.tokenizer, self.max_rows = loaded.model, loaded.tokenizer, max(1, max_rows)
        self.max_new_tokens, self.no_repeat_ngram_size = max_new_tokens, no_repeat_ngram_size
        self.min_new_tokens = 0

    def __call__(
        self,
        audio_prefix: AudioPrefix,
        request_of: Sequence[int],
        rows: Sequence[TextRow],
        phrase_biases: Sequence[Sequence[PhraseBias]],
        beams: int,
        before: Sequence[Sequence[int]] = (),
    ) -> list[GeneratedText]:
        """What follows each row's prompt and the answer that it has begun; `request_of` says which request a row is of,
        `before` what of the output the row's prompt holds. `beams` 1 is greedy."""
        outputs: list[GeneratedText] = []
        size = max(1, self.max_rows // beams)
        for start in range(0, len(rows), size):
            chunk = slice(start, start + size)
            prefixes = [row.answer for row in rows[chunk]]
            constraints = DecodingConstraints(
                self.tokenizer, beams, phrase_biases[chunk], prefixes, self.no_repeat_ngram_size, before[chunk]
            )
            outputs += self._chunk(audio_prefix, audio_prefix.rows(request_of[chunk]), rows[chunk], constraints)
        return outputs

    def _chunk(
        self,
        audio_prefix: AudioPrefix,
        audio_rows: torch.Tensor,
        rows: Sequence[TextRow],
        constraints: DecodingConstraints,
    ) -> list[GeneratedText]:
        text = pad_rows(rows, self.tokenizer.pad_token_id, "left").to(audio_rows.device)
        embeddings, mask, _ = splice(
            audio_prefix.audio,
            audio_prefix.num_audio,
            embed(self.model.llm, text.input_ids),
            text.attention_mask,
            audio_rows,
        )
        found = self.model.llm.generate(
            inputs_embeds=embeddings,
            attention_mask=mask,
            past_key_values=audio_prefix.cache_of(audio_rows.repeat_interleave(constraints.beams)),
            generation_config=self._generation_config(constraints.beams),
            logits_processor=LogitsProcessorList([constraints]),
        )
        return [self._output(ids, number, constraints) for number, ids in enumerate(found.tolist())]

    def _generation_config(self, beams: int) -> GenerationConfig:
        """The checkpoint's own generation settings (sampling, penalties) are not ours: everything is said here."""
        return GenerationConfig(
            do_sample=False,
            num_beams=beams,
            min_new_tokens=self.min_new_tokens,
            max_new_tokens=self.max_new_tokens,
            eos_token_id=self.tokenizer.eos_token_id,
            pad_token_id=self.tokenizer.pad_token_id,
        )

    def _output(self, ids: list[int], number: int, constraints: DecodingConstraints) -> GeneratedText:
        end = self.tokenizer.eos_token_id
        written = ids[: ids.index(end)] if end in ids else ids
        stats = constraints.stats(number, ids[: len(written) + 1])
        prefix = constraints.prefixes[number]
        begun = len(self.tokenizer.decode(prefix))
        text = self.tokenizer.decode([*prefix, *written])[begun:]  # with its first space
        return GeneratedText(text, end not in ids, stats)
