"""A text as words that no cue or line divides, and the best lines for a few of them. No torch.

What a reader sees as one sign is one grapheme cluster (UAX 29, by `regex`). Width is counted in columns: a wide sign of
East Asia (UAX 11) takes two, any other one. Words of Chinese, Japanese and Thai, which are written without spaces, are
BudouX's phrases (https://github.com/google/budoux, Apache-2.0); Lao, Khmer, Burmese and others are divided between
syllables, Tibetan where it marks their ends.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING

import regex

from dragoman.text.scripts import UNSPACED, between_sentences
from dragoman.text.sentences import CLOSING, ENDS_WITH_MARK, ONLY_ABBREVIATES, sentence_ends

if TYPE_CHECKING:
    import budoux

_SPACES = regex.compile(r"(?V1)[\s--[\u00a0\u2007\u202f]]+")
_CONTROLS = regex.compile(r"(?V1)[\p{Cc}--\s]+")
_CLUSTER = regex.compile(r"\X")
_UNSPACED = regex.compile(UNSPACED)
_KANA = regex.compile(r"[\p{Hiragana}\p{Katakana}]")

# Signs that stand with what is before or after them. Thai and Lao vowels, Khmer and Burmese stacks, Burmese finals.
_CLOSING = r"[\p{Pe}\p{Pf}\p{Po}--[\"'&@#*§¿¡]]"
_STARTS_TIED = regex.compile(
    rf"(?V1){_CLOSING}|\p{{M}}|[\u200b々〻ー゛゜ゝゞヽヾぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮ\u0e30\u0e32\u0e33\u0e45\u0e46]"
    r"|[\u0eb0\u0eb2\u0eb3\u0ebd\u0ec6\u17d7]|[\u1000-\u1021]\u1037?\u103a|[\u1000-\u1021]\u103a?\u1039"
)
_ENDS_TIED = regex.compile(r"[\p{Ps}\p{Pi}\u0e40-\u0e44\u0ec0-\u0ec4\u17d2\u1039]$")
_ONLY_CLOSING = regex.compile(rf"(?V1){_CLOSING}+")
_ONLY_OPENING = regex.compile(r"[\p{Ps}\p{Pi}¿¡]+")
_DASH = regex.compile(r"\p{Pd}+")
_TIBETAN_SYLLABLE = regex.compile(r"(?V1)[\p{Tibetan}&&[\p{L}\p{M}]]$")
_NUMBER_OPEN = regex.compile(r"\d[.,:]$")
_ABBREVIATION_OPEN = regex.compile(rf"{ONLY_ABBREVIATES}\.$")
_THOUSANDS = regex.compile(r"(?<![\d.,])\d{1,3}(?: \d{3})*$")
_HUNDREDS = regex.compile(r"\d{3}(?!\d)")
_LETTERS = regex.compile(rf"(?V1)[[\p{{L}}\p{{N}}]--{UNSPACED}]")

_CLAUSE = regex.compile(rf"[,;:，、､；：،؛፣၊\p{{Pd}}]{CLOSING}*$")
_STOP = regex.compile(rf"(?<!\.)\.{CLOSING}*$")


class Break(IntEnum):
    """What ends where a word does; the lower, the better a place to divide."""

    SENTENCE = 1
    CLAUSE = 2
    WORD = 3
    ABBREVIATION = 4
    """What it belongs to most often follows: `Sgt. Miller`, `env. 1 200`."""
    SYLLABLE = 5
    """Perhaps inside a word: nothing here knows the words of the language."""


@dataclass(frozen=True, slots=True)
class Word:
    """What is never divided, with its punctuation; `spaced` where a space follows, `columns` without that space."""

    text: str
    spaced: bool
    columns: int
    ends: Break


def words(text: str, code: str, widest: int) -> tuple[Word, ...]:
    """Divide a text of one language; in a script without spaces, a word of more than `widest` columns is divided too.

    White space becomes one space and control characters are dropped; all else is in the words, in order.
    """
    chunks = [*filter(None, _SPACES.split(_CONTROLS.sub("", text)))]
    ends = sentence_ends(" ".join(chunks), code)
    found, at = [], 0
    for piece, spaced, otherwise in _tie(list(_pieces(chunks, code, widest))):
        at += len(piece)
        found.append(Word(piece, spaced, columns(piece), Break.SENTENCE if at in ends else _clause(piece, otherwise)))
        at += spaced
    return tuple(found)


def joined(parts: Sequence[Word]) -> str:
    """The words as they stand in the text."""
    return "".join(word.text + " " * word.spaced for word in parts).rstrip(" ")


def one_after_another(first: tuple[Word, ...], second: tuple[Word, ...]) -> tuple[Word, ...]:
    """Two texts as one."""
    if not first or not second:
        return first or second
    return (*first[:-1], replace(first[-1], spaced=bool(between_sentences(first[-1].text + second[0].text))), *second)


def columns(text: str) -> int:
    """How wide a text is: two columns for a wide sign, one for any other that is seen."""
    return sum(_columns(cluster) for cluster in _CLUSTER.findall(text))


class Lines:
    """Fills lines of a width from the top: how many the words so far need."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self._width = width
        self._used = 0
        self._spaced = False

    def add(self, parts: Sequence[Word]) -> None:
        for word in parts:
            used = self._used + self._spaced + word.columns
            if self.count and used <= self._width:
                self._used = used
            else:
                self.count += 1
                self._used = word.columns
            self._spaced = word.spaced


