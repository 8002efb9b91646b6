"""How sure a score is: 95 % intervals by the bootstrap (Koehn 2004). No torch.

Every estimate keeps the scores of its resamples. The same utterances are drawn for each system, so that quotients and
differences of two systems have intervals of their own, which are narrower than the two systems' would suggest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from dragoman.errors import DataError, needs_extra
from dragoman.evaluation.metrics import METRICS
from dragoman.evaluation.score import ALL, with_speech
from dragoman.evaluation.significance import DECOMPOSED, Array, counts, resampled_scores, value
from dragoman.records import Hypothesis
from dragoman.text.languages import find
from dragoman.text.scripts import with_script

with needs_extra("Scoring", "evaluate"):
    from sacrebleu.metrics.base import Metric as SacreMetric


@dataclass(frozen=True)
class Estimate:
    """A number and what it is in each resample of the utterances."""

    value: float
    resampled: Array
    """(RESAMPLES,)"""
    count: int
    """Sentences."""

    @property
    def interval(self) -> tuple[float, float]:
        """The middle 95 % of the resamples."""
        low, high = np.percentile(self.resampled, (2.5, 97.5))
        return float(low), float(high)

    def __sub__(self, other: Estimate) -> Estimate:
        return Estimate(self.value - other.value, self.resampled - other.resampled, self.count)

    def __truediv__(self, other: Estimate) -> Estimate:
        with np.errstate(divide="ignore", invalid="ignore"):
            quotient = np.divide(self.value, other.value)
            return Estimate(float(quotient), self.resampled / other.resampled, self.count)


@dataclass(frozen=True)
class _Text:
    utterance: str
    hypothesis: str
    reference: str


def mean(estimates: Sequence[Estimate]) -> Estimate:
    """Of several, each counting once: directions, or training runs that differ in their seed."""
    together = np.mean([one.resampled for one in estimates], axis=0)
    return Estimate(fmean(one.value for one in estimates), together, sum(one.count for one in estimates))


def estimates(hypotheses: Iterable[Hypothesis], metric: str) -> dict[str, Estimate]:
    """A metric by direction (a source language alone for word errors), and under `all` the mean over them, as `score`
    gives it; directions that the metric does not suit are left out, and nothing is there where none is left.

    Raises DataError for a metric that is no function of sums over sentences, and for a reference that is missing.
    """
    if metric not in DECOMPOSED:
        raise DataError(f"{metric} has no interval: it is not a function of sums over sentences.")
    rows = sorted(hypotheses, key=lambda row: (row.id, row.target))
    directions = _transcripts(rows) if METRICS[metric].side == "transcript" else _translations(rows)
    numbers = _numbers(directions)
    found: dict[str, Estimate] = {}
    for direction, texts in sorted(with_speech(directions).items()):
        language = with_script(find(direction.split("-")[-1]), (text.reference for text in texts))
        if METRICS[metric].suits(language):
            found[direction] = _estimate(DECOMPOSED[metric](language), texts, numbers[direction.split("-")[0]])
    return {**found, ALL: mean(list(found.values()))} if found else {}


def _transcripts(rows: Sequence[Hypothesis]) -> dict[str, list[_Text]]:
    """One per utterance, that of its first row, by source language; none where the system writes none."""
    first = {row.id: row for row in reversed(rows)}
    found: dict[str, list[_Text]] = defaultdict(list)
    if any(row.transcript for row in rows):
        for id in sorted(first):
            row = first[id]
            found[row.source].append(_Text(id, row.transcript, _required(row.reference_transcript, row)))
    return found


def _translations(rows: Sequence[Hypothesis]) -> dict[str, list[_Text]]:
    found: dict[str, list[_Text]] = defaultdict(list)
    for row in rows:
        if row.target != row.source:
            found[f"{row.source}-{row.target}"].append(_Text(row.id, row.translation, _required(row.reference, row)))
    return found


def _required(reference: str | None, row: Hypothesis) -> str:
    if reference is None:
        raise DataError(f"Hypothesis {row.id!r} in {row.target} has no reference; give it one, or take the row out.")
    return reference


def _numbers(directions: Mapping[str, Sequence[_Text]]) -> dict[str, dict[str, int]]:
    """Source language -> utterance -> its number among those of the language, in the order of the ids."""
    ids: dict[str, set[str]] = defaultdict(set)
    for direction, texts in directions.items():
        ids[direction.split("-")[0]].update(text.utterance for text in texts)
    return {source: {id: number for number, id in enumerate(sorted(found))} for source, found in ids.items()}


def _estimate(metric: SacreMetric, texts: Sequence[_Text], numbers: Mapping[str, int]) -> Estimate:
    stats = counts(metric, [text.hypothesis for text in texts], [text.reference for text in texts])
    utterances = np.array([numbers[text.utterance] for text in texts])
    return Estimate(value(metric, stats), resampled_scores(metric, stats, utterances, len(numbers)), len(texts))
