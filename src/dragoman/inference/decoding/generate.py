"""The LLM's search for what to write: greedy or with beams, steered, many rows from shared beginnings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import GenerationConfig, LogitsProcessorList

from dragoman.data.batching import Row, pad_rows
from dragoman.inference.decoding.constraints import Steering, Told, Wish
from dragoman.inference.decoding.prefix_cache import Heard
from dragoman.model.build import LoadedModel
from dragoman.model.llm import embed
from dragoman.model.splice import splice


@dataclass(frozen=True)
class Output:
    """`text` as the tokenizer decodes it, without what was begun; `truncated`: max_new_tokens came before the end."""

    text: str
    truncated: bool
    told: Told


NOTHING = Output("", False, Told(0.0, 1, False, ()))


class Search:
    """At most `max_rows` rows, beams counted, are searched at a time. `no_repeat_ngram_size`: see Steering."""

    def __init__(
        self, loaded: LoadedModel, max_new_tokens: int, max_rows: int, no_repeat_ngram_size: int | None = None
    ) -> None:
        self.model, self.tokenizer, self.max_rows = loaded.model, loaded.tokenizer, max(1, max_rows)
        self.max_new_tokens, self.no_repeat_ngram_size = max_new_tokens, no_repeat_ngram_size
        self.min_new_tokens = 0

    def __call__(
        self,
        heard: Heard,
        request_of: Sequence[int],
        rows: Sequence[Row],
        wishes: Sequence[Sequence[Wish]],
        beams: int,
        before: Sequence[Sequence[int]] = (),
    ) -> list[Output]:
        """What follows each row's prompt and the answer that it has begun; `request_of` says which request a row is of,
        `before` what of the output the row's prompt holds. `beams` 1 is greedy."""
        outputs: list[Output] = []
        size = max(1, self.max_rows // beams)
        for start in range(0, len(rows), size):
            chunk = slice(start, start + size)
            begun = [row.answer for row in rows[chunk]]
            steering = Steering(self.tokenizer, beams, wishes[chunk], begun, self.no_repeat_ngram_size, before[chunk])
            outputs += self._chunk(heard, heard.rows(request_of[chunk]), rows[chunk], steering)
        return outputs

    def _chunk(self, heard: Heard, of: torch.Tensor, rows: Sequence[Row], steering: Steering) -> list[Output]:
        text = pad_rows(rows, self.tokenizer.pad_token_id, "left").to(of.device)
        embeddings, mask, _ = splice(
            heard.audio, heard.num_audio, embed(self.model.llm, text.input_ids), text.attention_mask, of
        )
        found = self.model.llm.generate(
            inputs_embeds=embeddings,
            attention_mask=mask,
            past_key_values=heard.cache_of(of.repeat_interleave(steering.beams)),
            generation_config=self._how(steering.beams),
            logits_processor=LogitsProcessorList([steering]),
        )
        return [self._output(ids, number, steering) for number, ids in enumerate(found.tolist())]

    def _how(self, beams: int) -> GenerationConfig:
        """The checkpoint's own generation settings (sampling, penalties) are not ours: everything is said here."""
        return GenerationConfig(
            do_sample=False,
            num_beams=beams,
            min_new_tokens=self.min_new_tokens,
            max_new_tokens=self.max_new_tokens,
            eos_token_id=self.tokenizer.eos_token_id,
            pad_token_id=self.tokenizer.pad_token_id,
        )

    def _output(self, ids: list[int], number: int, steering: Steering) -> Output:
        end = self.tokenizer.eos_token_id
        written = ids[: ids.index(end)] if end in ids else ids
        told = steering.told(number, ids[: len(written) + 1])
        begun = steering.begun[number]
        text = self.tokenizer.decode([*begun, *written])[len(self.tokenizer.decode(begun)) :]  # with its first space
        return Output(text, end not in ids, told)