def line_count(parts: Sequence[Word], width: int) -> int:
    """How many lines they need."""
    filled = Lines(width)
    filled.add(parts)
    return filled.count


def lines(parts: Sequence[Word], width: int) -> list[str]:
    """As few lines as the width allows, of like length, divided after a clause where that is near the middle."""
    end, ahead = len(parts), [0]
    for word in parts:
        ahead.append(ahead[-1] + word.columns + word.spaced)
    begins = _latest_lines(parts, ahead, width)
    # best[n]: the cost of words 0..n on the lines so far, and where the last of these lines begins
    best: list[dict[int, tuple[float, int]]] = [{0: (0.0, 0)}]
    for soonest in reversed(begins[:-1]):  # where the line may end at the soonest: the others hold all that follows
        here: dict[int, tuple[float, int]] = {}
        for start, (cost, _before) in best[-1].items():
            for stop in range(max(start + 1, soonest), end + 1):
                wide = ahead[stop] - ahead[start] - parts[stop - 1].spaced
                if wide > width and stop > start + 1:
                    break
                total = cost + wide**2 + (_LINE_BREAK[parts[stop - 1].ends] * width**2 if stop < end else 0)
                if total < here.get(stop, (float("inf"), 0))[0]:
                    here[stop] = (total, start)
        best.append(here)
    found: list[str] = []
    for here in reversed(best[1:]):
        start = here[end][1]
        found.append(joined(parts[start:end]))
        end = start
    return found[::-1]


def _latest_lines(parts: Sequence[Word], ahead: Sequence[int], width: int) -> list[int]:
    """Lines filled from the last word: [len(parts), where the last line begins, the one before, …, 0]."""
    begins = [len(parts)]
    while begins[-1]:
        start, room = begins[-1] - 1, ahead[begins[-1]] - parts[begins[-1] - 1].spaced - width
        while start and ahead[start - 1] >= room:
            start -= 1
        begins.append(start)
    return begins


_LINE_BREAK = {Break.SENTENCE: 0.0, Break.CLAUSE: 0.0, Break.WORD: 0.2, Break.ABBREVIATION: 0.4, Break.SYLLABLE: 0.6}
"""In squares of the width: a clause may end 0.3 of the width away from the middle and still be taken."""


def _pieces(chunks: Sequence[str], code: str, widest: int) -> Iterator[tuple[str, bool, Break]]:
    """(what is not divided, whether a space follows, what ends there if punctuation does not tell)."""
    for chunk in chunks:
        if _UNSPACED.search(chunk):
            *most, (last, _) = _phrases(chunk, code, widest)
            yield from ((part, False, ends) for part, ends in most)
            yield last, True, Break.CLAUSE  # which is what a space says where words have none
        else:
            yield chunk, True, Break.WORD


