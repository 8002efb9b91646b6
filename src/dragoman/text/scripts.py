"""How texts are written, as they themselves tell: no table knows it of every language.

Letters are those of Unicode's scripts. The scripts without spaces between words are those whose lines UAX 14 does not
break at spaces alone (classes ID, SA, AK and AP, and Tibetan).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

import regex

from dragoman.text.languages import Language

UNSPACED = (
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Yi}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
    r"\p{Tai_Le}\p{New_Tai_Lue}\p{Tai_Tham}\p{Tai_Viet}\p{Javanese}\p{Balinese}]"
)
"""A sign of a script without spaces between words, for `regex`."""
_SIGN = regex.compile(rf"(?V1)[{UNSPACED}&&\p{{L}}]")
_WORD = regex.compile(rf"(?V1)[[\p{{L}}\p{{M}}]--{UNSPACED}]+")
_IDEOGRAPH = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Yi}]")
_LETTER = regex.compile(r"\p{L}")
_MARK = regex.compile(r"\p{M}")

_ENOUGH = 200  # texts tell it
_OFTEN = 0.05
"""Words with a mark; Arabic and Hebrew, which can be written without, have fewer."""


def is_spaced(text: str) -> bool:
    """Whether its words stand apart: it has no more letters of scripts without spaces than words of the others."""
    signs = len(_SIGN.findall(text))
    return not signs or signs <= len(_WORD.findall(text))


def between_sentences(text: str) -> str:
    """What parts its sentences: nothing in Chinese and Japanese, whose stops are wide; in all other writing a space, in
    Thai, Khmer or Burmese too."""
    return "" if len(_IDEOGRAPH.findall(text)) > len(_WORD.findall(text)) else " "


def with_script(language: Language, texts: Iterable[str]) -> Language:
    """A language with what scoring must know of its writing. Of the 102 it is settled by the papers' conventions; of
    any other its texts tell."""
    if language.fleurs:
        return language
    text = unicodedata.normalize("NFKC", " ".join(islice(texts, _ENOUGH)))
    words = [word for word in text.split() if _LETTER.search(word)]
    marked = sum(bool(_MARK.search(word)) for word in words)
    return replace(language, is_unspaced=not is_spaced(text), has_marks=marked > _OFTEN * len(words))
