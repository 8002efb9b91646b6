"""Which language is spoken: the one in which what is heard is likeliest.

Shapes: G groups of mels, each in one language; L source languages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from dragoman.data.batching import Mel
from dragoman.inference.decoding.decoder import BatchDecoder, DecodeRequest

Numbers = npt.NDArray[np.float64]

CONFIDENT = 0.95
"""Where greedy transcripts make no language so likely, beams look for likelier ones in the two likeliest."""
_WORST = -20.0
"""No transcript counts less a token: one too long for its audio is impossible to CTC, and would outvote all others of
a recording."""


class LanguageIdentifier:
    """Of a model's source languages, the likeliest. `batch_size` rows are decoded at a time, one mel's at least.
    `temperature` makes probabilities of the log-likelihoods a token; 1 is as they are."""

    def __init__(
        self, decoder: BatchDecoder, sources: Sequence[str], batch_size: int, temperature: float = 1.0
    ) -> None:
        self.decoder, self.sources, self.temperature = decoder, sources, temperature
        self.rows_at_once = max(1, batch_size // len(sources)) * len(sources)

    def identify_recording(self, mels: Sequence[Mel]) -> dict[str, float]:
        """How likely each language is spoken in all of these, the likeliest first; together 1."""
        shares = self._shares(self.likelihoods([mels]))[0].tolist()
        return dict(sorted(zip(self.sources, shares, strict=True), key=lambda item: -item[1]))

    def identify_segments(self, mels: Sequence[Mel]) -> list[tuple[str, float]]:
        """The likeliest language of each mel, and how likely it is."""
        shares = self._shares(self.likelihoods([[mel] for mel in mels]))
        return [(self.sources[row.argmax()], float(row.max())) for row in shares]

    def likelihoods(self, groups: Sequence[Sequence[Mel]]) -> Numbers:
        """Log-likelihood a token of each group's transcripts in each source language, summed over its mels, (G, L)."""
        greedy = self._scored(groups, np.ones((len(groups), len(self.sources)), bool), beams=1)
        doubted = self._doubted(greedy) & (self.decoder.beams > 1)
        return np.maximum(greedy, self._scored(groups, doubted, self.decoder.beams))

    def _scored(self, groups: Sequence[Sequence[Mel]], asked: npt.NDArray[np.bool_], beams: int) -> Numbers:
        """`likelihoods` in the languages asked (G, L); minus infinity in others."""
        wanted = [
            (group, language, mel)
            for group, mels in enumerate(groups)
            for mel in mels
            for language in np.flatnonzero(asked[group]).tolist()
        ]
        wanted.sort(key=lambda one: one[2].shape[1])  # neighbours in length share a batch
        found = np.where(asked, 0.0, -np.inf)
        for start in range(0, len(wanted), self.rows_at_once):
            chosen = wanted[start : start + self.rows_at_once]
            requests = [DecodeRequest(mel, self.sources[language], ()) for _, language, mel in chosen]
            for (group, language, _), score in zip(chosen, self.decoder.likelihoods(requests, beams), strict=True):
                found[group, language] += max(score, _WORST)
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

    def language_scores(self, mels: Sequence[Mel], languages: Sequence[str]) -> Tensor:
        """As WhisperDecoder's."""


class WhisperLanguageIdentifier:
    """As Whisper detects a language: by the first token that its decoder writes (Radford et al. 2022, section 2.3),
    among the languages that the model hears."""

    def __init__(self, whisper: LanguageScorer, sources: Sequence[str], batch_size: int) -> None:
        self.whisper, self.sources, self.batch_size = whisper, sources, batch_size

    def identify_recording(self, mels: Sequence[Mel]) -> dict[str, float]:
        """As `LanguageIdentifier.identify_recording`; mels are those of Whisper's decoder."""
        scores = self._scores(mels).sum(0)
        shares = np.exp(scores - np.logaddexp.reduce(scores)).tolist()
        return dict(sorted(zip(self.sources, shares, strict=True), key=lambda item: -item[1]))

    def identify_segments(self, mels: Sequence[Mel]) -> list[tuple[str, float]]:
        """The likeliest language of each mel, and how likely it is."""
        scores = self._scores(mels)
        return [(self.sources[row.argmax()], float(np.exp(row.max()))) for row in scores]

    def _scores(self, mels: Sequence[Mel]) -> Numbers:
        """(U, L) log-probabilities."""
        parts = [mels[at : at + self.batch_size] for at in range(0, len(mels), self.batch_size)]
        scores: Numbers = np.concatenate(
            [self.whisper.language_scores(part, self.sources).double().cpu().numpy() for part in parts]
        )
        return scores
