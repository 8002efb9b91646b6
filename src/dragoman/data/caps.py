"""The caps of a stage: so many utterances of a spoken language, so many pairs of a direction, over all its sources.

What a cap keeps is drawn by seed. n rows of one source, W words of a bit set of its index's languages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from dragoman.data.index import ManifestIndex
from dragoman.data.indexing import Bits
from dragoman.data.sampling import Rows

_Positions = NDArray[np.intp]


def cap_languages(
    indexes: Sequence[ManifestIndex], rows: Sequence[Rows], most: int, random: np.random.Generator
) -> list[Rows]:
    """Of the rows of each source, those that are kept: at most `most` of a spoken language in all sources together."""
    kept = [np.zeros(len(own), np.bool_) for own in rows]
    for code in languages_of(indexes):
        for source, positions in enumerate(_drawn(_spoken_in(code, indexes, rows), most, random)):
            kept[source][positions] = True
    return [own[keep] for own, keep in zip(rows, kept, strict=True)]


def cap_directions(
    indexes: Sequence[ManifestIndex],
    rows: Sequence[Rows],
    targets: Sequence[Bits],
    most: int,
    random: np.random.Generator,
) -> list[tuple[Rows, Bits]]:
    """Rows, `targets` (W,) that each source may give -> the rows that are kept and the targets (n, W) drawn for each.

    The utterances of a direction are drawn by themselves, so that many are heard, and few for each of their targets.
    Rows that are drawn for no direction are left out; those that never had a target stay, to be transcribed.
    """
    stay = [np.zeros(len(own), np.bool_) for own in rows]
    drawn = [np.zeros((len(own), len(given)), np.uint64) for own, given in zip(rows, targets, strict=True)]
    for code in languages_of(indexes):
        own = _spoken_in(code, indexes, rows)
        had = [
            np.asfortranarray(index.targets(every[at]) & given)
            for index, every, at, given in zip(indexes, rows, own, targets, strict=True)
        ]
        for source, pairs in enumerate(_drawn_pairs(indexes, had, most, random)):
            drawn[source][own[source]] = pairs
            stay[source][own[source]] = pairs.any(1) | ~had[source].any(1)
    return [(every[keep], pairs[keep]) for every, keep, pairs in zip(rows, stay, drawn, strict=True)]


def languages_of(indexes: Iterable[ManifestIndex]) -> list[str]:
    """All that these manifests name, in the order of their codes."""
    return sorted({code for index in indexes for code in index.languages})


def _spoken_in(code: str, indexes: Sequence[ManifestIndex], rows: Sequence[Rows]) -> list[_Positions]:
    numbers = [index.numbers.get(code, -1) for index in indexes]
    return [
        np.flatnonzero(index.language[own] == number) for index, own, number in zip(indexes, rows, numbers, strict=True)
    ]


def _drawn(able: Sequence[_Positions], most: int, random: np.random.Generator) -> list[_Positions]:
    """At most `most` of the positions in all sources together."""
    ends = np.cumsum([len(own) for own in able])
    if ends[-1] <= most:
        return list(able)
    picks = np.sort(random.choice(ends[-1], most, replace=False, shuffle=False))
    parts = np.split(picks, np.searchsorted(picks, ends[:-1]))
    return [own[part - first] for own, part, first in zip(able, parts, (0, *ends[:-1]), strict=True)]


def _drawn_pairs(
    indexes: Sequence[ManifestIndex], had: Sequence[Bits], most: int, random: np.random.Generator
) -> list[Bits]:
    """(n, W) of each source, what rows of one language have -> what of it is drawn, each target at most so often."""
    pairs = [np.zeros_like(own) for own in had]
    for code in languages_of(indexes):
        places = [divmod(index.numbers[code], 64) if code in index.numbers else None for index in indexes]
        able = [
            np.flatnonzero(own[:, place[0]] & np.uint64(1 << place[1])) if place else np.zeros(0, np.intp)
            for own, place in zip(had, places, strict=True)
        ]
        for own, place, rows in zip(pairs, places, _drawn(able, most, random), strict=True):
            if place:
                own[rows, place[0]] |= np.uint64(1 << place[1])
    return pairs
