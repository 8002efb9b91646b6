"""What decoding does to the LLM's next-token scores: phrases wanted are made likelier, loops are not closed; and how
sure the LLM was of what it wrote.

V tokens, B rows (with beams, `beams` neighbours are one request), T tokens written so far, the prompt not among them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import NoRepeatNGramLogitsProcessor, PreTrainedTokenizerBase

from dragoman.inference.decoding.ctc_prefix import CtcPrefixScorer
from dragoman.inference.decoding.healing import Borders
from dragoman.inference.decoding.phrases import Phrases
from dragoman.text.repetition import TIMES, has_loop, loop_completions


@dataclass(frozen=True)
class PhraseBias:
    """`bias` is added to the scores of the tokens that begin or go on with one of the phrases. With `at`, one is
    written after this many tokens, whatever the LLM thinks of it."""

    phrases: Phrases
    bias: float = 0.0
    at: int | None = None


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


class DecodingConstraints:
    """Of one search. `phrase_biases` has those of each request, `prefixes` the tokens that stood there before it wrote.

    A loop (text/repetition.py) is never closed: the token that would do so is forbidden, and nothing else. So a name
    may come as often as it is said, and no n-gram is banned. With `no_repeat_ngram_size` that is left out, and no n
    tokens are written twice, as transformers has it: 0 bans nothing. `before` is what of the output each request's
    prompt holds, which counts then. With `ctc`, the LLM's scores are first joined with those of the audio tokens; with
    `borders`, these are written first.

    Most steps of most rows ask for nothing, and then nothing is done: rows are looked at one by one only where there
    are phrases, or where a loop may close.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        beams: int,
        phrase_biases: Sequence[Sequence[PhraseBias]],
        prefixes: Sequence[Sequence[int]],
        no_repeat_ngram_size: int | None = None,
        before: Sequence[Sequence[int]] = (),
        ctc: CtcPrefixScorer | None = None,
        borders: Borders | None = None,
    ) -> None:
        self.ctc, self.borders = ctc, borders
        self.tokenizer, self.beams, self.phrase_biases, self.prefixes = tokenizer, beams, phrase_biases, prefixes
        self.no_repeat_ngram_size, self.before = no_repeat_ngram_size, before
        self._end = tokenizer.eos_token_id
        self._is_steered = any(phrase_biases)
        self._blocked: set[tuple[int, int]] = set()
        self._expected: dict[tuple[int, int], tuple[float, ...]] = {}

    def __call__(self, ids: Tensor, scores: Tensor, rows: Sequence[int]) -> Tensor:
        """ids (B, T) written so far, scores (B, V), logits or log-probabilities, and which rows of the search these are
        -> scores (B, V): the same tensor where nothing is asked."""
        scores = scores if self.ctc is None else self.ctc(ids, scores, rows)
        scores = scores if self.borders is None else self.borders(ids, scores, rows)
        constrained = self._steered(ids, scores, rows) if self._is_steered else scores
        if self.no_repeat_ngram_size is None:
            return self._without_loops(ids, constrained, rows)
        return self._without_ngrams(ids, constrained, rows) if self.no_repeat_ngram_size else constrained

    def stats(
        self, request: int, path: Sequence[int], log_probs: Sequence[float], chosen: Sequence[float], start: int = 0
    ) -> DecodeStats:
        """Of what was written for a request from the step `start` on, what ended it included: at each step, the row
        that it was written in, the log-probability of its token, and its score as `__call__` was given them."""
        steps = list(enumerate(path, start))
        expected = [self._expected[step] for step in steps] if self.phrase_biases[request] else []
        losses = tuple(
            tuple(one - phrase for one, phrase in zip(chosen, each, strict=True))
            for each in zip(*expected, strict=True)
        )
        looped = any(step in self._blocked for step in steps) if self._blocked else False
        return DecodeStats(sum(log_probs), len(path), looped, losses)

    def _going(self, ids: Tensor) -> Iterator[int]:
        """Rows that have not ended."""
        yield from (~(ids == self._end).any(1)).nonzero()[:, 0].tolist()

    def _steered(self, ids: Tensor, scores: Tensor, rows: Sequence[int]) -> Tensor:
        constrained, step = scores.clone(), ids.shape[1]
        asked = [at for at in self._going(ids) if self.phrase_biases[rows[at] // self.beams]]
        for at in asked:
            row, written = rows[at], ids[at].tolist()
            self._expected[step, row] = tuple(
                self._apply_bias(constrained[at], scores[at], row, written, one)
                for one in self.phrase_biases[row // self.beams]
            )
        return constrained

    def _without_loops(self, ids: Tensor, scores: Tensor, rows: Sequence[int]) -> Tensor:
        whole = self._with_prefixes(ids, rows)
        if whole.shape[1] < TIMES - 1:
            return scores
        possible = (may_close_loop(whole) & ~(ids == self._end).any(1)).nonzero()[:, 0].tolist()
        constrained = scores
        for at in possible:
            closing = self._closing([*self.prefixes[rows[at] // self.beams], *ids[at].tolist()])
            if closing:
                constrained = scores.clone() if constrained is scores else constrained
                if int(constrained[at].argmax()) in closing:
                    self._blocked.add((ids.shape[1], rows[at]))
                constrained[at, sorted(closing)] = -math.inf
        return constrained

    def _with_prefixes(self, ids: Tensor, rows: Sequence[int]) -> Tensor:
        """(B, P + T): what each row had begun with, on the left -1 where it is less."""
        longest = max(map(len, self.prefixes), default=0)
        if not longest:
            return ids
        begun = [self.prefixes[row // self.beams] for row in rows]
        padded = [[-1] * (longest - len(prefix)) + list(prefix) for prefix in begun]
        return torch.cat([ids.new_tensor(padded), ids], 1)

    def _closing(self, ids: list[int]) -> set[int]:
        """The tokens that would close a loop."""
        return {run[-1] for run in loop_completions(ids) if has_loop(self.tokenizer.decode(run))}

    def _apply_bias(
        self, constrained: Tensor, scores: Tensor, row: int, ids: list[int], phrase_bias: PhraseBias
    ) -> float:
        """Change one row's scores (V,) in place; returns the score of the best of the tokens of the phrases."""
        begun = self.prefixes[row // self.beams]
        at = None if phrase_bias.at is None else phrase_bias.at + len(begun)
        tokens = phrase_bias.phrases.next([*begun, *ids], at)
        if not tokens:
            return -math.inf
        wanted = constrained[tokens] + phrase_bias.bias
        if phrase_bias.at is not None:
            constrained.fill_(-math.inf)
        constrained[tokens] = wanted
        return float(scores[tokens].max())

    def _without_ngrams(self, ids: Tensor, scores: Tensor, rows: Sequence[int]) -> Tensor:
        """Forbid what would write an n-gram again."""
        constrained, size = scores.clone(), int(self.no_repeat_ngram_size or 0)
        ban = NoRepeatNGramLogitsProcessor(size)
        for at in self._going(ids):
            request = rows[at] // self.beams
            before = self.before[request] if self.before else ()
            whole = torch.tensor([[*before, *self.prefixes[request], *ids[at].tolist()]], device=scores.device)
            if whole.shape[1] >= size:
                constrained[at] = ban(whole, constrained[at : at + 1])[0]
        return constrained


def may_close_loop(ids: Tensor) -> Tensor:
    """ids (B, T) -> (B,): false where no token can complete a piece that stands TIMES times at the end, see
    `loop_completions`: for no length of a piece do the last two tokens, and the first that the loop would repeat,
    stand one length before."""
    length = ids.shape[1]
    most = (length + 1) // TIMES
    if length < TIMES - 1 or not most:
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    sizes = torch.arange(most, 0, -1, device=ids.device)
    last = ids[:, length - 1 - most : length - 1] == ids[:, -1:]
    before_last = ids[:, length - 2 - most : length - 2] == ids[:, -2:-1]
    start = length - (TIMES * sizes - 1)
    return (last & before_last & (ids[:, start + sizes] == ids[:, start])).any(1)
