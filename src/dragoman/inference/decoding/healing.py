"""Token healing: where a text that training tokenised as one goes on behind a prompt, a piece may reach over the end:
a translation that begins with a quote stands behind `<|deu` and the piece `|>"`. So the prompt's last pieces are taken
off, and what is written must spell them first.

B rows, V pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

_BORDER = len("|>")
"""Pieces are taken off until they spell this much: what ends a tag."""


class TokenHealing:
    """Of one tokenizer. A border is text as pieces spell it."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._pieces: list[str] = []
        self._allowed = lru_cache(maxsize=16)(self._find_allowed)

    def part(self, ids: Sequence[int]) -> tuple[tuple[int, ...], str]:
        """The ids of a text that ends with a tag -> those that stay, and the border, which is to be written."""
        kept, border = list(ids), ""
        while kept and len(border) < _BORDER:
            border = self.tokenizer.convert_ids_to_tokens([kept.pop()])[0] + border
        return tuple(kept), border

    def held(self, ids: Tensor, scores: Tensor, borders: Sequence[str]) -> Tensor:
        """ids (B, T) written so far, scores (B, V), the border of each row, "" for none -> scores (B, V): while a
        border is not spelt, only pieces that go on with it."""
        if ids.shape[1] >= max(map(len, borders), default=0):
            return scores
        written = self.tokenizer.convert_ids_to_tokens
        left = [border[len("".join(written(own))) :] for border, own in zip(borders, ids.tolist(), strict=True)]
        if not any(left):
            return scores
        everything = torch.ones(scores.shape[1], dtype=torch.bool)
        allowed = torch.stack([self._allowed(one, scores.shape[1]) if one else everything for one in left])
        return scores.masked_fill(~allowed.to(scores.device), -torch.inf)

    def _find_allowed(self, border: str, size: int) -> Tensor:
        """(V,): pieces that begin with a border, or that the border begins with."""
        if not self._pieces:
            self._pieces = self.tokenizer.convert_ids_to_tokens(list(range(len(self.tokenizer))))
        pieces = [*self._pieces, *[""] * (size - len(self._pieces))][:size]
        return torch.tensor([bool(one) and (one.startswith(border) or border.startswith(one)) for one in pieces])


class Borders:
    """Of one search: the border of each request, "" for none."""

    def __init__(self, healing: TokenHealing, borders: Sequence[str], beams: int) -> None:
        self.healing, self.borders, self.beams = healing, borders, beams

    def __call__(self, ids: Tensor, scores: Tensor, rows: Sequence[int]) -> Tensor:
        """As TokenHealing.held, of these rows of the search."""
        return self.healing.held(ids, scores, [self.borders[row // self.beams] for row in rows])
