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
from dragoman.text.repetition import has_loop, loop_completions


@dataclass(frozen=True)
class PhraseBias:
    """`bias` is added to the scores of the tokens that begin or go on with one of the phrases. With `at`, one is
    written after this many tokens, whatever the LLM thinks of it."""

    phrases: Phrases
    bias: float = 0.0
    at: int | None = None


@dataclass(frozen=True)
class _Step:
    """Log-probabilities of the tokens that may have been chosen, as the LLM said them; of the best token that begins
    or goes on with a phrase of each bias; `blocked`: the likeliest would have closed a loop."""

    log_probs: dict[int, float]
    phrase_log_probs: tuple[float, ...]
    blocked: bool


@dataclass(frozen=True)
class DecodeStats:
    """Of what was written: its log-probability; `looped`, a loop was blocked; for each phrase bias, by how much its
    phrase was less likely than the token in its place, (phrase biases, tokens)."""

    log_prob: float
    tokens: int
    looped: bool
    losses: tuple[tuple[float, ...], ...]

    @property
    def score(self) -> float:
        """The mean log-probability of a token."""
        return self.log_prob / self.tokens


class DecodingConstraints(LogitsProcessor):
    """One `generate`. `phrase_biases` has those of each request, `prefixes` the tokens with which its answer was
    begun.

    A loop (text/repetition.py) is never closed: the token that would do so is forbidden, and nothing else. So a name
    may come as often as it is said, and no n-gram is banned. With `no_repeat_ngram_size` that is left out, and no n
    tokens are written twice, as transformers has it: 0 bans nothing. `before` is what of the output each request's
    prompt holds, which counts then.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        beams: int,
        phrase_biases: Sequence[Sequence[PhraseBias]],
        prefixes: Sequence[Sequence[int]],
        no_repeat_ngram_size: int | None = None,
        before: Sequence[Sequence[int]] = (),
    ) -> None:
        self.tokenizer, self.beams, self.phrase_biases, self.prefixes = tokenizer, beams, phrase_biases, prefixes
        self.no_repeat_ngram_size, self.before = no_repeat_ngram_size, before
        self._end = tokenizer.eos_token_id
        self._steps: dict[tuple[int, tuple[int, ...]], _Step] = {}

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """input_ids (B, T), scores (B, V) -> scores (B, V)."""
        all_log_probs, scores = scores.log_softmax(-1), scores.clone()
        phrase_log_probs = {}
        going = [(row, ids) for row, ids in enumerate(input_ids.tolist()) if self._end not in ids]
        for row, ids in going:
            phrase_log_probs[row] = tuple(
                self._apply_bias(scores[row], all_log_probs[row], row, ids, phrase_bias)
                for phrase_bias in self.phrase_biases[row // self.beams]
            )
        blocked = set[int]()
        for row, ids in going:
            if self.no_repeat_ngram_size is not None:
                self._ban(scores[row], row, ids)
            elif self._block_loops(scores[row], self._whole(row, ids)):
                blocked.add(row)
        best = scores.topk(min(4 * self.beams, scores.shape[1])).indices
        log_probs = all_log_probs.gather(1, best).tolist()
        tokens = best.tolist()
        for row, ids in going:
            step = _Step(dict(zip(tokens[row], log_probs[row], strict=True)), phrase_log_probs[row], row in blocked)
            self._steps[row // self.beams, tuple(ids)] = step
        return scores

    def stats(self, request: int, ids: Sequence[int]) -> DecodeStats:
        """Of what was written for a request, end token included."""
        steps = [self._steps[request, tuple(ids[:at])] for at in range(len(ids))]
        # beams keep the best two each: a token that is not among the best four ties with them
        chosen = [
            step.log_probs.get(token, min(step.log_probs.values())) for step, token in zip(steps, ids, strict=True)
        ]
        by_phrase = zip(*(step.phrase_log_probs for step in steps), strict=True)
        losses = tuple(tuple(a - b for a, b in zip(chosen, phrase, strict=True)) for phrase in by_phrase)
        return DecodeStats(sum(chosen), len(chosen), any(step.blocked for step in steps), losses)

    def _whole(self, row: int, ids: list[int]) -> list[int]:
        return [*self.prefixes[row // self.beams], *ids]

    def _apply_bias(
        self, scores: Tensor, all_log_probs: Tensor, row: int, ids: list[int], phrase_bias: PhraseBias
    ) -> float:
        """Change one row's scores (V,) in place; returns the log-probability of the likeliest token that goes on
        with one of the phrases."""
        whole = self._whole(row, ids)
        tokens = phrase_bias.phrases.next(
            whole, None if phrase_bias.at is None else phrase_bias.at + len(whole) - len(ids)
        )
        if not tokens:
            return -math.inf
        wanted = scores[tokens] + phrase_bias.bias
        if phrase_bias.at is not None:
            scores.fill_(-math.inf)
        scores[tokens] = wanted
        return float(all_log_probs[tokens].max())

    def _ban(self, scores: Tensor, row: int, ids: list[int]) -> None:
        """Forbid in place what would write an n-gram again."""
        before = self.before[row // self.beams] if self.before else ()
        whole = torch.tensor([[*before, *self._whole(row, ids)]], device=scores.device)
        if self.no_repeat_ngram_size and whole.shape[1] >= self.no_repeat_ngram_size:
            scores.copy_(NoRepeatNGramLogitsProcessor(self.no_repeat_ngram_size)(whole, scores[None])[0])

    def _block_loops(self, scores: Tensor, ids: list[int]) -> bool:
        """Forbid in place what would close a loop; returns whether it was the likeliest."""
        closing = {run[-1] for run in loop_completions(ids) if has_loop(self.tokenizer.decode(run))}
        if not closing:
            return False
        blocked = int(scores.argmax()) in closing
        scores[sorted(closing)] = -math.inf
        return blocked
