"""What a search is given and what it gives. B rows, A audio tokens, T text tokens, D LLM width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor
from transformers import DynamicCache

EndsAt = Callable[[Tensor, Sequence[int]], list[int]]
"""Rows written so far (R, T) and the request that each is of -> which are complete, beside those that wrote the end."""


@dataclass(frozen=True)
class SearchLimits:
    """`end` is the token that ends a row, `pad` what stands behind it; it comes after `min_new_tokens` at least and
    `max_new_tokens` at most."""

    end: int
    pad: int
    max_new_tokens: int
    min_new_tokens: int = 0


@dataclass(frozen=True)
class SearchInput:
    """Prompts behind what they share: embeddings (B, A + T, D), mask and position ids (B, A + T); the LLM's keys and
    values after the audio, of each row that is searched."""

    embeddings: Tensor
    mask: Tensor
    position_ids: Tensor
    cache: DynamicCache


@dataclass(frozen=True)
class WrittenRow:
    """Tokens and what ended them; of each, the row of the search that it was written in, its log-probability, and its
    score as the constraints saw it. `is_finished`: it was not the limit that ended it."""

    ids: list[int]
    path: list[int]
    log_probs: list[float]
    scores: list[float]
    is_finished: bool
