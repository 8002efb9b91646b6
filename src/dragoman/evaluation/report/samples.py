"""The hypotheses that a page shows: the worst, and some of every direction, with their errors marked.

The page must open with 200,000 hypotheses as it does with 1,600, so it holds a choice of them and says which.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dragoman.errors import needs_extra
from dragoman.records import Hypothesis
from dragoman.text.languages import LANGUAGES, Language
from dragoman.text.scripts import with_script

with needs_extra("A report", "evaluate"):
    import jiwer
    from sacrebleu.metrics.chrf import CHRF
    from whisper_normalizer.basic import BasicTextNormalizer

WORST = 250
"""Samples by their transcripts, and as many by their translations."""
SAMPLE = 1500
"""Shared out over the directions; each gets one at least."""
_NORMALISE = BasicTextNormalizer()
_NORMALISE_MARKS = BasicTextNormalizer(preserve_marks=True)

Marked = list[tuple[str, str]]
"""A text in pieces, each with what is wrong: "" nothing, "s" substituted, "i" inserted, "d" deleted."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A hypothesis with its measures and its transcripts in marked pieces."""

    row: Hypothesis
    errors: float | None
    """Word (or character) errors of the transcript over those of its reference, in percent; None without either."""
    chrf: float | None
    """Sentence chrF of the translation; None without a reference."""
    heard: Marked
    said: Marked


@dataclass(frozen=True, slots=True)
class _Measured:
    row: Hypothesis
    errors: float | None
    chrf: float | None


def choose(rows: Sequence[Hypothesis], on_progress: Callable[[int, int], None] | None = None) -> list[Sample]:
    """All rows when they are few; else the worst by transcript, the worst by translation, and from every direction some
    spread evenly from its worst to its best. Worst translations first. `on_progress` hears (measured, total) rows."""
    measured = _measure(rows, on_progress)
    if len(measured) <= 2 * WORST + SAMPLE:
        chosen = measured
    else:
        picked = [*sorted(measured, key=_by_errors)[:WORST], *sorted(measured, key=_by_chrf)[:WORST]]
        picked += _of_every_direction(measured)
        chosen = list({(m.row.id, m.row.target): m for m in picked}.values())
    return [_sample(m) for m in sorted(chosen, key=_by_chrf)]


def align(said: str, heard: str, language: Language) -> tuple[Marked, Marked]:
    """Both texts in pieces, marked by jiwer's alignment of what Whisper's normaliser leaves of each piece.

    Pieces are words, or characters where the language is scored by characters. The normaliser sees them one by one, so
    a bracket around several words, which it would remove, stays.
    """
    piece = re.compile(r"\s+|\S" if language.uses_cer else r"\s+|\S+")
    pieces, others = piece.findall(said), piece.findall(heard)
    units, other_units = _units(pieces, language), _units(others, language)
    output = jiwer.process_words(" ".join(u for u, _ in units), " ".join(u for u, _ in other_units))
    marks, other_marks = [""] * len(pieces), [""] * len(others)
    for chunk in output.alignments[0]:
        if chunk.type != "equal":
            for _, number in units[chunk.ref_start_idx : chunk.ref_end_idx]:
                marks[number] = chunk.type[0]
            for _, number in other_units[chunk.hyp_start_idx : chunk.hyp_end_idx]:
                other_marks[number] = chunk.type[0]
    return _joined(pieces, marks), _joined(others, other_marks)


def spoken(row: Hypothesis) -> Language:
    """The source, as the transcript's reference is written."""
    return with_script(LANGUAGES[row.source], [row.reference_transcript or ""])


def _measure(rows: Sequence[Hypothesis], on_progress: Callable[[int, int], None] | None) -> list[_Measured]:
    errors = _transcript_errors(rows)
    chrf = CHRF()
    measured = []
    for row in rows:
        score = None
        if row.reference is not None and row.target != row.source:
            score = chrf.sentence_score(row.translation, [row.reference]).score if row.reference else _silence(row)
        measured.append(_Measured(row, errors.get(row.id), score))
        if on_progress and len(measured) % 1000 == 0:
            on_progress(len(measured), len(rows))
    return measured


def _silence(row: Hypothesis) -> float:
    """Where nothing is said, nothing is right, and all else is as wrong as can be."""
    return 0.0 if row.translation.strip() else 100.0


def _transcript_errors(rows: Sequence[Hypothesis]) -> dict[str, float]:
    """Utterance to its error rate in percent, once per utterance; nothing for systems that write no transcripts."""
    if not any(row.transcript for row in rows):
        return {}
    rates = {}
    for row in {row.id: row for row in rows if row.reference_transcript}.values():
        said = _spaced(row.reference_transcript or "", spoken(row))
        if said:
            rates[row.id] = 100.0 * jiwer.process_words(said, _spaced(row.transcript, spoken(row))).wer
    return rates


def _spaced(text: str, language: Language) -> str:
    """The normalised words, or characters, with a space between."""
    words = _words(text, language)
    return " ".join("".join(words) if language.uses_cer else words)


def _of_every_direction(measured: Sequence[_Measured]) -> list[_Measured]:
    groups: dict[tuple[str, str], list[_Measured]] = defaultdict(list)
    for m in sorted(measured, key=_by_chrf):
        groups[m.row.source, m.row.target].append(m)
    each = max(1, SAMPLE // len(groups))
    return [group[(2 * i + 1) * len(group) // (2 * each)] for group in groups.values() for i in range(each)]


def _sample(m: _Measured) -> Sample:
    said, heard = m.row.reference_transcript or "", m.row.transcript
    if m.errors:
        marked, other = align(said, heard, spoken(m.row))
    else:
        marked, other = [(said, "")], [(heard, "")]
    return Sample(m.row, m.errors, m.chrf, heard=other, said=marked)


def _units(pieces: Sequence[str], language: Language) -> list[tuple[str, int]]:
    """(normalised word, number of the piece); a piece may hold none, as a comma does, or several."""
    return [(word, i) for i, piece in enumerate(pieces) for word in _words(piece, language)]


def _words(text: str, language: Language) -> list[str]:
    """With vowel signs where the language writes them, as WER-marks: else a word falls apart and hides its errors."""
    normalised: str = (_NORMALISE_MARKS if language.writes_vowel_signs else _NORMALISE)(text)
    return normalised.split()


def _joined(pieces: Sequence[str], marks: Sequence[str]) -> Marked:
    """Neighbours with the same mark become one piece; so does the space between two of them."""
    joined: Marked = []
    for i, (piece, mark) in enumerate(zip(pieces, marks, strict=True)):
        if piece.isspace() and 0 < i < len(pieces) - 1 and marks[i - 1] == marks[i + 1]:
            mark = marks[i - 1]
        if joined and joined[-1][1] == mark:
            joined[-1] = (joined[-1][0] + piece, mark)
        else:
            joined.append((piece, mark))
    return joined


def _by_errors(m: _Measured) -> tuple[float, str, str]:
    return (-(m.errors if m.errors is not None else -1.0), m.row.id, m.row.target)


def _by_chrf(m: _Measured) -> tuple[float, float, str, str]:
    """Worst translation first; of equals the one with more errors in its transcript."""
    return (m.chrf if m.chrf is not None else 101.0, *_by_errors(m))
