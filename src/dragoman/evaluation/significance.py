"""Paired bootstrap and approximate randomisation: is one system better, or was it the choice of utterances? No torch.

Both tests are sacreBLEU's (Koehn 2004; Riezler and Maxwell 2005), draw by draw, so that a p-value here is the one its
command line prints. Three things are added. The statistics of the sentences are counted once for both tests. The mean
over directions is tested too: all directions of one source language are drawn with the same utterances, because
translations of the same speech go wrong together. And no p-value is below 2^(1-k) where the systems differ in k
sentences: that share of the ways to exchange them is as extreme as the truth. sacreBLEU counts only those that are more
extreme, and finds a system significantly better than itself (k = 0) or by a single sentence.

Legend: N sentences of a direction, U utterances of its source language, K counts of a sentence, R trials.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dragoman.errors import needs_extra
from dragoman.evaluation.metrics import METRICS
from dragoman.evaluation.metrics.error_rates import CER, WER
from dragoman.evaluation.metrics.overlap import BLEU, ChrF
from dragoman.text.languages import Language

with needs_extra("Scoring", "evaluate"):
    import jiwer
    from sacrebleu.metrics.base import Metric as SacreMetric
    from sacrebleu.metrics.base import Score as SacreScore
    from sacrebleu.significance import _compute_p_value

Array = NDArray[Any]

RESAMPLES = 1000
TRIALS = 10000
SEED = 12345
"""SacreBLEU's defaults."""
ALPHA = 0.05

_AT_ONCE = 2000  # trials that are made numbers of 8 bytes, to be multiplied


def signatures() -> dict[str, str]:
    """What each test is, in sacreBLEU's style."""
    versions = f"seed:{SEED}|least:2^(1-k)|sacrebleu:{version('sacrebleu')}|numpy:{version('numpy')}"
    return {
        "bootstrap": f"paired-bootstrap|bs:{RESAMPLES}|{versions}",
        "randomisation": f"approximate-randomisation|ar:{TRIALS}|{versions}",
    }


