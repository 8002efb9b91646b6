"""Which language is spoken: the one in which what is heard is likeliest.

Shapes: G groups of clips, each in one language; L source languages.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dragoman.data.features import Features
from dragoman.inference.decoding.decoder import Decoder, DecodeRequest
from dragoman.inference.decoding.whisper_decoder import WhisperDecoder

Numbers = npt.NDArray[np.float64]

CONFIDENT = 0.95
"""Where greedy transcripts make no language so likely, beams look for likelier ones in the two likeliest."""
_WORST = -20.0
"""No transcript counts less a token: one too long for its audio is impossible to CTC, and would outvote all others of
a recording."""


class LanguageIdentifier:
    """Of a model's source languages, the likeliest. `batch_size` rows are decoded at a time, one clip's at least.
    `temperature` makes probabilities of the log-likelihoods a token; 1 is as they are."""

    def __init__(self, decoder: Decoder, sources: Sequence[str], batch_size: int, temperature: float = 1.0) -> None:
        self.decoder, self.sources, self.temperature = decoder, sources, temperature
        self.rows_at_once = max(1, batch_size // len(sources)) * len(sources)

    def identify_recording(self, clips: Sequence[Features]) -> dict[str, float]:
        """How likely each language is spoken in all of these, the likeliest first; together 1."""
        shares = self._shares(self.likelihoods([clips]))[0].tolist()
        return dict(sorted(zip(self.sources, shares, strict=True), key=lambda item: -item[1]))

    def identify_segments(self, clips: Sequence[Features]) -> list[tuple[str, float]]:
        """The likeliest language of each clip, and how likely it is."""
        shares = self._shares(self.likelihoods([[clip] for clip in clips]))
        return [(self.sources[row.argmax()], float(row.max())) for row in shares]

    def likelihoods(self, groups: Sequence[Sequence[Features]]) -> Numbers:
        """Log-likelihood a token of each group's transcripts in each source language, summed over its clips, (G, L)."""
        greedy = self._scored(groups, np.ones((len(groups), len(self.sources)), bool), beams=1)
        doubted = self._doubted(greedy) & (self.decoder.beams > 1)
        return np.maximum(greedy, self._scored(groups, doubted, self.decoder.beams))

    def _scored(self, groups: Sequence[Sequence[Features]], asked: npt.NDArray[np.bool_], beams: int) -> Numbers:
        """`likelihoods` in the languages asked (G, L); minus infinity in others."""
        wanted = [
            (group, language, clip)
            for group, clips in enumerate(groups)
            for clip in clips
            for language in np.flatnonzero(asked[group]).tolist()
        ]
        wanted.sort(key=lambda one: one[2].shape[1])  # neighbours in length share a batch
        found = np.where(asked, 0.0, -np.inf)
        for start in range(0, len(wanted), self.rows_at_once):
            chosen = wanted[start : start + self.rows_at_once]
            requests = [DecodeRequest(clip, self.sources[language], ()) for _, language, clip in chosen]
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


class WhisperLanguageIdentifier:
    """As Whisper tells a language: by the first token that its decoder writes (Radford et al. 2022, section 2.3), among
    the languages that the model hears."""

    def __init__(self, whisper: WhisperDecoder, sources: Sequence[str], batch_size: int) -> None:
        self.whisper, self.sources, self.batch_size = whisper, sources, batch_size

    def identify_recording(self, clips: Sequence[Features]) -> dict[str, float]:
        """As `LanguageIdentifier.together`; the features are the decoder's own."""
        scores = self._scores(clips).sum(0)
        shares = np.exp(scores - np.logaddexp.reduce(scores)).tolist()
        return dict(sorted(zip(self.sources, shares, strict=True), key=lambda item: -item[1]))

    def identify_segments(self, clips: Sequence[Features]) -> list[tuple[str, float]]:
        """The likeliest language of each clip, and how likely it is."""
        scores = self._scores(clips)
        return [(self.sources[row.argmax()], float(np.exp(row.max()))) for row in scores]

    def _scores(self, clips: Sequence[Features]) -> Numbers:
        """(U, L) log-probabilities."""
        parts = [clips[at : at + self.batch_size] for at in range(0, len(clips), self.batch_size)]
        scores: Numbers = np.concatenate(
            [self.whisper.language_scores(part, self.sources).double().cpu().numpy() for part in parts]
        )
        return scores
