"""What decoding does to the LLM's next-token scores: phrases wanted are made likelier, loops are not closed; and how
sure the LLM was of what it wrote.

V tokens, B rows (with beams, `beams` neighbours are one request), T tokens written so far. With `inputs_embeds`,
transformers' `generate` shows a logits processor only what was written, not the prompt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LogitsProcessor, NoRepeatNGramLogitsProcessor, PreTrainedTokenizerBase

from dragoman.inference.decoding.phrases import Phrases
from dragoman.text.repetition import almost, loops


@dataclass(frozen=True)
class Wish:
    """`bias` is added to the scores of the tokens that begin or go on with one of the phrases. With `at`, one is
    written after so many tokens, whatever the LLM thinks of it."""

    phrases: Phrases
    bias: float = 0.0
    at: int | None = None


@dataclass(frozen=True)
class _Step:
    """Log-probabilities of the tokens that may have been chosen, as the LLM said them; of the best token that begins
    or goes on with each wish; `held`: the likeliest would have closed a loop."""

    log_probs: dict[int, float]
    wishes: tuple[float, ...]
    held: bool


@dataclass(frozen=True)
class Told:
    """Of what was written: its log-probability; `looped`, it was held from a loop; for each wish, by how much its
    beginning was less likely than the token in its place, (wishes, tokens)."""

    log_prob: float
    tokens: int
    looped: bool
    losses: tuple[tuple[float, ...], ...]

    @property
    def score(self) -> float:
        """The mean log-probability of a token."""
        return self.log_prob / self.tokens


class Steering(LogitsProcessor):
    """One `generate`. `wishes` has those of each request, `begun` the tokens that stood there before it wrote.

    A loop (text/repetition.py) is never closed: the token that would do so is forbidden, and nothing else. So a name
    may come as often as it is said, and no n-gram is banned. With `no_repeat_ngram_size` that is left out, and no n
    tokens are written twice, as transformers has it: 0 bans nothing. `before` is what of the output each request's
    prompt holds, which counts then.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        beams: int,
        wishes: Sequence[Sequence[Wish]],
        begun: Sequence[Sequence[int]],
        no_repeat_ngram_size: int | None = None,
        before: Sequence[Sequence[int]] = (),
    ) -> None:
        self.tokenizer, self.beams, self.wishes, self.begun = tokenizer, beams, wishes, begun
        self.no_repeat_ngram_size, self.before = no_repeat_ngram_size, before
        self._end = tokenizer.eos_token_id
        self._steps: dict[tuple[int, tuple[int, ...]], _Step] = {}

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """input_ids (B, T), scores (B, V) -> scores (B, V)."""
        told, scores = scores.log_softmax(-1), scores.clone()
        wished = {}
        going = [(row, ids) for row, ids in enumerate(input_ids.tolist()) if self._end not in ids]
        for row, ids in going:
            wished[row] = tuple(self._wish(scores[row], told[row], row, ids, w) for w in self.wishes[row // self.beams])
        held = set[int]()
        for row, ids in going:
            if self.no_repeat_ngram_size is not None:
                self._ban(scores[row], row, ids)
            elif self._hold(scores[row], self._whole(row, ids)):
                held.add(row)
        best = scores.topk(min(4 * self.beams, scores.shape[1])).indices
        log_probs = told.gather(1, best).tolist()
        tokens = best.tolist()
        for row, ids in going:
            step = _Step(dict(zip(tokens[row], log_probs[row], strict=True)), wished[row], row in held)
            self._steps[row // self.beams, tuple(ids)] = step
        return scores

    def told(self, request: int, ids: Sequence[int]) -> Told:
        """Of what was written for a request, end token included."""
        steps = [self._steps[request, tuple(ids[:at])] for at in range(len(ids))]
        # beams keep the best two each: a token that is not among the best four ties with them
        chosen = [
            step.log_probs.get(token, min(step.log_probs.values())) for step, token in zip(steps, ids, strict=True)
        ]
        wishes = zip(*(step.wishes for step in steps), strict=True)
        losses = tuple(tuple(one - wish for one, wish in zip(chosen, of, strict=True)) for of in wishes)
        return Told(sum(chosen), len(chosen), any(step.held for step in steps), losses)

    def _whole(self, row: int, ids: list[int]) -> list[int]:
        return [*self.begun[row // self.beams], *ids]

    def _wish(self, scores: Tensor, told: Tensor, row: int, ids: list[int], wish: Wish) -> float:
        """Change one row's scores (V,) in place; returns the log-probability of the best of the tokens wished for."""
        whole = self._whole(row, ids)
        tokens = wish.phrases.next(whole, None if wish.at is None else wish.at + len(whole) - len(ids))
        if not tokens:
            return -math.inf
        wanted = scores[tokens] + wish.bias
        if wish.at is not None:
            scores.fill_(-math.inf)
        scores[tokens] = wanted
        return float(told[tokens].max())

    def _ban(self, scores: Tensor, row: int, ids: list[int]) -> None:
        """Forbid in place what would write an n-gram again."""
        before = self.before[row // self.beams] if self.before else ()
        whole = torch.tensor([[*before, *self._whole(row, ids)]], device=scores.device)
        if self.no_repeat_ngram_size and whole.shape[1] >= self.no_repeat_ngram_size:
            scores.copy_(NoRepeatNGramLogitsProcessor(self.no_repeat_ngram_size)(whole, scores[None])[0])

    def _hold(self, scores: Tensor, ids: list[int]) -> bool:
        """Forbid in place what would close a loop; returns whether it was the likeliest."""
        closing = {run[-1] for run in almost(ids) if loops(self.tokenizer.decode(run))}
        if not closing:
            return False
        held = int(scores.argmax()) in closing
        scores[sorted(closing)] = -math.inf
        return held
