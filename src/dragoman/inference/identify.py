"""Which language is spoken: the one in which what is heard is likeliest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dragoman.data.batching import Mel
from dragoman.inference.decode import Decoder, Request

TEMPERATURE = 0.6
"""Makes probabilities of the log-likelihoods a token of the languages; fitted on the built-in model's validation clips
(docs/translating.md)."""


class Identifier:
    """Of a model's source languages, the likeliest. `batch_size` rows are decoded at a time, one mel's at least."""

    def __init__(self, decoder: Decoder, sources: Sequence[str], batch_size: int) -> None:
        self.decoder, self.sources = decoder, sources
        self.mels_at_once = max(1, batch_size // len(sources))

    def together(self, mels: Sequence[Mel]) -> dict[str, float]:
        """How likely each language is spoken in all of these, the likeliest first; together 1."""
        return self._shares(self.likelihoods(mels).sum(axis=0))

    def each(self, mels: Sequence[Mel]) -> list[tuple[str, float]]:
        """The likeliest language of each mel, and how likely it is."""
        return [next(iter(self._shares(row).items())) for row in self.likelihoods(mels)]

    def likelihoods(self, mels: Sequence[Mel]) -> npt.NDArray[np.float64]:
        """Log-likelihood a token of each mel's transcript in each source language, (mels, sources)."""
        found = np.zeros((len(mels), len(self.sources)))
        order = sorted(range(len(mels)), key=lambda number: mels[number].shape[1])  # neighbours in length share a batch
        for start in range(0, len(order), self.mels_at_once):
            chosen = order[start : start + self.mels_at_once]
            requests = [Request(mels[number], code, ()) for number in chosen for code in self.sources]
            found[chosen] = np.reshape(self.decoder.likelihoods(requests), (len(chosen), len(self.sources)))
        return found

    def _shares(self, likelihoods: npt.NDArray[np.float64]) -> dict[str, float]:
        """Log-likelihoods a token (sources,) -> probabilities, the likeliest first."""
        scaled = (likelihoods - likelihoods.max()) / TEMPERATURE
        shares = (np.exp(scaled) / np.exp(scaled).sum()).tolist()
        return dict(sorted(zip(self.sources, shares, strict=True), key=lambda item: -item[1]))
