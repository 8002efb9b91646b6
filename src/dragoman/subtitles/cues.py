"""Segments of speech -> cues that can be read: at most 7 s, at most two lines, divided after sentences and clauses.

A model gives a text for a stretch of speech and no time for its words, so the time is shared out by the length of the
text. All else follows Netflix's Timed Text Style Guides, which subtitlers use beyond Netflix. No torch.
"""

from __future__ import annotations

import itertools
import unicodedata
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dragoman.subtitles.line_breaking import (
    Break,
    Lines,
    Word,
    columns,
    joined,
    line_count,
    lines,
    one_after_another,
    words,
)

if TYPE_CHECKING:
    from dragoman.inference.result import Result, Segment

LONGEST_MS = 7000
SHORTEST_MS = 833
"""5/6 of a second, as LONGEST_MS from the General Requirements, section 1."""
_GAP_MS = 83
"""Two frames at 24 per second, without which two cues look like one that flickers (section "Frame gap")."""
_LINGERS_MS = 500
"""How long a cue may stay after its speech when it cannot be read in time: 12 frames (section "Timing to audio")."""
_PAUSE_MS = 1000
"""What is too short to be read joins a neighbour across no longer a pause."""

_LINE = {"jpn": 26, "cmn": 32, "yue": 32, "kor": 32, "tha": 35}
_ANY_LINE = 42
"""Columns; the guides say 13 and 16 full-width signs, 35 and 42 characters (section "Character limitation")."""
_READ = {"jpn": 4.0, "cmn": 9.0, "yue": 9.0, "kor": 12.0}
_ANY_READ = 17.0
"""Characters per second, adults (section "Reading speed"; English and a few more may have 20)."""

_BREAK = {Break.SENTENCE: 0.0, Break.CLAUSE: 1.0, Break.WORD: 4.0, Break.ABBREVIATION: 6.0, Break.SYLLABLE: 8.0}
"""What it costs to end a cue there; one cue more costs 1."""
_SENTENCE_WITHIN, _SENTENCE_TORN = 0.5, 1.5
"""What it costs that a sentence ends within a cue, and that then the next sentence does not."""


@dataclass(frozen=True, slots=True)
class Cue:
    """What is shown at once, in milliseconds from the start of the recording; lines of text end in a line feed."""

    start_ms: int
    end_ms: int
    text: str


@dataclass(frozen=True)
class SubtitleOptions:
    """How subtitles look; the first two are Whisper's names.

    Attributes:
        max_line_width: In columns, of which a Chinese, Japanese or Korean sign takes two; None: the language's own.
        max_line_count: Lines at once.
        max_chars_per_second: How fast people read (in these languages a sign of half the width is half a character);
            None: the language's own.
        bilingual: Also subtitles of each translation with what is said below it; they share `max_line_count` evenly.
    """

    max_line_width: int | None = None
    max_line_count: int = 2
    max_chars_per_second: float | None = None
    bilingual: bool = False

    def width(self, code: str) -> int:
        return self.max_line_width or _LINE.get(code, _ANY_LINE)

    def reading_ms(self, text: Sequence[Word], code: str) -> int:
        """How long it takes to read."""
        characters = columns(joined(text)) / (2 if code in _READ else 1)
        return round(1000 * characters / (self.max_chars_per_second or _READ.get(code, _ANY_READ)))


@dataclass(frozen=True, slots=True)
class _SpeechPart:
    """A stretch of speech and what is said in it, in one language or in each of two."""

    start_ms: int
    end_ms: int
    texts: tuple[tuple[Word, ...], ...]


def said(result: Result, segment: Segment, code: str) -> str:
    """A segment as it stands in the file of a language: in that language, if it is a target; else as it is spoken."""
    return segment.text(code) if code in result.targets else segment.transcript


