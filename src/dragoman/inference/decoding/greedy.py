"""Greedy search, row by row the likeliest token. Rows that have ended leave the batch: what is left is less work.

B rows, T tokens written, V pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from dragoman.inference.decoding.prefix_cache import select_rows
from dragoman.inference.decoding.search import EndsAt, SearchInput, SearchLimits, WrittenRow

Constrain = Callable[[Tensor, Tensor, Sequence[int]], Tensor]
"""ids (B, T) written so far, logits (B, V) and which rows of the search these are -> logits (B, V)."""
_LOOK_EVERY = 4
"""Steps from one look at which rows have ended to the next, on a device that has to be waited for."""
_LEAVE_AT = 0.8
"""Rows that have ended leave when this many of those in the batch are left."""


class StepModel(Protocol):
    """What writes: logits (B, V) of the first token, and of the one after tokens (B,); `keep` lets other rows go."""

    def start(self) -> Tensor: ...

    def step(self, tokens: Tensor) -> Tensor: ...

    def keep(self, rows: Tensor) -> None: ...


@torch.no_grad()
def search_greedily(
    model: StepModel, limits: SearchLimits, constrain: Constrain, ends: EndsAt | None = None
) -> list[WrittenRow]:
    """As transformers' `generate` without sampling, token by token."""
    logits = model.start()
    batch = _Batch(len(logits), logits.device, limits)
    for step in range(limits.max_new_tokens):
        if step < limits.min_new_tokens:
            logits[:, limits.end] = -torch.inf
        chosen = constrain(batch.ids[batch.rows, :step], logits, batch.numbers).argmax(-1)
        tokens = batch.write(chosen, logits, step)
        if ends is not None:
            batch.end(ends(batch.ids[batch.rows, : step + 1], batch.numbers))
        left = batch.left(step)
        if not len(left):
            break
        if len(left) <= _LEAVE_AT * len(tokens):
            model.keep(left)
            batch.keep(left)
            tokens = tokens[left]
        if step + 1 < limits.max_new_tokens:
            logits = model.step(tokens)
    return batch.written()


class LlmStepModel:
    """An LLM, from embedded prompts and the keys and values of what stands before them."""

    def __init__(self, llm: Any, given: SearchInput) -> None:
        self.llm, self.given, self.cache, self.mask = llm, given, given.cache, given.mask
        self.positions = given.position_ids[:, -1:]

    def start(self) -> Tensor:
        known = self.cache.get_seq_length()
        position_ids = self.given.position_ids[:, known:]
        return self._logits(inputs_embeds=self.given.embeddings[:, known:], position_ids=position_ids)

    def step(self, tokens: Tensor) -> Tensor:
        self.mask = torch.cat([self.mask, torch.ones_like(self.mask[:, :1])], 1)
        self.positions = self.positions + 1
        return self._logits(input_ids=tokens[:, None], position_ids=self.positions)

    def keep(self, rows: Tensor) -> None:
        self.cache = select_rows(self.cache, rows)
        self.mask, self.positions = self.mask[rows], self.positions[rows]

    def _logits(self, **inputs: Tensor) -> Tensor:
        found = self.llm(
            **inputs, attention_mask=self.mask, past_key_values=self.cache, use_cache=True, logits_to_keep=1
        )
        logits: Tensor = found.logits[:, -1].to(self.mask.device, torch.float32)
        return logits


class _Batch:
    """What is being written. `ids`, `log_probs` and `scores` (B, T), `lengths` and `is_finished` (B,) are of all rows;
    `rows`, or as a list `numbers`, says which of them are still in the batch, `has_ended` is of these."""

    def __init__(self, size: int, device: torch.device, limits: SearchLimits) -> None:
        self.limits, shape = limits, (size, limits.max_new_tokens)
        self.ids = torch.full(shape, limits.end, device=device)
        self.log_probs = torch.zeros(shape, device=device)
        self.scores = torch.zeros(shape, device=device)
        self.lengths = torch.zeros(size, dtype=torch.long, device=device)
        self.is_finished = torch.zeros(size, dtype=torch.bool, device=device)
        self.rows = torch.arange(size, device=device)
        self.numbers = list(range(size))
        self.has_ended = torch.zeros(size, dtype=torch.bool, device=device)

    def write(self, chosen: Tensor, logits: Tensor, step: int) -> Tensor:
        """Tokens (B,) chosen by logits (B, V) -> the same, but the end where a row had ended before."""
        tokens = torch.where(self.has_ended, self.limits.end, chosen)
        scores = logits.gather(1, tokens[:, None])[:, 0]
        self.ids[self.rows, step] = tokens
        self.scores[self.rows, step] = scores
        self.log_probs[self.rows, step] = scores - logits.logsumexp(-1)
        self.lengths[self.rows] += ~self.has_ended
        self.has_ended = self.has_ended | (tokens == self.limits.end)
        return tokens

    def end(self, complete: list[int]) -> None:
        """These rows of the batch are complete without the end."""
        if complete:
            self.has_ended[complete] = True

    def left(self, step: int) -> Tensor:
        """Which rows of the batch have not ended; all, where it is not time to look."""
        if self.has_ended.device.type != "cpu" and (step + 1) % _LOOK_EVERY:
            return torch.arange(len(self.rows), device=self.rows.device)
        return (~self.has_ended).nonzero()[:, 0]

    def keep(self, rows: Tensor) -> None:
        self.is_finished[self.rows[self.has_ended]] = True
        self.rows, self.has_ended = self.rows[rows], self.has_ended[rows]
        self.numbers = self.rows.tolist()

    def written(self) -> list[WrittenRow]:
        self.is_finished[self.rows[self.has_ended]] = True
        columns = (self.ids, self.log_probs, self.scores, self.lengths, self.is_finished)
        return [
            WrittenRow(ids[:length], [row] * length, log_probs[:length], scores[:length], is_finished)
            for row, (ids, log_probs, scores, length, is_finished) in enumerate(
                zip(*(column.tolist() for column in columns), strict=True)
            )
        ]
