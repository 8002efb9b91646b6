"""What goes wrong with translations as a whole: another language, too short or too long, a phrase over and over.

These say how a system fails where BLEU only says that it does. They are shares or ratios of outputs in percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import ClassVar

from dragoman.errors import DataError
from dragoman.evaluation.metrics.base import ScoringPair, Side, require
from dragoman.text.langid import KNOWN, language_of
from dragoman.text.languages import SETS, Language
from dragoman.text.mixing import foreign_segments
from dragoman.text.repetition import has_loop

_AMONG = (frozenset(SETS["mcat-70"]), KNOWN.intersection(SETS["fleurs-102"]), KNOWN)


class OffTarget:
    """The share of outputs that are in another language than the target, in percent; lower is better.

    An output is off target when the identifier takes it neither for the target, nor for a language whose text looks the
    same (Indonesian and Malay; Bosnian, Croatian and Serbian), nor for what it takes the reference for. The last is for
    short sentences and names, in which the identifier errs: it then errs on both. An output without letters (empty, a
    number) is in no language and not off target; `empty` counts it.

    The identifier is py3langid; the likeliest of MCAT's 70 languages counts; where the target is none of them, that of
    the 91 of FLEURS that it knows; else that of all it knows. docs/evaluation.md has its accuracy.
    """

    side: ClassVar[Side] = "translation"

    def __init__(self, language: Language) -> None:
        self._accepted = language.looks_like
        self._among = next(among for among in _AMONG if language.code in among)

    @staticmethod
    def suits(language: Language) -> bool:
        return language.code in KNOWN

    @property
    def signature(self) -> str:
        return f"off-target|id:py3langid|languages:{len(self._among)}|version:{version('py3langid')}"

    def score(self, pairs: Sequence[ScoringPair]) -> float:
        require(pairs)
        return 100.0 * sum(map(self._is_off, pairs)) / len(pairs)

    def _is_off(self, pair: ScoringPair) -> bool:
        if not any(map(str.isalpha, pair.hypothesis)):
            return False
        found = language_of(pair.hypothesis, self._among)
        excused = language_of(pair.reference, self._among) if any(map(str.isalpha, pair.reference)) else ""
        return found not in self._accepted and found != excused


class LanguageMixing:
    """The share of outputs that hold a segment in another language than the target, in percent; lower is better.

    LLM-SRT's Table 16: a translation into Japanese that goes over into Cantonese or English. A segment is a clause, and
    within it what is written in another script; it counts when the identifier holds the target, and all languages whose
    text looks the same, for less likely than 0.01, and the reference does not hold it. `off-target` judges the whole.
    """

    side: ClassVar[Side] = "translation"

    def __init__(self, language: Language) -> None:
        self._code = language.code

    @staticmethod
    def suits(language: Language) -> bool:
        return language.code in KNOWN

    @property
    def signature(self) -> str:
        return f"mixing|id:py3langid|segment:clause+script|version:{version('py3langid')}"

    def score(self, pairs: Sequence[ScoringPair]) -> float:
        require(pairs)
        mixed = (foreign_segments(pair.hypothesis, self._code, pair.reference) for pair in pairs)
        return 100.0 * sum(map(bool, mixed)) / len(pairs)


class Length:
    """Characters of the outputs over characters of the references, both summed, without white space; 100 is as long.

    In characters rather than tokens, so that it is one measure for all scripts.
    """

    side: ClassVar[Side] = "translation"

    def __init__(self, language: Language) -> None: ...

    @staticmethod
    def suits(language: Language) -> bool:
        return True

    @property
    def signature(self) -> str:
        return "length|unit:character|space:no"

    def score(self, pairs: Sequence[ScoringPair]) -> float:
        require(pairs)
        written = sum(_characters(pair.reference) for pair in pairs)
        if not written:
            raise DataError("The references contain no text to compare lengths with; check them.")
        return 100.0 * sum(_characters(pair.hypothesis) for pair in pairs) / written


class Repetition:
    """The share of outputs that hold a loop, in percent; lower is better.

    A loop is a piece of 5 to 200 characters that stands four times or more back to back, case and width of white space
    aside; a shorter unit counts through its multiples. A model that loops goes on to its limit, so four times finds it;
    people hardly ever write so (docs/evaluation.md has the count), and an output is spared when its reference does.
    In characters, because Thai and Japanese have no words to count without a tokenizer of their own.
    """

    side: ClassVar[Side] = "translation"

    def __init__(self, language: Language) -> None: ...

    @staticmethod
    def suits(language: Language) -> bool:
        return True

    @property
    def signature(self) -> str:
        return "repetition|unit:character|piece:5-200|times:4|case:lower"

    def score(self, pairs: Sequence[ScoringPair]) -> float:
        require(pairs)
        return 100.0 * sum(has_loop(pair.hypothesis) and not has_loop(pair.reference) for pair in pairs) / len(pairs)


def _characters(text: str) -> int:
    return sum(map(len, text.split()))
