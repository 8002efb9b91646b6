"""Phrases to look out for while a model writes: which tokens begin one or go on with one. No torch."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import regex

from dragoman.text.languages import LANGUAGES
from dragoman.text.scripts import UNSPACED, is_spaced

_INSIDE = regex.compile(rf"(?V1)[[\p{{L}}\p{{N}}\p{{M}}]--{UNSPACED}]+")
_LETTERS = regex.compile(r"[\p{L}\p{N}\p{M}]+")


@dataclass
class _Node:
    """`below`: the phrases that run through here; `ends`: those that end here."""

    children: dict[int, _Node] = field(default_factory=dict)
    below: set[int] = field(default_factory=set)
    ends: set[int] = field(default_factory=set)

    def add(self, ids: Sequence[int], number: int) -> None:
        node = self
        for token in ids:
            node = node.children.setdefault(token, _Node())
            node.below.add(number)
        node.ends.add(number)


class Phrases:
    """A trie of token sequences. `plain` is the tokenizer without special tokens, `code` the language written."""

    def __init__(self, phrases: Iterable[str], code: str, plain: Callable[[str], Sequence[int]]) -> None:
        self._first, self._inside = _Node(), _Node()
        for number, phrase in enumerate(phrases):
            space = " " if LANGUAGES[code].uses_spaces else ""
            for form in (phrase, phrase[:1].upper() + phrase[1:]):  # a sentence may begin with it
                self._first.add(plain(form), number)
            self._inside.add(_after("a" + space, phrase, plain), number)

    def next(self, ids: Sequence[int], at: int | None = None) -> list[int]:
        """The tokens that go on with a phrase after `ids`, all that was written; where none is begun, those that begin
        one, with `at` only there. A phrase that was written is done with."""
        said: set[int] = set()
        begun = [node for start in range(at or 0, len(ids)) if (node := self._walk(ids, start, said)) is not None]
        open_ = [node for node in begun if any(child.below - said for child in node.children.values())]
        nodes = open_ or ([self._inside if ids else self._first] if at in (None, len(ids)) else [])
        return sorted({token for node in nodes for token, child in node.children.items() if child.below - said})

    def _walk(self, ids: Sequence[int], start: int, said: set[int]) -> _Node | None:
        """Where the tokens from `start` on lead, if they lead to the end; notes the phrases passed."""
        node = self._inside if start else self._first
        for token in ids[start:]:
            child = node.children.get(token)
            if child is None:
                return None
            node = child
            said |= node.ends
        return node


def occurrences(phrase: str, text: str, code: str | None = None) -> Iterator[int]:
    """Where a phrase stands in a text in a language as words of its own, case aside; in a script without spaces between
    words, anywhere, but not in or beside a word of a language that puts spaces. Both are to be `folded`."""
    inside = _LETTERS if code and LANGUAGES[code].uses_spaces and is_spaced(text.replace(phrase, "")) else _INSIDE
    at = text.find(phrase)
    while at >= 0:
        if not _in_word(inside, text, at) and not _in_word(inside, text, at + len(phrase)):
            yield at
        at = text.find(phrase, at + 1)


def occurs(phrase: str, text: str, code: str | None = None) -> bool:
    return next(occurrences(folded(phrase), folded(text), code), None) is not None


def folded(text: str) -> str:
    """Without case, composed, every stretch of white space one space."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def _in_word(inside: regex.Pattern[str], text: str, at: int) -> bool:
    """Whether a word goes on across a place: letters, digits or combining marks on both sides."""
    return 0 < at < len(text) and bool(inside.fullmatch(text, at - 1, at + 1))


def _after(before: str, phrase: str, plain: Callable[[str], Sequence[int]]) -> Sequence[int]:
    """The tokens of a phrase in the middle of a text; tokenizers mark the beginning of words in more than one way."""
    head, whole = plain(before.strip()), plain(before + phrase)
    return whole[len(head) :] if whole[: len(head)] == head and len(whole) > len(head) else plain(phrase)
