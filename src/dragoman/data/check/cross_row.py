"""What rows say of one another: leaks, repeats, and rates of speech that stand out.

**Leaks.** A manifest is held out (valid, dev, test) or for training, by its name. In both kinds at once there may be

- no **audio**: the same decoded samples (the same stretch of the same file, when nothing is decoded);
- no **sentence**: rows with one `sentence` are translations of each other by contract, so what is held out in one
  language and trained on in another is known to the model: as its answer, or as what the answer means. Where both
  sides have a transcript in the same language and none agrees, the two corpora have counted alike by accident: a
  warning, because rows joined on that `sentence` would be no translations;
- no **text** of a language, be it transcript or translation (an answer that was learnt by heart), compared without
  case, punctuation, spaces and width. A text of one or two words (fewer than six characters where words are not
  spaced) recurs by itself: a warning.

The rows of training are the ones to leave out. Held-out manifests of two splits that overlap are a warning (a model
chosen on one and tested on the other); so is the same audio in two training manifests, or twice in one. The same text
said several times in one manifest is not a finding: three people read each sentence of FLEURS.

**Rates.** Characters a second that are impossible (texts.py), or far from the median of their language, on a log scale:
more than `_FAR` robust standard deviations (1.4826 times the median absolute deviation, of at least `_ENOUGH` clips).
Normal data have one such row in 500,000 at 5; rates of speech have heavier tails, hence more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dragoman.data.check.columns import KeyIndex, Numbers, RowColumns
from dragoman.data.check.rules import Finding
from dragoman.data.check.texts import rate_bounds
from dragoman.text.languages import LANGUAGES

_FAR = 7.0
_ENOUGH = 50
_NORMAL = 1.4826
_LEAST_SPREAD = 0.05
"""Clips that are all alike (a synthetic voice) have outliers no sooner than at a third of the rate more or less."""

Hit = tuple[int, Finding, int | None]
"""A row, what is found, and the row that it is found with."""


def findings(columns: RowColumns, splits: Sequence[str]) -> Iterator[Hit]:
    """What the rows of all manifests say of one another, a thing once a row; `splits` are those of the manifests, empty
    for training."""
    seen: set[tuple[int, str]] = set()
    names = sorted({"", *splits})
    for row, finding, other in _all(columns, np.array([names.index(split) for split in splits])[columns.manifest]):
        if (row, finding.kind) not in seen:
            seen.add((row, finding.kind))
            yield row, finding, other


def _all(columns: RowColumns, split: Numbers) -> Iterator[Hit]:
    manifest, is_held_out = columns.manifest, split > 0
    yield from ((row, Finding("repeated-id"), first) for row, first in columns.ids.repeats(manifest))
    yield from ((row, Finding("same-audio"), first) for row, first in columns.audio.repeats(manifest))
    yield from _leaks(columns, is_held_out)
    yield from _between("same-audio", columns.audio, ~is_held_out, manifest)
    for keys in (columns.audio, columns.sentences, columns.long_texts):
        yield from _between("overlap", keys, is_held_out, split)
    yield from _durations(columns)
    yield from _rates(columns)


def _leaks(columns: RowColumns, is_held_out: Numbers) -> Iterator[Hit]:
    everywhere = np.ones(len(columns), np.bool_)
    language, text_key = columns.language, columns.text_key
    for rows in columns.sentences.shared(everywhere, is_held_out):
        held, training = rows[is_held_out[rows]], rows[~is_held_out[rows]]
        kind = "sentence-clash" if _clash(language, text_key, held, training) else "leak-sentence"
        yield from ((int(row), Finding(kind), int(held[0])) for row in training)
    for kind, keys in (
        ("leak-audio", columns.audio), ("leak-text", columns.long_texts), ("leak-short", columns.short_texts),
    ):  # fmt: skip
        for rows in keys.shared(everywhere, is_held_out):
            first = int(rows[is_held_out[rows]][0])
            yield from ((int(row), Finding(kind), first) for row in rows[~is_held_out[rows]])


def _clash(language: Numbers, text_key: Numbers, held: Numbers, training: Numbers) -> bool:
    """Whether both sides speak a language in common, but agree on no transcript."""
    texts = [{(language[row], text_key[row]) for row in side if text_key[row]} for side in (held, training)]
    spoken = [{code for code, _ in side} for side in texts]
    return bool(spoken[0] & spoken[1]) and not texts[0] & texts[1]


def _between(kind: str, keys: KeyIndex, among: Numbers, group: Numbers) -> Iterator[Hit]:
    for rows in keys.shared(among, group):
        later = rows[group[rows] != group[rows[0]]]
        yield from ((int(row), Finding(kind), int(rows[0])) for row in later)


def _durations(columns: RowColumns) -> Iterator[Hit]:
    """Recordings that go on where their only row ends; several rows are segments of one recording."""
    segments: set[int] = set()
    if columns.longer:
        everywhere, itself = np.ones(len(columns), np.bool_), np.arange(len(columns))
        segments = {int(row) for rows in columns.files.shared(everywhere, itself) for row in rows}
    yield from ((row, Finding("duration", said), None) for row, said in columns.longer.items() if row not in segments)


def _rates(columns: RowColumns) -> Iterator[Hit]:
    language, rate = columns.language, columns.rate
    for number in np.unique(language[rate > 0]):
        rows = np.flatnonzero((language == number) & (rate > 0))
        fewest, most, usual = _bounds(columns.codes[number], rate[rows], ~columns.is_short[rows])
        for at in np.flatnonzero((rate[rows] < fewest) | (rate[rows] > most)):
            value = rate[rows[at]]
            kind = "much-text" if value > most[at] else "little-text"
            yield int(rows[at]), Finding(kind, f"{value:.1f} characters a second{usual}"), None


def _bounds(code: str, rate: Numbers, comparable: Numbers) -> tuple[Numbers, Numbers, str]:
    """The least and the highest rate for each of a language's clips (R,), and what is usual, in words."""
    fewest, most = (np.full(len(rate), bound) for bound in rate_bounds(code))
    logs = np.log(rate[comparable])
    if len(logs) < _ENOUGH:
        return fewest, most, ""
    middle = np.median(logs)
    spread = _FAR * max(_NORMAL * float(np.median(np.abs(logs - middle))), _LEAST_SPREAD)
    fewest[comparable] = np.maximum(fewest[comparable], np.exp(middle - spread))
    most[comparable] = np.minimum(most[comparable], np.exp(middle + spread))
    return fewest, most, f"; the median of {LANGUAGES[code].name} is {np.exp(middle):.1f}"
