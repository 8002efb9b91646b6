"""What a metric is: made for one language, it scores pairs of hypothesis and reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from dragoman.errors import DataError
from dragoman.text.languages import Language

Side = Literal["transcript", "translation"]


@dataclass(frozen=True, slots=True)
class ScoringPair:
    """One row to score: what a system wrote, and what a person wrote for the same piece of speech."""

    hypothesis: str
    reference: str
    source: str = ""
    """The reference transcript of what was translated, where it is known; a transcript has no source."""


class Score(BaseModel):
    """One number of a score file, with what it takes to compute it again."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    metric: str
    direction: str
    """`eng-deu` for a translation, `eng` for a transcript, `all` for the mean or the sum of those."""
    value: float
    count: int
    """How many hypotheses went into it."""
    signature: str


class Metric(Protocol):
    """What an entry of METRICS offers; it is called with the language of the texts, as they are written."""

    side: ClassVar[Side]
    """Which half of a hypothesis the metric is about."""

    def __init__(self, language: Language) -> None: ...

    @staticmethod
    def suits(language: Language) -> bool:
        """Whether the metric means something for this language."""

    @property
    def signature(self) -> str:
        """Name, settings and versions, in sacreBLEU's style."""

    def score(self, pairs: Sequence[ScoringPair]) -> float:
        """The corpus score; not a mean of sentence scores.

        Raises DataError when there is nothing to compare.
        """


def require(pairs: Sequence[ScoringPair]) -> None:
    """Raises DataError when there are no pairs."""
    if not pairs:
        raise DataError("There is nothing to score; the hypotheses are empty.")
