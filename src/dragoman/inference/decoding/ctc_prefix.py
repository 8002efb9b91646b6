"""Transcripts on which the LLM and the audio tokens agree: joint CTC/attention decoding (Watanabe et al. 2017, section
III-B), for models whose audio tokens were taught by CTC to spell the transcript.

The LLM knows what people write, CTC knows how much was said: what is not in the speech, and what comes twice, has no
audio tokens left. Shapes: B rows (with beams, `beams` neighbours are one request), A audio tokens, K candidates, T
tokens written so far. All is in log-probabilities, in float64: they are summed over whole recordings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor

from dragoman.model.speech_llm import SpeechLLM

CANDIDATES = 32
"""Of the LLM's likeliest tokens so many are looked at; the others are not written."""


class CtcPrefixScorer(LogitsProcessor):
    """One `generate` of transcripts: (1 - weight) x LLM + weight x CTC, token by token.

    audio (R, A, D) and num_audio (R,) of the R requests; `ends` (R, E): tokens that end each transcript, behind which
    CTC has nothing to say; `prefixes`: what each transcript begins with.
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
        self.model, self.weight, self.prefixes, self.beams = model, weight, prefixes, beams
        self.audio = audio.repeat_interleave(beams, 0)
        self.num_audio = num_audio.repeat_interleave(beams, 0)
        self.ends = torch.tensor(ends, device=audio.device).repeat_interleave(beams, 0)  # (B, E)
        self._valid = torch.arange(audio.shape[1], device=audio.device) < self.num_audio[:, None]
        norms = [model.ctc_logits(one[None]).double().logsumexp(-1) for one in audio]
        self._norm = torch.cat(norms).repeat_interleave(beams, 0)  # (B, A)
        blank = torch.tensor([model.blank_id], device=audio.device)
        self._blank = self._log_probs(blank.expand(len(self.audio), 1))[:, 0]  # (B, A)
        self._start()

    def _start(self) -> None:
        """The state of nothing written: `_last` (B,), `_in_piece` and `_in_blank` (B, A + 1), the log-probability of
        all ways to have written the tokens after so many audio tokens, the last of which is of the last token or is
        blank."""
        rows = len(self.audio)
        self._last = torch.full((rows,), -1, device=self.audio.device)
        self._in_piece = self._blank.new_full((rows, self.audio.shape[1] + 1), -math.inf)
        self._in_blank = torch.nn.functional.pad(self._blank.cumsum(1), (1, 0))
        self._score = self._blank.new_zeros(rows)
        self._ended = torch.zeros(rows, dtype=torch.bool, device=self.audio.device)
        self._written = self.ends.new_zeros((rows, 0))
        longest = max(map(len, self.prefixes), default=0)
        for place in range(longest):
            token = self.ends.new_tensor([[*own, *[-1] * longest][place] for own in self.prefixes])
            self._extend(token.repeat_interleave(self.beams))

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """input_ids (B, T), scores (B, V) -> scores (B, V)."""
        self._follow(input_ids)
        log_probs = scores.log_softmax(-1)
        likeliest = log_probs.topk(min(CANDIDATES, scores.shape[1])).indices
        pieces = torch.cat([likeliest, self.ends], 1)  # (B, K)
        ctc = torch.where(self._is_end(pieces), self._whole()[:, None], self._prefix_scores(pieces))
        gained = (ctc - self._score[:, None]).to(scores.dtype).clamp(min=-1e4)
        joint = (1 - self.weight) * log_probs.gather(1, pieces) + self.weight * gained
        joint = torch.where(scores.gather(1, pieces) == -math.inf, -math.inf, joint)
        found = torch.full_like(scores, -math.inf).scatter(1, pieces, joint)
        return torch.where(self._ended[:, None], log_probs, found)

    def _follow(self, input_ids: Tensor) -> None:
        """Bring the state to what was written: each row goes on from the beam that it came from."""
        if not input_ids.shape[1]:
            return
        before = input_ids[:, :-1]
        same = (before[:, None] == self._written[None]).all(-1)  # (B, B)
        request = torch.arange(len(before), device=before.device) // self.beams
        parent = (same & (request[:, None] == request[None])).long().argmax(1)
        for name in ("_last", "_in_piece", "_in_blank", "_score", "_ended"):
            setattr(self, name, getattr(self, name)[parent])
        self._written = input_ids
        self._extend(input_ids[:, -1])

    def _extend(self, tokens: Tensor) -> None:
        """Write one more token (B,) a row; -1 writes nothing."""
        self._ended = self._ended | self._is_end(tokens[:, None])[:, 0]
        skipped = self._ended | (tokens < 0)
        log_probs = self._log_probs(tokens.clamp(min=0)[:, None])[:, 0]
        score = self._prefix_scores(tokens.clamp(min=0)[:, None])[:, 0]
        in_piece = _runs(self._before(tokens), log_probs)
        in_blank = _runs(in_piece[:, :-1], self._blank)
        keep = skipped[:, None]
        self._last = torch.where(skipped, self._last, tokens)
        self._score = torch.where(skipped, self._score, score)
        self._in_piece = torch.where(keep, self._in_piece, in_piece)
        self._in_blank = torch.where(keep, self._in_blank, in_blank)

    def _before(self, tokens: Tensor) -> Tensor:
        """(B,) -> (B, A): what is before each audio token, if the token begins there. A token that comes twice in a row
        wants a blank between."""
        either = torch.logaddexp(self._in_piece, self._in_blank)
        return torch.where((tokens == self._last)[:, None], self._in_blank, either)[:, :-1]

    def _prefix_scores(self, pieces: Tensor) -> Tensor:
        """(B, K) -> (B, K): log-probability of all that begins with what was written and the piece."""
        either = torch.logaddexp(self._in_piece, self._in_blank)[:, None]
        before = torch.where((pieces == self._last[:, None])[..., None], self._in_blank[:, None], either)
        return (before[..., :-1] + self._log_probs(pieces)).logsumexp(-1)

    def _whole(self) -> Tensor:
        """(B,): log-probability that this is all that was said."""
        return torch.logaddexp(self._in_piece, self._in_blank).gather(1, self.num_audio[:, None])[:, 0]

    def _is_end(self, pieces: Tensor) -> Tensor:
        return (pieces[..., None] == self.ends[:, None]).any(-1)

    def _log_probs(self, pieces: Tensor) -> Tensor:
        """(B, K) -> (B, K, A) of each piece at each audio token; minus infinity past a clip's end."""
        blank = pieces.new_tensor([self.model.blank_id])
        unique = pieces.unique()
        unique = torch.cat([blank, unique[unique != self.model.blank_id]])  # blank stands first
        places = torch.zeros(int(unique.max()) + 1, dtype=torch.long, device=pieces.device)
        places[unique] = torch.arange(len(unique), device=pieces.device)
        logits = self.model.ctc_logits(self.audio, unique).double().transpose(1, 2)  # (B, P, A)
        own = logits.gather(1, places[pieces][..., None].expand(-1, -1, logits.shape[-1]))
        return (own - self._norm[:, None]).masked_fill(~self._valid[:, None], -math.inf)


def _runs(entered: Tensor, log_probs: Tensor) -> Tensor:
    """(B, A) what comes in before each audio token, (B, A) of staying at each -> (B, A + 1), all that is in after so
    many: x[t] = (x[t - 1] + entered[t]) * p[t]."""
    # past a clip's end nothing counts, and the sums must stay finite
    stay = torch.nn.functional.pad(log_probs.clamp(min=-1e6).cumsum(1), (1, 0))
    held = stay[:, 1:] + torch.logcumsumexp(entered - stay[:, :-1], 1)
    return torch.nn.functional.pad(held, (1, 0), value=-math.inf)
