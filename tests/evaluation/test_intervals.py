"""Intervals of scores: the draws are sacreBLEU's, the same ones for every system."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sacrebleu.metrics import CHRF
from sacrebleu.significance import PairedTest

from dragoman.errors import DataError
from dragoman.evaluation import significance
from dragoman.evaluation.intervals import Estimate, estimates, mean
from dragoman.evaluation.metrics import METRICS
from dragoman.evaluation.score import score
from dragoman.records import Hypothesis, read_hypotheses

FOLDER = Path(__file__).parent
SPEECH = read_hypotheses(FOLDER / "speech.jsonl")
TEXT = read_hypotheses(FOLDER / "text.jsonl")


@pytest.fixture(autouse=True)
def drawn_anew() -> None:
    significance._resamples.cache_clear()


@pytest.mark.parametrize("metric", ["WER", "chrF", "BLEU"])
def test_the_values_are_those_of_score_in_any_order_of_rows(metric: str) -> None:
    scored = {row.direction: row for row in score(SPEECH, {metric: METRICS[metric]}) if row.metric == metric}
    found = estimates(SPEECH[::-1], metric)
    assert found.keys() == scored.keys()
    for direction, estimate in found.items():
        assert estimate.value == pytest.approx(scored[direction].value, abs=1e-9)
        assert estimate.count == scored[direction].count
        low, high = estimate.interval
        assert low < estimate.value < high


def test_the_interval_is_sacrebleus() -> None:
    rows = sorted((row for row in SPEECH if (row.source, row.target) == ("eng", "fra")), key=lambda row: row.id)
    systems = [("speech", [row.translation for row in rows])]
    test = PairedTest([*systems, ("again", systems[0][1])], {"chrF": CHRF()}, [[str(r.reference) for r in rows]], "bs")
    (theirs, *_) = test()[1]["chrF2"]
    ours = estimates(rows, "chrF")["eng-fra"]
    assert ours.value == pytest.approx(theirs.score)
    assert ours.resampled.mean() == pytest.approx(theirs.mean)
    assert np.diff(ours.interval)[0] / 2 == pytest.approx(theirs.ci, rel=0.01)  # it does not interpolate


def test_a_system_keeps_all_of_itself_and_quotients_are_surer_than_their_parts() -> None:
    speech, text = estimates(SPEECH, "chrF")["all"], estimates(TEXT, "chrF")["all"]
    assert (speech / speech).interval == (1.0, 1.0) and (speech - speech).interval == (0.0, 0.0)
    kept = speech / text
    assert kept.value == pytest.approx(speech.value / text.value) and 0.5 < kept.value < 1.0
    shuffled = Estimate(text.value, np.random.default_rng(1).permutation(text.resampled), text.count)
    assert np.diff(kept.interval) < np.diff((speech / shuffled).interval)


def test_the_mean_of_runs_draws_the_same_utterances_for_each() -> None:
    both = mean([estimates(SPEECH, "WER")["eng"], estimates(SPEECH, "WER")["eng"]])
    assert both.interval == estimates(SPEECH, "WER")["eng"].interval


def test_what_has_no_interval_is_said() -> None:
    with pytest.raises(DataError, match="off-target has no interval"):
        estimates(SPEECH, "off-target")
    with pytest.raises(DataError, match="'a' in deu has no reference"):
        estimates([Hypothesis(id="a", source="eng", target="deu", translation="x")], "chrF")
    assert estimates([Hypothesis(id="a", source="eng", target="eng", reference_transcript="x")], "WER") == {}