def cues(
    result: Result,
    codes: Sequence[str],
    options: SubtitleOptions | None = None,
    on_segment: Callable[[], object] = lambda: None,
) -> list[Cue]:
    """What is said or a translation as subtitles, by language; two languages one below the other.

    The cues follow each other without overlap. None lasts over 7 s, and none under 5/6 s unless the speech does and
    nothing is near. Nothing of the text is lost. A line is wider than the width only where one word is; there are more
    lines than the count only where speech leaves less than 5/6 s for what they hold.

    Args:
        result: A translated recording.
        codes: One language or two, ISO 639-3: the first above the second.
        options: How they look.
        on_segment: Called before each segment; what it raises ends the work.
    """
    layout = _Layout(tuple(codes), options or SubtitleOptions())
    parts = (part for whole in layout.parts(result, on_segment) for part in layout.divided(whole))
    return list(layout.timed(layout.merged(list(parts))))


@dataclass(frozen=True)
class _Layout:
    codes: tuple[str, ...]
    options: SubtitleOptions

    @property
    def widths(self) -> list[int]:
        return [self.options.width(code) for code in self.codes]

    @property
    def most_lines(self) -> int:
        """Of one language."""
        return max(1, self.options.max_line_count // len(self.codes))

    def parts(self, result: Result, on_segment: Callable[[], object]) -> Iterator[_SpeechPart]:
        """The segments, without those that have no text."""
        for segment in result.segments:
            on_segment()
            texts = tuple(
                words(said(result, segment, code), code, wide)
                for code, wide in zip(self.codes, self.widths, strict=True)
            )
            if any(texts):
                yield _SpeechPart(round(1000 * segment.start_s), round(1000 * segment.end_s), texts)

    def divided(self, part: _SpeechPart) -> Iterator[_SpeechPart]:
        """A part as cues. The text with most words says where they may end; the other is divided as near as it can."""
        lead = max(part.texts, key=len)
        shares = _shares(lead)
        times = [part.start_ms + round(share * (part.end_ms - part.start_ms)) for share in shares]
        bounds = [range(len(lead) + 1) if text is lead else _alongside(text, shares) for text in part.texts]
        ends = self._ends(part.texts, bounds, times)
        for start, end in zip([0, *ends], ends, strict=False):
            texts = (text[bound[start] : bound[end]] for text, bound in zip(part.texts, bounds, strict=True))
            yield _SpeechPart(times[start], times[end], tuple(texts))

    def _ends(
        self, texts: Sequence[Sequence[Word]], bounds: Sequence[Sequence[int]], times: Sequence[int]
    ) -> list[int]:
        """The best places to end cues, the last included: least cost over all ways to divide (dynamic programme).

        bounds[t][n] is how many words of texts[t] are said by times[n].
        """
        last = len(times) - 1
        lead = max(texts, key=len)
        too_late = bisect_right(times, times[last] - SHORTEST_MS)  # what is left from there cannot stand alone
        sentences = [0, *itertools.accumulate(word.ends is Break.SENTENCE for word in lead)]
        best = [0.0] + [float("inf")] * last
        before = [0] * (last + 1)
        for start in range(last):
            if best[start] == float("inf"):
                continue
            filled, at = [Lines(width) for width in self.widths], start
            soonest = bisect_left(times, times[start] + SHORTEST_MS + _GAP_MS, start + 1, last)
            for end in itertools.chain(range(soonest, too_late), [last]):
                cost = best[start]
                for text, bound, lines_so_far in zip(texts, bounds, filled, strict=True):
                    lines_so_far.add(text[bound[at] : bound[end]])
                    cost += _BREAK[text[bound[end] - 1].ends] if bound[end] and end < last else 0
                at = end
                extra = max(lines_so_far.count for lines_so_far in filled) - self.most_lines
                closed = end == last or lead[end - 1].ends is Break.SENTENCE
                within = sentences[end - 1] - sentences[start]
                cost += within * (_SENTENCE_WITHIN if closed else _SENTENCE_TORN)
                shown = times[end] - times[start] - (_GAP_MS if end < last else 0)
                cost += 1 + (shown / LONGEST_MS) ** 2 + 20 * max(0, extra) + 20 * (shown > LONGEST_MS)
                if cost < best[end] and (shown >= SHORTEST_MS or (start, end) == (0, last)):
                    best[end], before[end] = cost, start
                if end < last and (extra > 0 or shown > LONGEST_MS):
                    break
        ends = [last]
        while before[ends[-1]]:
            ends.append(before[ends[-1]])
        return ends[::-1]

    def merged(self, parts: Sequence[_SpeechPart]) -> list[_SpeechPart]:
        """Each part that is over before it can be read joins a neighbour, if one is near and both fit on the screen."""
        found: list[_SpeechPart] = []
        for part, after in zip(parts, [*parts[1:], None], strict=False):
            if found and self._join(found[-1], part) and (_is_brief(found[-1], part) or _is_brief(part, after)):
                found[-1] = self._together(found[-1], part)
            else:
                found.append(part)
        return found

    def _join(self, first: _SpeechPart, second: _SpeechPart) -> bool:
        near = second.start_ms - first.end_ms <= _PAUSE_MS and second.end_ms - first.start_ms <= LONGEST_MS
        return near and all(
            line_count(text, width) <= self.most_lines
            for text, width in zip(self._together(first, second).texts, self.widths, strict=True)
        )

    def _together(self, first: _SpeechPart, second: _SpeechPart) -> _SpeechPart:
        texts = map(one_after_another, first.texts, second.texts)
        return _SpeechPart(first.start_ms, second.end_ms, tuple(texts))

    def timed(self, parts: Sequence[_SpeechPart]) -> Iterator[Cue]:
        """A cue begins with its speech and ends with it, a gap before the next; where it cannot be read by then, it
        stays a little, if it can."""
        for part, after in zip(parts, [*parts[1:], None], strict=False):
            start, limit = part.start_ms, _limit(part, after)
            needed = max(map(self.options.reading_ms, part.texts, self.codes))
            end = min(limit, max(part.end_ms, min(start + max(SHORTEST_MS, needed), part.end_ms + _LINGERS_MS)))
            # where the next follows at once, the gap is not worth more than the shortest cue
            end = max(end, min(part.end_ms, start + SHORTEST_MS))
            yield Cue(start, min(end, start + LONGEST_MS), self._text(part))

    def _text(self, part: _SpeechPart) -> str:
        rows = [_directed(lines(text, width)) for text, width in zip(part.texts, self.widths, strict=True)]
        return "\n".join(itertools.chain.from_iterable(rows))


def _shares(text: Sequence[Word]) -> list[float]:
    """How much of the text is said before each word and at its end, from 0 to 1.

    A column takes as long as any other. Where recordings of nine languages were put together by threes, the joins (240)
    were so found 0.25 s off on average; weights by kind of sign or for the pauses at punctuation did no better.
    """
    said = [0, *itertools.accumulate(max(1, word.columns) + word.spaced for word in text)]
    return [so_far / said[-1] for so_far in said]


def _alongside(text: Sequence[Word], shares: Sequence[float]) -> list[int]:
    """How many words of a text go with each share of another's: the nearest, or one or two off where a clause ends.

    None and all are not taken between, if there are words for both sides.
    """
    own = _shares(text) if text else [0.0]
    lowest, highest = (1, len(text) - 1) if len(text) > 1 else (0, len(text))
    found = [0]
    for share in shares[1:-1]:
        nearest = bisect_left(own, share)
        near = range(max(lowest, found[-1], nearest - 2), max(lowest, found[-1], min(highest, nearest + 2)) + 1)
        found.append(
            min(near, key=lambda n: abs(own[n] - share) * len(text) + (_BREAK[text[n - 1].ends] / 2 if n else 2))
        )
    return [*found, len(text)]


def _limit(part: _SpeechPart, after: _SpeechPart | None) -> int:
    return part.end_ms + _LINGERS_MS if after is None else after.start_ms - _GAP_MS


def _is_brief(part: _SpeechPart, after: _SpeechPart | None) -> bool:
    """Whether it cannot be shown for the shortest time, even if it stays a little."""
    return min(max(part.end_ms, _limit(part, after)), part.end_ms + _LINGERS_MS) - part.start_ms < SHORTEST_MS


def _directed(rows: list[str]) -> list[str]:
    """Lines that run from right to left say so (U+202B … U+202C): players take every line to run from left to right,
    and would set its last full stop at its beginning. A text runs as most of its letters do."""
    runs = Counter(unicodedata.bidirectional(sign) for row in rows for sign in row)
    return [f"\u202b{row}\u202c" for row in rows] if runs["R"] + runs["AL"] > runs["L"] else rows