def _phrases(chunk: str, code: str, widest: int) -> Iterator[tuple[str, Break]]:
    parser = _parser(chunk, code)
    if parser is None:
        yield from ((part, Break.SYLLABLE) for part in _syllables([*_CLUSTER.findall(chunk)]))
        return
    clusters = {found.end() for found in _CLUSTER.finditer(chunk)}
    phrase, at = "", 0
    for part in parser.parse(chunk):
        phrase, at = phrase + part, at + len(part)
        if at in clusters and not (at < len(chunk) and _is_tied(phrase, chunk[at:])):
            if columns(phrase) > widest:
                *most, last = _syllables([*_CLUSTER.findall(phrase)])
                yield from ((syllable, Break.SYLLABLE) for syllable in most)
                phrase = last
            yield phrase, Break.WORD
            phrase = ""


def _syllables(clusters: Sequence[str]) -> Iterator[str]:
    syllable = ""
    for cluster in clusters:
        if syllable and not _is_tied(syllable, cluster):
            yield syllable
            syllable = ""
        syllable += cluster
    yield syllable


def _is_tied(left: str, right: str) -> bool:
    if _ENDS_TIED.search(left) or _STARTS_TIED.match(right) or _TIBETAN_SYLLABLE.search(left):
        return True
    if _NUMBER_OPEN.search(left) and right[0].isdecimal():
        return True  # 3.5
    if _ABBREVIATION_OPEN.search(left) and right[0].isalpha():
        return True  # ธ.ค.
    return bool(_LETTERS.match(left[-1]) and _LETTERS.match(right))  # inside a Latin word or a number


def _tie(pieces: Sequence[tuple[str, bool, Break]]) -> list[tuple[str, bool, Break]]:
    """Punctuation that stands alone goes with its word, and so do thousands: `« Oui ! »`, `- one – two`, `1 200`."""
    tied: list[tuple[str, bool, Break]] = []
    for piece, spaced, ends in pieces:
        if tied and _goes_with(tied[-1][0], piece, tied[-1][1]):
            before, between, _ = tied[-1]
            tied[-1] = (before + " " * between + piece, spaced, ends)
        else:
            tied.append((piece, spaced, ends))
    return tied


def _goes_with(left: str, right: str, spaced: bool) -> bool:
    if not spaced:
        return False  # seen to where it was divided
    if _THOUSANDS.search(left) and _HUNDREDS.match(right):
        return True  # 1 200
    if _DASH.fullmatch(right):
        return not ENDS_WITH_MARK.search(left)
    return bool(_ONLY_CLOSING.fullmatch(right) or _ONLY_OPENING.fullmatch(left) or _DASH.fullmatch(left))


@functools.cache
def _loaded(name: str) -> budoux.Parser:
    import budoux

    load = {
        "jpn": budoux.load_default_japanese_parser,
        "cmn": budoux.load_default_simplified_chinese_parser,
        "yue": budoux.load_default_traditional_chinese_parser,
        "tha": budoux.load_default_thai_parser,
    }
    return load[name]()


def _parser(chunk: str, code: str) -> budoux.Parser | None:
    if regex.search(r"\p{Thai}", chunk):
        return _loaded("tha")
    if _KANA.search(chunk) or (code == "jpn" and regex.search(r"\p{Han}", chunk)):
        return _loaded("jpn")
    if regex.search(r"\p{Han}", chunk):
        return _loaded("yue" if code == "yue" else "cmn")
    return None


def _clause(piece: str, otherwise: Break) -> Break:
    """What ends with a piece that ends no sentence."""
    if _STOP.search(piece):
        return Break.ABBREVIATION
    return Break.CLAUSE if _CLAUSE.search(piece) else otherwise


def _columns(cluster: str) -> int:
    category = unicodedata.category(cluster[0])
    if category in ("Cc", "Cf", "Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(cluster[0]) in "WF" or "\ufe0f" in cluster else 1
