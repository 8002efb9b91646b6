"""Beam search, by transformers' own.

B rows, R = B x beams rows of the search, T tokens, K tokens that a beam may take.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from dragoman.inference.decoding.constraints import DecodingConstraints
from dragoman.inference.decoding.search import EndsAt, SearchInput, SearchLimits, WrittenRow


def search_with_beams(
    llm: Any,
    given: SearchInput,
    limits: SearchLimits,
    constraints: DecodingConstraints,
    ends: EndsAt | None = None,
) -> list[WrittenRow]:
    noted = _Noted(constraints)
    found = llm.generate(
        inputs_embeds=given.embeddings,
        attention_mask=given.mask,
        past_key_values=given.cache,
        generation_config=_config(limits, constraints.beams),
        logits_processor=LogitsProcessorList([noted]),
        stopping_criteria=StoppingCriteriaList([] if ends is None else [_Complete(ends, len(given.mask))]),
    )
    path = found.beam_indices.long()
    ids = found.sequences[:, : path.shape[1]]
    scores = noted.scores(ids, path)
    rows = [_row(*of_row, end=limits.end) for of_row in zip(ids, path, scores, strict=True)]
    if ends is None:
        return rows
    is_complete = [row.is_finished or bool(ends(ids.new_tensor([row.ids]), [at])) for at, row in enumerate(rows)]
    return [replace(row, is_finished=complete) for row, complete in zip(rows, is_complete, strict=True)]


def _row(ids: Tensor, path: Tensor, scores: Tensor, end: int) -> WrittenRow:
    length = int((path >= 0).sum())
    written, log_probs = ids[:length].tolist(), scores[:length].tolist()
    return WrittenRow(written, path[:length].tolist(), log_probs, log_probs, written[-1] == end)


def _config(limits: SearchLimits, beams: int) -> GenerationConfig:
    """The checkpoint's own generation settings (sampling, penalties) are not ours: everything is said here."""
    return GenerationConfig(
        do_sample=False,
        num_beams=beams,
        min_new_tokens=limits.min_new_tokens,
        max_new_tokens=limits.max_new_tokens,
        eos_token_id=limits.end,
        pad_token_id=limits.pad,
        return_dict_in_generate=True,
    )


class _Noted(LogitsProcessor):
    """The constraints, and the log-probabilities of the tokens that may be chosen, as the LLM said them. With
    `inputs_embeds`, transformers' `generate` shows a processor only what was written, not the prompt."""

    def __init__(self, constraints: DecodingConstraints) -> None:
        self.constraints = constraints
        self._tokens: list[Tensor] = []
        self._log_probs: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """input_ids (R, T), log-probabilities (R, V) -> scores (R, V)."""
        constrained = self.constraints(input_ids, scores, range(len(scores)))
        # beams keep the best two each: a token that is not among the best of twice as many ties with them
        best = constrained.topk(min(4 * self.constraints.beams, scores.shape[1])).indices
        self._tokens.append(best)
        self._log_probs.append(scores.gather(1, best))
        return constrained

    def scores(self, ids: Tensor, path: Tensor) -> Tensor:
        """ids (B, T) and the row of the search that each was written in, -1 behind the end -> log-probabilities
        (B, T)."""
        steps = torch.arange(path.shape[1], device=path.device)
        rows = path.clamp(min=0)
        tokens = torch.stack(self._tokens[: len(steps)])[steps, rows]
        log_probs = torch.stack(self._log_probs[: len(steps)])[steps, rows]  # (B, T, K)
        is_chosen = tokens == ids[..., None]
        chosen = torch.where(is_chosen, log_probs, -torch.inf).max(-1).values
        return torch.where(is_chosen.any(-1), chosen, log_probs.min(-1).values)


class _Complete(StoppingCriteria):
    """Ends hypotheses that are complete without the end."""

    def __init__(self, ends: EndsAt, requests: int) -> None:
        self.ends, self.requests = ends, requests

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """input_ids (B x what is kept, T) -> (B x what is kept,)."""
        each = len(input_ids) // self.requests
        complete = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        complete[self.ends(input_ids, [row // each for row in range(len(input_ids))])] = True
        return complete
