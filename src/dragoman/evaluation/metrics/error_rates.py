"""Word and character error rates of transcripts: edits over the reference's length, both summed over the corpus.

Lower is better; insertions may carry them beyond 100. WER and CER normalise as Whisper's BasicTextNormalizer does,
English too: it is the papers' convention, and one rule for all languages. It comes
from the package whisper-normalizer, because the same class in transformers costs the import of transformers. It puts a
space in place of every mark, so a Hindi or Tamil word falls apart at its vowel signs, and an error in one of them is
none. WER-marks and CER-marks keep the marks, for the languages whose scripts need them. WER-english takes Whisper's
normaliser for English instead (numbers, contractions, British spelling), as public English tables do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from typing import ClassVar

from dragoman.errors import DataError, needs_extra
from dragoman.evaluation.metrics.base import ScoringPair, Side, require
from dragoman.text.languages import Language

with needs_extra("Scoring", "evaluate"):
    import jiwer
    from whisper_normalizer.basic import BasicTextNormalizer

Normaliser = Callable[[str], str]


def _english() -> Normaliser:
    from whisper_normalizer.english import EnglishTextNormalizer

    normaliser: Normaliser = EnglishTextNormalizer()
    return normaliser


_NORMALISERS: dict[str, Callable[[], Normaliser]] = {
    "whisper-basic": BasicTextNormalizer,
    "whisper-basic-marks": lambda: BasicTextNormalizer(preserve_marks=True),
    "whisper-english": _english,
}


@cache
def _normaliser(name: str) -> Normaliser:
    return _NORMALISERS[name]()


class WER:
    """Word error rate in percent."""

    side: ClassVar[Side] = "transcript"
    name: ClassVar[str] = "WER"
    norm: ClassVar[str] = "whisper-basic"

    def __init__(self, language: Language) -> None:
        self._normalise = _normaliser(self.norm)

    @staticmethod
    def suits(language: Language) -> bool:
        return not language.uses_cer

    @property
    def signature(self) -> str:
        return f"{self.name}|{_settings(self.norm)}"

    def score(self, pairs: Sequence[ScoringPair]) -> float:
        require(pairs)
        written = [self._normalise(pair.reference).strip() for pair in pairs]
        if not any(written):
            raise DataError("The references contain no words, so no errors can be counted; check the transcripts.")
        return 100.0 * jiwer.process_words(written, [self._normalise(pair.hypothesis) for pair in pairs]).wer


class WERMarks(WER):
    """WER that keeps vowel signs, for the scripts of India and for Yoruba, whose words WER breaks."""

    name = "WER-marks"
    norm = "whisper-basic-marks"

    @staticmethod
    def suits(language: Language) -> bool:
        return language.writes_vowel_signs and not language.uses_cer


class WEREnglish(WER):
    """WER by Whisper's English normaliser."""

    name = "WER-english"
    norm = "whisper-english"

    @staticmethod
    def suits(language: Language) -> bool:
        return language.code == "eng"


class CER:
    """Character error rate in percent, blind to spaces, for languages that write none between words.

    Spaces are removed after the normaliser, as Whisper's own scoring of these languages does; otherwise a
    missing comma, which the normaliser turns into a space, would be an error.
    """

    side: ClassVar[Side] = "transcript"
    name: ClassVar[str] = "CER"
    norm: ClassVar[str] = "whisper-basic"

    def __init__(self, language: Language) -> None:
        self._normaliser = _normaliser(self.norm)

    @staticmethod
    def suits(language: Language) -> bool:
        return language.uses_cer

    @property
    def signature(self) -> str:
        return f"{self.name}|space:no|{_settings(self.norm)}"

    def score(self, pairs: Sequence[ScoringPair]) -> float:
        require(pairs)
        written = [self._normalise(pair.reference) for pair in pairs]
        if not any(written):
            raise DataError("The references contain no characters, so no errors can be counted; check the transcripts.")
        return 100.0 * jiwer.process_characters(written, [self._normalise(pair.hypothesis) for pair in pairs]).cer

    def _normalise(self, text: str) -> str:
        return "".join(self._normaliser(text).split())


class CERMarks(CER):
    """CER that sees vowel signs and tone marks, for Burmese, Khmer, Lao and Thai, where CER drops them."""

    name = "CER-marks"
    norm = "whisper-basic-marks"

    @staticmethod
    def suits(language: Language) -> bool:
        return language.writes_vowel_signs and language.uses_cer


def _settings(norm: str) -> str:
    packages = "|".join(f"{name}:{version(name)}" for name in ("whisper-normalizer", "jiwer"))
    return f"case:lower|norm:{norm}|{packages}"