class ErrorRate(SacreMetric):
    """Edits over reference tokens in percent, as a metric of sacreBLEU's: K = 2, edits and reference tokens.

    `tokens` normalises a text and puts spaces between its tokens. Where no reference has tokens it is 0.
    """

    def __init__(self, tokens: Callable[[str], str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tokens = tokens

    def _preprocess_segment(self, sent: str) -> str:
        return self._tokens(sent)

    def _extract_reference_info(self, refs: Sequence[str]) -> dict[str, Any]:
        return {"reference": refs[0]}

    def _compute_segment_statistics(self, hypothesis: str, ref_kwargs: dict[str, Any]) -> list[int]:
        found = jiwer.process_words(ref_kwargs["reference"], hypothesis)
        wrong = found.substitutions + found.deletions
        return [wrong + found.insertions, found.hits + wrong]

    def _aggregate_and_compute(self, stats: list[list[Any]]) -> SacreScore:
        return self._compute_score_from_stats(np.sum(stats, axis=0))

    def _compute_score_from_stats(self, stats: Sequence[Any]) -> SacreScore:
        edits, tokens = stats
        return SacreScore("error rate", float(100.0 * edits / tokens) if tokens else 0.0)


def _decomposed(name: str, language: Language) -> SacreMetric:
    """With the settings of the metric itself, which are said once."""
    match METRICS[name](language):
        case BLEU(_bleu=metric) | ChrF(_chrf=metric):
            return metric
        case WER(_normalise=words):
            return ErrorRate(lambda text: words(text).strip())
        case CER(_normalise=characters):
            return ErrorRate(lambda text: " ".join(characters(text)))
    raise TypeError(name)


DECOMPOSED: dict[str, Callable[[Language], SacreMetric]] = {
    name: partial(_decomposed, name) for name, kind in METRICS.items() if issubclass(kind, (BLEU, ChrF, WER, CER))
}
"""Of METRICS, those that are a function of sums over sentences, in sacreBLEU's form; called with a language."""


def lower_is_better(name: str) -> bool:
    return issubclass(METRICS[name], (WER, CER))


@dataclass(frozen=True)
class PairedCounts:
    """Two systems' counts on one direction, and which of its source's utterances the sentences are."""

    metric: SacreMetric
    first: Array
    """(N, K)"""
    second: Array
    """(N, K)"""
    utterances: Array
    """(N,) of U, rising"""
    num_utterances: int
    """U"""


@dataclass(frozen=True)
class Differences:
    """What the second system has more than the first: in truth, in each resample and in each trial."""

    observed: float
    bootstrap: Array
    """(RESAMPLES,)"""
    randomisation: Array
    """(TRIALS,)"""
    unlike: int
    """In how many sentences the systems differ."""

    def __add__(self, other: Differences) -> Differences:
        return Differences(
            self.observed + other.observed,
            self.bootstrap + other.bootstrap,
            self.randomisation + other.randomisation,
            max(self.unlike, other.unlike),
        )

    def __truediv__(self, number: int) -> Differences:
        return Differences(self.observed / number, self.bootstrap / number, self.randomisation / number, self.unlike)

    def p_values(self) -> dict[str, float]:
        """Of both tests, two-sided."""
        centred = np.abs(self.bootstrap) - np.abs(self.bootstrap).mean()
        statistics = {"bootstrap": centred, "randomisation": np.abs(self.randomisation)}
        least = min(1.0, 2.0 ** (1 - self.unlike))
        return {
            name: max(least, float(_compute_p_value(statistic, abs(self.observed))))
            for name, statistic in statistics.items()
        }


def counts(metric: SacreMetric, hypotheses: Sequence[str], references: Sequence[str]) -> Array:
    """The sufficient statistics of each sentence, (N, K)."""
    return np.array(metric._extract_corpus_statistics(hypotheses, [references]), dtype=np.float64)


def value(metric: SacreMetric, stats: Array) -> float:
    """The corpus score of sentences' counts, (N, K)."""
    return float(_scores(metric, stats.sum(0)[None].tolist())[0])


def resampled_scores(metric: SacreMetric, stats: Array, utterances: Array, num_utterances: int) -> Array:
    """The corpus score of each resample, (RESAMPLES,): counts (N, K) of sentences of `utterances` (N,), of which
    `num_utterances` are drawn with replacement, the same ones for every system."""
    weights = _resamples(num_utterances)[:, utterances]
    # 32 bits, as sacreBLEU's, or a p-value near a tie may differ by one resample
    return _scores(metric, (weights @ stats).astype(np.float32))


def differences(pairing: PairedCounts) -> tuple[Differences, Differences]:
    """When the direction's own sentences are drawn, which is sacreBLEU's test, and when the utterances of its source
    language are, for the mean over directions; the same where the direction has all of them."""
    size = len(pairing.first)
    own = _draw(pairing, np.arange(size), size)
    return own, own if size == pairing.num_utterances else _draw(pairing, pairing.utterances, pairing.num_utterances)


def _draw(pairing: PairedCounts, rows: Array, num_utterances: int) -> Differences:
    metric, first, second = pairing.metric, pairing.first, pairing.second
    resampled = [resampled_scores(metric, stats, rows, num_utterances) for stats in (first, second)]
    shuffled = []
    for start in range(0, TRIALS, _AT_ONCE):
        moved = _flips(num_utterances)[start : start + _AT_ONCE, rows] @ (second - first)  # (R, K)
        one, other = first.sum(0) + moved, second.sum(0) - moved
        shuffled.append(_scores(metric, other.tolist()) - _scores(metric, one.tolist()))
    observed = value(metric, second) - value(metric, first)
    unlike = int((first != second).any(1).sum())
    return Differences(observed, resampled[1] - resampled[0], np.concatenate(shuffled), unlike)


def _scores(metric: SacreMetric, sums: Any) -> Array:
    return np.array([metric._compute_score_from_stats(row).score for row in sums], dtype=np.float64)


@lru_cache(maxsize=2)
def _resamples(count: int) -> Array:
    """How often each of `count` sentences is in each resample, (R, count)."""
    drawn = np.random.default_rng(SEED).choice(count, size=(RESAMPLES, count), replace=True)
    return np.stack([np.bincount(row, minlength=count) for row in drawn]).astype(np.int32)


@lru_cache(maxsize=2)
def _flips(count: int) -> Array:
    """Which of `count` sentences change sides in each trial, (R, count)."""
    return np.random.default_rng(SEED).integers(2, size=(TRIALS, count), dtype=bool)
