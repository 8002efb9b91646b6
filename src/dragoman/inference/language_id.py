"""Which language is spoken: the one in which what is heard is likeliest.

Shapes: G groups of clips, each in one language; L source languages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from dragoman.data.features import Features
from dragoman.inference.decoding.decoder import BatchDecoder, DecodeRequest

Numbers = npt.NDArray[np.float64]

CONFIDENT = 0.95
"""Where greedy transcripts make no language so likely, beams look for likelier ones in the two likeliest."""
_WORST = -20.0
"""No transcript counts less a token: one too long for its audio is impossible to CTC, and would outvote all others of
a recording."""


class LanguageIdentifier:
    """Of a model's source languages, the likeliest. `batch_size` rows are decoded at a time, one clip's at least.
    `temperature` makes probabilities of the log-likelihoods a token; 1 is as they are."""

    def __init__(
        self, decoder: BatchDecoder, sources: Sequence[str], batch_size: int, temperature: float = 1.0
    ) -> None:
        self.decoder, self.sources, self.temperature = decoder, sources, temperature
        self.rows_at_once = max(1, batch_size // len(sources)) * len(sources)

    def identify_recording(self, clips: Sequence[Features]) -> dict[str, float]:
        """How likely each language is spoken in all of these, the likeliest first; together 1."""
        return self._sorted(self._shares(self.likelihoods([clips]))[0])

    def identify_segments(self, clips: Sequence[Features]) -> list[tuple[str, float]]:
        """The likeliest language of each clip, and how likely it is."""
        return self._likeliest(self._shares(self.likelihoods([[clip] for clip in clips])))

    def identify_both(self, clips: Sequence[Features]) -> tuple[dict[str, float], list[tuple[str, float]]]:
        """What `identify_recording` and `identify_segments` say, for the work of one of them."""
        shares = self._shares(self.likelihoods([clips, *([clip] for clip in clips)]))
        return self._sorted(shares[0]), self._likeliest(shares[1:])

    def _sorted(self, shares: Numbers) -> dict[str, float]:
        return dict(sorted(zip(self.sources, shares.tolist(), strict=True), key=lambda item: -item[1]))

    def _likeliest(self, shares: Numbers) -> list[tuple[str, float]]:
        return [(self.sources[row.argmax()], float(row.max())) for row in shares]

    def likelihoods(self, groups: Sequence[Sequence[Features]]) -> Numbers:
        """Log-likelihood a token of each group's transcripts in each source language, summed over its clips, (G, L)."""
        greedy = self._scored(groups, np.ones((len(groups), len(self.sources)), bool), beams=1)
        doubted = self._doubted(greedy) & (self.decoder.beams > 1)
        return np.maximum(greedy, self._scored(groups, doubted, self.decoder.beams))

    def _scored(self, groups: Sequence[Sequence[Features]], asked: npt.NDArray[np.bool_], beams: int) -> Numbers:
        """`likelihoods` in the languages asked (G, L); minus infinity in others. A clip that is in several groups is
        decoded once."""
        wanted = {
            (id(clip), language): clip
            for group, clips in enumerate(groups)
            for clip in clips
            for language in np.flatnonzero(asked[group]).tolist()
        }
        order = sorted(wanted, key=lambda key: wanted[key].shape[1])  # neighbours in length share a batch
        scores: dict[tuple[int, int], float] = {}
        for start in range(0, len(order), self.rows_at_once):
            chosen = order[start : start + self.rows_at_once]
            requests = [DecodeRequest(wanted[key], self.sources[key[1]], ()) for key in chosen]
            scores.update(zip(chosen, self.decoder.likelihoods(requests, beams), strict=True))
        found = np.where(asked, 0.0, -np.inf)
        for group, language in np.argwhere(asked).tolist():
            found[group, language] = sum(max(scores[id(clip), language], _WORST) for clip in groups[group])
        return found

    def _doubted(self, likelihoods: Numbers) -> npt.NDArray[np.bool_]:
        """The two likeliest languages of each group where none is sure, (G, L)."""
        second = np.sort(likelihoods, axis=1)[:, -2:][:, :1]
        unsure = self._shares(likelihoods).max(axis=1, keepdims=True) < CONFIDENT
        doubted: npt.NDArray[np.bool_] = unsure & (likelihoods >= second)
        return doubted

    def _shares(self, likelihoods: Numbers) -> Numbers:
        """Log-likelihoods a token (G, L) -> probabilities (G, L)."""
        scaled = np.exp((likelihoods - likelihoods.max(axis=1, keepdims=True)) / self.temperature)
        shares: Numbers = scaled / scaled.sum(axis=1, keepdims=True)
        return shares


class LanguageScorer(Protocol):
    """A WhisperDecoder, as far as it is asked for languages."""

    def language_scores(self, mels: Sequence[Features], languages: Sequence[str]) -> Tensor:
        """As WhisperDecoder's."""


class WhisperLanguageIdentifier:
    """As Whisper detects a language: by the first token that its decoder writes (Radford et al. 2022, section 2.3),
    among the languages that the model hears."""

    def __init__(self, whisper: LanguageScorer, sources: Sequence[str], batch_size: int) -> None:
        self.whisper, self.sources, self.batch_size = whisper, sources, batch_size

    def identify_recording(self, clips: Sequence[Features]) -> dict[str, float]:
        """As `LanguageIdentifier.identify_recording`; clips are those of Whisper's decoder."""
        return self.identify_both(clips)[0]

    def identify_segments(self, clips: Sequence[Features]) -> list[tuple[str, float]]:
        """The likeliest language of each clip, and how likely it is."""
        return self.identify_both(clips)[1]

    def identify_both(self, clips: Sequence[Features]) -> tuple[dict[str, float], list[tuple[str, float]]]:
        """What `identify_recording` and `identify_segments` say, for the work of one of them."""
        scores = self._scores(clips)
        whole = scores.sum(0)
        shares = np.exp(whole - np.logaddexp.reduce(whole)).tolist()
        together = dict(sorted(zip(self.sources, shares, strict=True), key=lambda item: -item[1]))
        return together, [(self.sources[row.argmax()], float(np.exp(row.max()))) for row in scores]

    def _scores(self, clips: Sequence[Features]) -> Numbers:
        """(U, L) log-probabilities."""
        parts = [clips[at : at + self.batch_size] for at in range(0, len(clips), self.batch_size)]
        scores: Numbers = np.concatenate(
            [self.whisper.language_scores(part, self.sources).double().cpu().numpy() for part in parts]
        )
        return scores
