"""Corpus metrics, each with the signature that makes its number reproducible. No torch.

A metric is made for one language, the one its texts are in, and says whether it suits that language. All
values are on the scale of 0 to 100; for WER and CER lower is better, and insertions may exceed 100.

WER and CER normalise as Whisper's BasicTextNormalizer does, the papers' convention (PUBLISHED_SYSTEMS.md,
section 5). It comes from the package whisper-normalizer, because the same class in transformers costs the
import of transformers. It removes vowel signs, so WER and CER are blind to those of Hindi, Thai or Burmese.
BLEU and chrF see the raw, cased texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import ClassVar, Literal, Protocol

import jiwer
from pydantic import BaseModel, ConfigDict
from sacrebleu.metrics.bleu import BLEU as SacreBLEU
from sacrebleu.metrics.chrf import CHRF as SacreCHRF
from whisper_normalizer.basic import BasicTextNormalizer  # type: ignore[import-untyped]

from dragoman.errors import DataError
from dragoman.languages import LANGUAGES, Language

Side = Literal["transcript", "translation"]


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


@dataclass(frozen=True, slots=True)
class Pair:
    """One row to score: what a system wrote, and what a person wrote for the same piece of speech."""

    hypothesis: str
    reference: str
    source: str = ""
    """The reference transcript of what was translated, where it is known; a transcript has no source."""


class Metric(Protocol):
    """What an entry of METRICS offers; it is called with the ISO 639-3 code of the texts' language."""

    side: ClassVar[Side]
    """Which half of a hypothesis the metric is about."""

    def __init__(self, language: str) -> None: ...

    @staticmethod
    def suits(language: Language) -> bool:
        """Whether the metric means something for this language."""

    @property
    def signature(self) -> str:
        """Name, settings and versions, in sacreBLEU's style."""

    def score(self, hypotheses: Sequence[str], references: Sequence[str]) -> float:
        """The corpus score, 0 to 100; not a mean of sentence scores.

        Raises DataError when there is nothing to compare.
        """


class WER:
    """Word error rate: word edits over reference words, both summed over the corpus, in percent."""

    side: ClassVar[Side] = "transcript"

    def __init__(self, language: str) -> None:
        self._normalise = BasicTextNormalizer()

    @staticmethod
    def suits(language: Language) -> bool:
        return not language.uses_cer

    @property
    def signature(self) -> str:
        return f"WER|{_error_rate_signature()}"

    def score(self, hypotheses: Sequence[str], references: Sequence[str]) -> float:
        _check(hypotheses, references)
        written = [self._normalise(text).strip() for text in references]
        if not any(written):
            raise DataError("The references hold no words to make errors in; check the transcripts.")
        return 100.0 * jiwer.process_words(written, [self._normalise(text) for text in hypotheses]).wer


class CER:
    """Character error rate in percent, blind to spaces, for languages that write none between words.

    Spaces are removed after the normaliser, as Whisper's own scoring of these languages does; otherwise a
    missing comma, which the normaliser turns into a space, would be an error.
    """

    side: ClassVar[Side] = "transcript"

    def __init__(self, language: str) -> None:
        self._normaliser = BasicTextNormalizer()

    @staticmethod
    def suits(language: Language) -> bool:
        return language.uses_cer

    @property
    def signature(self) -> str:
        return f"CER|space:no|{_error_rate_signature()}"

    def score(self, hypotheses: Sequence[str], references: Sequence[str]) -> float:
        _check(hypotheses, references)
        written = [self._normalise(text) for text in references]
        if not any(written):
            raise DataError("The references hold no characters to make errors in; check the transcripts.")
        return 100.0 * jiwer.process_characters(written, [self._normalise(text) for text in hypotheses]).cer

    def _normalise(self, text: str) -> str:
        return "".join(self._normaliser(text).split())


class BLEU:
    """SacreBLEU's corpus BLEU, with the tokenizer that the target language asks for."""

    side: ClassVar[Side] = "translation"

    def __init__(self, language: str) -> None:
        self._bleu = SacreBLEU(tokenize=LANGUAGES[language].bleu_tokenizer)
        self._bleu.num_refs = 1

    @staticmethod
    def suits(language: Language) -> bool:
        return True

    @property
    def signature(self) -> str:
        return f"BLEU|{self._bleu.get_signature()}"

    def score(self, hypotheses: Sequence[str], references: Sequence[str]) -> float:
        _check(hypotheses, references)
        return float(self._bleu.corpus_score(hypotheses, [references]).score)


class ChrF:
    """SacreBLEU's chrF with its default settings, known as chrF2: characters only, beta 2."""

    side: ClassVar[Side] = "translation"

    def __init__(self, language: str) -> None:
        self._chrf = SacreCHRF()
        self._chrf.num_refs = 1

    @staticmethod
    def suits(language: Language) -> bool:
        return True

    @property
    def signature(self) -> str:
        return f"chrF2|{self._chrf.get_signature()}"

    def score(self, hypotheses: Sequence[str], references: Sequence[str]) -> float:
        _check(hypotheses, references)
        return float(self._chrf.corpus_score(hypotheses, [references]).score)


METRICS: dict[str, type[Metric]] = {"WER": WER, "CER": CER, "BLEU": BLEU, "chrF": ChrF}
"""A new metric is a class as above and one entry here."""


def _check(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
    if not references:
        raise DataError("There is nothing to score; the hypotheses are empty.")


def _error_rate_signature() -> str:
    packages = "|".join(f"{name}:{version(name)}" for name in ("whisper-normalizer", "jiwer"))
    return f"case:lower|norm:whisper-basic|{packages}"
