"""Corpus metrics, each with the signature that makes its number reproducible. No torch.

A metric is made for one language, the one its texts are in (beyond the 102, as `scripts.with_script` finds it written),
says whether it suits that language, and scores pairs of hypothesis and reference. Values are on the scale of 0 to 100,
except that error rates and lengths may exceed it.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from dragoman.errors import DataError
from dragoman.evaluation.metrics.base import Metric, Score, ScoringPair, Side
from dragoman.evaluation.metrics.behaviour import LanguageMixing, Length, OffTarget, Repetition
from dragoman.evaluation.metrics.error_rates import CER, WER, CERMarks, WEREnglish, WERMarks
from dragoman.evaluation.metrics.overlap import (
    BLEU,
    BLEU13a,
    CharBLEU,
    ChineseBLEU,
    ChrF,
    ChrFWords,
    JapaneseBLEU,
    KoreanBLEU,
    LowerBLEU,
    SpBLEU,
)

__all__ = ["DEFAULT", "METRICS", "Metric", "Score", "ScoringPair", "Side", "choose"]

METRICS: dict[str, type[Metric]] = {
    "WER": WER,
    "WER-marks": WERMarks,
    "WER-english": WEREnglish,
    "CER": CER,
    "CER-marks": CERMarks,
    "BLEU": BLEU,
    "BLEU-13a": BLEU13a,
    "BLEU-char": CharBLEU,
    "BLEU-zh": ChineseBLEU,
    "BLEU-ja-mecab": JapaneseBLEU,
    "BLEU-ko-mecab": KoreanBLEU,
    "BLEU-lower": LowerBLEU,
    "spBLEU": SpBLEU,
    "chrF": ChrF,
    "chrF++": ChrFWords,
    "off-target": OffTarget,
    "mixing": LanguageMixing,
    "length": Length,
    "repetition": Repetition,
}
"""A new metric is a class with what Metric asks for and one entry here."""

DEFAULT = ("WER", "WER-marks", "CER", "CER-marks", "BLEU", "chrF", "chrF++", "off-target", "length", "repetition")
"""What is scored when nothing is chosen: one variant of each, none of which needs a download."""


def choose(names: Sequence[str] = ()) -> dict[str, type[Metric]]:
    """The metrics of these names in any case, or the default ones. Raises DataError with the nearest names."""
    by_name = {name.lower(): name for name in METRICS}
    for name in names:
        if name.lower() not in by_name:
            close = [by_name[found] for found in difflib.get_close_matches(name.lower(), by_name, n=3, cutoff=0.5)]
            advice = f"did you mean {' or '.join(close)}?" if close else f"use {', '.join(METRICS)}."
            raise DataError(f"Unknown metric {name!r}; {advice}")
    return {known: METRICS[known] for known in (by_name[name.lower()] for name in names or DEFAULT)}
