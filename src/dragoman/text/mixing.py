"""Pieces of a text in another language than the rest of it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import regex

from dragoman.text.langid import is_other

_BETWEEN = regex.compile(r"(?V1)[\p{P}--['’ʼ·\-]]+|\n")
"""What parts sentences and clauses; an apostrophe or a hyphen is within a word."""
_IDEOGRAPHIC = frozenset({"CJK", "HIRAGANA", "KATAKANA"})
_LEAST_SIGNS = 5
"""Of a run of Chinese characters and kana, each of which says as much as several letters."""


def segments(text: str) -> Iterator[str]:
    """The clauses of a text, each divided where its letters are of another script; Chinese characters and kana are
    one."""
    for clause in _BETWEEN.split(unicodedata.normalize("NFKC", text)):
        start, script = 0, ""
        for at, sign in enumerate(clause):
            found = _script(sign)
            if found and script and found != script:
                yield clause[start:at].strip()
                start = at
            script = found or script
        if script:
            yield clause[start:].strip()


def foreign_segments(text: str, code: str, reference: str = "") -> list[str]:
    """The segments of a text that are in another language than this one, as `langid.is_other` judges them; one that the
    reference holds too is none: a person wrote it so."""
    as_written = unicodedata.normalize("NFKC", reference).casefold()
    others = (part for part in segments(text) if part.casefold() not in as_written)
    return [part for part in others if is_other(part, code, **_least(part))]


def _least(part: str) -> dict[str, int]:
    """How many letters a segment must have to be judged, where that is not as usual."""
    script = next(filter(None, map(_script, part)), "")
    return {"least": _LEAST_SIGNS} if script == "CJK" else {}


def _script(sign: str) -> str:
    """That of a letter; of anything else nothing."""
    if not sign.isalpha():
        return ""
    name = unicodedata.name(sign, "").partition(" ")[0]
    return "CJK" if name in _IDEOGRAPHIC else name
