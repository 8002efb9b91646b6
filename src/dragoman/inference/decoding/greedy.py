"""Greedy search, row by row the likeliest token. Rows that have ended leave the batch: what is left is less work.

B rows, T tokens written, V pieces.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dragoman.inference.decoding.constraints import DecodingConstraints
from dragoman.inference.decoding.prefix_cache import select_rows
from dragoman.inference.decoding.search import EndsAt, SearchInput, WrittenRow

_LOOK_EVERY = 4
"""Steps from one look at which rows have ended to the next, on a device that has to be waited for."""
_LEAVE_AT = 0.8
"""Rows that have ended leave when so many of those in the batch are left."""


def search_greedily(
    llm: Any, given: SearchInput, constraints: DecodingConstraints, ends: EndsAt | None = None
) -> list[WrittenRow]:
    """As transformers' `generate` without sampling, token by token."""
    batch = _Batch(given, constraints)
    inputs: dict[str, Tensor] = batch.prompt()
    for step in range(given.max_new_tokens):
        logits = llm(**inputs, past_key_values=batch.cache, use_cache=True, logits_to_keep=1).logits[:, -1]
        logits = logits.to(given.mask.device, torch.float32)
        if step < given.min_new_tokens:
            logits[:, given.end] = -torch.inf
        tokens = batch.write(logits, step)
        if ends is not None:
            batch.finish(ends(batch.ids[batch.rows, : step + 1], batch.requests))
        if not batch.leave(step):
            break
        inputs = batch.next(tokens)
    return batch.written()


class _Batch:
    """What is still being written. `ids`, `log_probs` and `scores` (B, T), `lengths` and `is_finished` (B,) are of all
    rows; `rows` are the numbers of those that are in the batch, and the rest is of these."""

    def __init__(self, given: SearchInput, constraints: DecodingConstraints) -> None:
        self.given, self.constraints, self.cache = given, constraints, given.cache
        shape, device = (len(given.mask), given.max_new_tokens), given.mask.device
        self.ids = torch.full(shape, given.end, device=device)
        self.log_probs = torch.zeros(shape, device=device)
        self.scores = torch.zeros(shape, device=device)
        self.lengths = torch.zeros(shape[0], dtype=torch.long, device=device)
        self.is_finished = torch.zeros(shape[0], dtype=torch.bool, device=device)
        self.rows = torch.arange(shape[0], device=device)
        self.requests = list(range(shape[0]))
        self.mask = given.mask
        self.positions = given.position_ids[:, -1:]
        self._has_ended = torch.zeros(shape[0], dtype=torch.bool, device=device)

    def prompt(self) -> dict[str, Tensor]:
        """What the LLM is given first: all that it has no keys and values of."""
        known = self.cache.get_seq_length()
        return {
            "inputs_embeds": self.given.embeddings[:, known:],
            "attention_mask": self.mask,
            "position_ids": self.given.position_ids[:, known:],
        }

    def next(self, tokens: Tensor) -> dict[str, Tensor]:
        """What the LLM is given after tokens (B,)."""
        self.mask = torch.cat([self.mask, torch.ones_like(self.mask[:, :1])], 1)
        self.positions = self.positions + 1
        return {"input_ids": tokens[:, None], "attention_mask": self.mask, "position_ids": self.positions}

    def write(self, logits: Tensor, step: int) -> Tensor:
        """Choose from logits (B, V) -> tokens (B,)."""
        chosen = self.constraints(self.ids[self.rows, :step], logits, self.requests).argmax(-1)
        tokens = torch.where(self._has_ended, self.given.end, chosen)
        scores = logits.gather(1, tokens[:, None])[:, 0]
        self.ids[self.rows, step] = tokens
        self.scores[self.rows, step] = scores
        self.log_probs[self.rows, step] = scores - logits.logsumexp(-1)
        self.lengths[self.rows] += ~self._has_ended
        self._has_ended = self._has_ended | (tokens == self.given.end)
        return tokens

    def finish(self, complete: list[int]) -> None:
        """These rows of the batch are complete without the end."""
        if complete:
            self._has_ended[complete] = True

    def leave(self, step: int) -> bool:
        """Let rows that have ended leave, now and then; tells whether any is left."""
        if self._has_ended.device.type != "cpu" and (step + 1) % _LOOK_EVERY:
            return True
        left = (~self._has_ended).nonzero()[:, 0]
        self.is_finished[self.rows[self._has_ended]] = True
        if 0 < len(left) <= _LEAVE_AT * len(self.rows):
            self.cache = select_rows(self.cache, left)
            self.rows, self.mask, self.positions = self.rows[left], self.mask[left], self.positions[left]
            self._has_ended = self._has_ended[left]
            self.requests = self.rows.tolist()
        return len(left) > 0

    def written(self) -> list[WrittenRow]:
        self.is_finished[self.rows[self._has_ended]] = True
        columns = (self.ids, self.log_probs, self.scores, self.lengths, self.is_finished)
        return [
            WrittenRow(ids[:length], [row] * length, log_probs[:length], scores[:length], is_finished)
            for row, (ids, log_probs, scores, length, is_finished) in enumerate(
                zip(*(column.tolist() for column in columns), strict=True)
            )
        ]
