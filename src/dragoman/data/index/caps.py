"""The caps of a stage: most utterances of a spoken language, most pairs of a direction, over all its sources.

What a cap keeps is drawn by seed. n rows of one source, W words of a bit set of its index's languages; a place is a
position among the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dragoman.data.index import ManifestIndex
from dragoman.data.index.building import Bits
from dragoman.data.sampling import Rows


def cap_languages(
    indexes: Sequence[ManifestIndex], rows: Sequence[Rows], most: int, random: np.random.Generator
) -> list[Rows]:
    """Of the rows of each source, those that are kept: at most `most` of a spoken language in all sources together."""
    kept = [np.zeros(len(own), np.bool_) for own in rows]
    for places in _by_language(indexes, rows):
        for own, drawn in zip(kept, _drawn(places, most, random), strict=True):
            own[drawn] = True
    return [own[keep] for own, keep in zip(rows, kept, strict=True)]


def cap_directions(
    indexes: Sequence[ManifestIndex],
    rows: Sequence[Rows],
    targets: Sequence[Sequence[str]],
    most: int,
    random: np.random.Generator,
) -> list[tuple[Rows, Bits]]:
    """Rows of each source and the targets that it may give -> the rows that are kept, and which targets (n, W) of each.

    The utterances of a direction are drawn by themselves, so that many are heard, and few for each of their targets.
    Rows that are drawn for no direction are left out; those that never had a target stay, to be transcribed.
    """
    given = [index.bit_set(codes) for index, codes in zip(indexes, targets, strict=True)]
    codes = sorted({code for own in targets for code in own})
    kept = [[(own[:0], np.zeros((0, len(bits)), np.uint64))] for own, bits in zip(rows, given, strict=True)]
    for places in _by_language(indexes, rows):
        own = [every[place] for every, place in zip(rows, places, strict=True)]
        had = [index.targets(some) & bits for index, some, bits in zip(indexes, own, given, strict=True)]
        for source, pairs in enumerate(_drawn_pairs(indexes, had, codes, most, random)):
            stay = pairs.any(1) | ~had[source].any(1)
            kept[source].append((own[source][stay], pairs[stay]))
    return [_in_order(*zip(*found, strict=True)) for found in kept]


def _by_language(indexes: Sequence[ManifestIndex], rows: Sequence[Rows]) -> Iterator[list[Rows]]:
    """The places of a language's rows in each source, language by language in the order of their codes."""
    language = [index.language[own] for index, own in zip(indexes, rows, strict=True)]
    spoken = {
        index.languages[number]
        for index, own in zip(indexes, language, strict=True)
        for number in np.flatnonzero(np.bincount(own))
    }
    for code in sorted(spoken):
        numbers = [index.numbers.get(code, -1) for index in indexes]
        yield [np.flatnonzero(own == number) for own, number in zip(language, numbers, strict=True)]


def _drawn(able: Sequence[Rows], most: int, random: np.random.Generator) -> list[Rows]:
    """At most `most` of the places in all sources together."""
    ends = np.cumsum([len(own) for own in able])
    if ends[-1] <= most:
        return list(able)
    picks = np.sort(random.choice(ends[-1], most, replace=False, shuffle=False))
    parts = np.split(picks, np.searchsorted(picks, ends[:-1]))
    return [own[part - first] for own, part, first in zip(able, parts, (0, *ends[:-1]), strict=True)]


def _drawn_pairs(
    indexes: Sequence[ManifestIndex], had: Sequence[Bits], codes: Sequence[str], most: int, random: np.random.Generator
) -> list[Bits]:
    """(n, W) of each source, what rows of one language have -> what of it is drawn, each target at most so often."""
    had = list(map(np.asfortranarray, had))  # read column by column
    pairs = list(map(np.zeros_like, had))
    for code in codes:
        bits = [divmod(index.numbers[code], 64) if code in index.numbers else None for index in indexes]
        able = [
            np.flatnonzero(own[:, bit[0]] & np.uint64(1 << bit[1])) if bit else np.zeros(0, np.intp)
            for own, bit in zip(had, bits, strict=True)
        ]
        for own, bit, places in zip(pairs, bits, _drawn(able, most, random), strict=True):
            if bit:
                own[places, bit[0]] |= np.uint64(1 << bit[1])
    return pairs


def _in_order(rows: Sequence[Rows], pairs: Sequence[Bits]) -> tuple[Rows, Bits]:
    every = np.concatenate(rows)
    order = np.argsort(every)
    return every[order], np.concatenate(pairs)[order]
