"""Transcripts on which the LLM and the audio tokens agree: joint CTC/attention decoding (Watanabe et al. 2017, section
III-B), for models whose audio tokens were taught by CTC to spell the transcript.

The LLM knows what people write, CTC how much was said: what is not in the speech, or is written a second time, finds no
audio tokens. Shapes: U requests, B rows (with beams, several of a request), A audio tokens, K candidates, T tokens
written. Log-probabilities are in float64: they are summed over a whole clip.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from dragoman.model.speech_llm import SpeechLLM

CANDIDATES = 32
"""This many of the LLM's likeliest tokens are looked at, as in ESPnet's pre-beam; others count as the worst of them."""

_IMPOSSIBLE = -1e4
"""Of what no audio token is left for; finite, so that something is written whatever was begun."""


@dataclass(frozen=True)
class _State:
    """What was written by B rows. `in_piece` and `in_blank` (B, A + 1): the log-probability of all ways to have written
    it after as many audio tokens, the last of which is of the `last` piece (B,) or is blank; `score` (B,): of all that
    begins with it; `has_ended` (B,): CTC has nothing to say about what follows."""

    last: Tensor
    in_piece: Tensor
    in_blank: Tensor
    score: Tensor
    has_ended: Tensor

    def select(self, rows: Tensor) -> _State:
        return _State(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


class CtcPrefixScorer:
    """Of one search of transcripts: (1 - weight) x LLM + weight x CTC, token by token.

    audio (U, A, D), num_audio (U,); `ends` are the tokens that end each request's transcript, as many for each;
    `prefixes` what each transcript begins with.
    """

    def __init__(
        self,
        model: SpeechLLM,
        audio: Tensor,
        num_audio: Tensor,
        weight: float,
        ends: Sequence[Sequence[int]],
        prefixes: Sequence[Sequence[int]],
        beams: int,
    ) -> None:
        self.model, self.audio, self.num_audio, self.weight, self.beams = model, audio, num_audio, weight, beams
        self.ends = torch.tensor(ends, device=audio.device)
        self._is_valid = torch.arange(audio.shape[1], device=audio.device) < num_audio[:, None]
        self._norm = torch.cat([model.ctc_logits(one[None]).double().logsumexp(-1) for one in audio])
        blank = torch.full((len(audio), 1), model.blank_id, device=audio.device)
        self._blank = self._log_probs(blank, torch.arange(len(audio), device=audio.device))[:, 0]
        self._rows = torch.arange(len(audio) * beams, device=audio.device)
        self._written = self.ends.new_zeros((len(self._rows), 0))
        self._state = self._begun(prefixes)

    def __call__(self, ids: Tensor, scores: Tensor, rows: Sequence[int]) -> Tensor:
        """ids (B, T) written so far, scores (B, V), logits or log-probabilities, and which rows of the search these are
        -> scores (B, V), log-probabilities."""
        self._follow(ids, torch.tensor(rows, device=ids.device))
        log_probs, request, state = scores.log_softmax(-1), self._rows // self.beams, self._state
        likeliest = log_probs.topk(min(CANDIDATES, scores.shape[1])).indices
        pieces = torch.cat([likeliest, self.ends[request]], 1)
        ctc = torch.where(self._is_end(pieces, request), self._whole()[:, None], self._prefix_scores(pieces, state))
        gained = (ctc - state.score[:, None]).nan_to_num(nan=_IMPOSSIBLE, neginf=_IMPOSSIBLE).to(scores.dtype)
        joint = ((1 - self.weight) * log_probs + self.weight * gained.min(1, keepdim=True).values).scatter(
            1, pieces, (1 - self.weight) * log_probs.gather(1, pieces) + self.weight * gained
        )
        return torch.where(state.has_ended[:, None], log_probs, joint)

    def _begun(self, prefixes: Sequence[Sequence[int]]) -> _State:
        size, device = len(self._rows), self.audio.device
        blank = self._blank.repeat_interleave(self.beams, 0)
        state = _State(
            last=torch.full((size,), -1, device=device),
            in_piece=blank.new_full((size, blank.shape[1] + 1), -math.inf),
            in_blank=pad(blank.cumsum(1), (1, 0)),
            score=blank.new_zeros(size),
            has_ended=torch.zeros(size, dtype=torch.bool, device=device),
        )
        longest = max(map(len, prefixes), default=0)
        padded = self.ends.new_tensor([[*own, *[-1] * (longest - len(own))] for own in prefixes])
        for tokens in padded.repeat_interleave(self.beams, 0).T:
            state = self._extended(state, tokens)
        return state

    def _follow(self, ids: Tensor, rows: Tensor) -> None:
        """Bring the state to what was written: each row goes on from the one that it came from."""
        if not ids.shape[1]:
            return
        same = (ids[:, None, :-1] == self._written[None]).all(-1)
        same &= rows[:, None] // self.beams == self._rows[None] // self.beams
        self._rows, self._written = rows, ids
        self._state = self._extended(self._state.select(same.long().argmax(1)), ids[:, -1])

    def _extended(self, state: _State, tokens: Tensor) -> _State:
        """With one more token (B,); -1 is none."""
        request = self._rows // self.beams
        has_ended = state.has_ended | self._is_end(tokens[:, None], request)[:, 0]
        pieces = tokens.clamp(min=0)[:, None]
        log_probs = self._log_probs(pieces, request)[:, 0]
        in_piece = _stay(self._before(pieces, state)[:, 0], log_probs)
        in_blank = _stay(in_piece[:, :-1], self._blank[request])
        score = self._prefix_scores(pieces, state)[:, 0]
        is_kept = has_ended | (tokens < 0)
        return _State(
            torch.where(is_kept, state.last, tokens),
            torch.where(is_kept[:, None], state.in_piece, in_piece),
            torch.where(is_kept[:, None], state.in_blank, in_blank),
            torch.where(is_kept, state.score, score),
            has_ended,
        )

    def _before(self, pieces: Tensor, state: _State) -> Tensor:
        """(B, K) -> (B, K, A): what was written before each audio token, for a piece that begins there. One that comes
        twice in a row wants a blank between."""
        either = torch.logaddexp(state.in_piece, state.in_blank)[:, None, :-1]
        is_again = (pieces == state.last[:, None])[..., None]
        return torch.where(is_again, state.in_blank[:, None, :-1], either)

    def _prefix_scores(self, pieces: Tensor, state: _State) -> Tensor:
        """(B, K) -> (B, K): log-probability of all that begins with what was written and the piece."""
        return (self._before(pieces, state) + self._log_probs(pieces, self._rows // self.beams)).logsumexp(-1)

    def _whole(self) -> Tensor:
        """(B,): log-probability that what was written is all that was said."""
        at_end = self.num_audio[self._rows // self.beams][:, None]
        return torch.logaddexp(self._state.in_piece, self._state.in_blank).gather(1, at_end)[:, 0]

    def _is_end(self, pieces: Tensor, request: Tensor) -> Tensor:
        return (pieces[..., None] == self.ends[request][:, None]).any(-1)

    def _log_probs(self, pieces: Tensor, request: Tensor) -> Tensor:
        """(B, K) pieces of requests (B,) -> (B, K, A) of each piece at each audio token; -inf past the end."""
        blank = pieces.new_tensor([self.model.blank_id])
        others: Tensor = torch.unique(pieces)
        unique = torch.cat([blank, others[others != blank]])  # ctc_logits wants the blank first
        place = torch.zeros(int(unique.max()) + 1, dtype=torch.long, device=pieces.device)
        place[unique] = torch.arange(len(unique), device=pieces.device)
        logits = self.model.ctc_logits(self.audio, unique).double().transpose(1, 2)  # (U, pieces, A)
        log_probs = (logits - self._norm[:, None]).masked_fill(~self._is_valid[:, None], -math.inf)
        return log_probs[request[:, None], place[pieces]]


def _stay(entered: Tensor, log_probs: Tensor) -> Tensor:
    """What enters at each audio token (B, A) and stays with these log-probabilities (B, A) -> what is in after each
    (B, A + 1): x[t] = (x[t - 1] + entered[t]) p[t]."""
    staying = pad(log_probs.clamp(min=-1e6).cumsum(1), (1, 0))  # past the end nothing counts, but sums stay finite
    found = staying[:, 1:] + torch.logcumsumexp(entered - staying[:, :-1], 1)
    return pad(found, (1, 0), value=-math.inf)
