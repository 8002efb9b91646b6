"""Local agreement: of a text that is decoded again and again while speech goes on, what two successive decodings begin
with alike is stable (LocalAgreement-2: Liu et al. 2020, https://arxiv.org/abs/2005.11185; on Whisper: Macháček et al.
2023, https://arxiv.org/abs/2307.14743). No torch.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import regex

from dragoman.text.scripts import is_spaced

_WORD_END = regex.compile(r"(?<=\S)(?=\p{P}*(?:\s|$))")
_SIGN_END = regex.compile(r"\X\K(?!(?<=[\p{Latin}\p{N}])[\p{Latin}\p{N}])")
_LAST_MARKS = regex.compile(r"[\p{P}\s]*$")


@dataclass(frozen=True)
class PartialText:
    """A text that grows: `stable` stays as it is, `tentative` may still change. The text is one behind the other."""

    stable: str
    tentative: str = ""

    def __str__(self) -> str:
        return self.stable + self.tentative


class LocalAgreement:
    """One text, from decoding to decoding; each of them begins with what is stable."""

    def __init__(self) -> None:
        self.text = PartialText("")
        self._before: str | None = None

    def add(self, decoded: str, *, can_commit: bool = True) -> None:
        """The next decoding; it makes something stable if it `can_commit`."""
        stable = self.text.stable
        if can_commit and self._before is not None:
            stable = max(stable, common_words(self._before, decoded), key=len)
        self.text = PartialText(stable, decoded[len(stable) :])
        self._before = decoded


def common_words(one: str, other: str) -> str:
    """The whole words that both texts begin with; signs, where words are written without spaces.

    A decoder ends the sentence where the speech that it has heard ends, so marks at the end of a text say nothing.
    """
    common = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    ends = _ends(one) & _ends(other)
    return one[: max((end for end in ends if end <= common), default=0)]


def _ends(text: str) -> set[int]:
    """The places where a word ends, marks behind it aside; those behind the last word are none."""
    said = _LAST_MARKS.search(text).start()
    pattern = _WORD_END if is_spaced(text) else _SIGN_END
    return {found.end() for found in pattern.finditer(text) if found.end() <= said}
