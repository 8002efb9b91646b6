"""What is read off a matrix of directions: averages over the papers' sets, bins, languages, correlations.

A matrix is direction to value, `{"eng-deu": 31.2, …}`; every direction counts once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from itertools import pairwise
from statistics import StatisticsError, correlation, fmean

from dragoman.text.languages import FAMILIES, SETS

Matrix = Mapping[str, float]

NAMED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "6 x 12": (SETS["llm-srt-6-sources"], SETS["llm-srt-13"]),
    "15 x 14": (SETS["llm-srt-15"], SETS["llm-srt-15"]),
    "9 x 27": (SETS["mcat-9-sources"], SETS["mcat-28"]),
    "9 x 69": (SETS["mcat-9-sources"], SETS["mcat-70"]),
    "70 x 69": (SETS["mcat-70"], SETS["mcat-70"]),
    "eng to 27": (("eng",), SETS["mcat-28"]),
    "eng to 69": (("eng",), SETS["mcat-70"]),
    "69 to eng": (SETS["mcat-70"], ("eng",)),
}
"""Sources and targets of the averages that LLM-SRT (Tables 3 and 4) and MCAT (Tables VI and VII) print; a source is no
target of itself. The last is not printed there, but follows from the authors' result file."""

COMET_EDGES = (50, 60, 70, 80, 90)
"""MCAT, Table VIII; a value on an edge counts upwards."""


def averages(matrix: Matrix) -> dict[str, float]:
    """The mean over each named set of which the matrix holds every direction."""
    sets = {name: directions(*ends) for name, ends in NAMED.items()}
    return {name: fmean(matrix[d] for d in wanted) for name, wanted in sets.items() if matrix.keys() >= set(wanted)}


def directions(sources: Iterable[str], targets: Iterable[str]) -> list[str]:
    """Every pair of two different languages."""
    wanted = tuple(targets)
    return [f"{source}-{target}" for source in sources for target in wanted if source != target]


def bins(matrix: Matrix) -> dict[str, int]:
    """Directions per range of COMET: `<50`, `50-60`, … `>90`."""
    first, *_, last = COMET_EDGES
    inner = [f"{low}-{high}" for low, high in pairwise(COMET_EDGES)]
    counts = dict.fromkeys([f"<{first}", *inner, f">{last}"], 0)
    names = list(counts)
    for value in matrix.values():
        counts[names[bisect_right(COMET_EDGES, value)]] += 1
    return counts


def by_source(matrix: Matrix) -> dict[str, float]:
    """Language to the mean of what is translated from it."""
    return _by_end(matrix, 0)


def by_target(matrix: Matrix) -> dict[str, float]:
    """Language to the mean of what is translated into it."""
    return _by_end(matrix, 1)


def families(codes: Iterable[str]) -> dict[str, list[str]]:
    """The languages in the order of FAMILIES, those of no family known here last; families without one are left out."""
    wanted = set(codes)
    kept = {family: [code for code in members if code in wanted] for family, members in FAMILIES.items()}
    kept["others"] = sorted(wanted.difference(*kept.values()))
    return {family: members for family, members in kept.items() if members}


def in_order(codes: Iterable[str]) -> list[str]:
    """The languages, relatives side by side."""
    return [code for members in families(codes).values() for code in members]


def shared(first: Matrix, second: Matrix) -> dict[str, tuple[float, float]]:
    """Direction to both values, where both have one."""
    return {key: (first[key], second[key]) for key in first if key in second}


def pearson(pairs: Iterable[tuple[float, float]]) -> float | None:
    """Pearson's r; None for fewer than three points, or when one side does not vary."""
    points = list(pairs)
    if len(points) < 3:
        return None
    try:
        return correlation(*zip(*points, strict=True))
    except StatisticsError:
        return None


def _by_end(matrix: Matrix, end: int) -> dict[str, float]:
    groups: dict[str, list[float]] = {}
    for direction, value in matrix.items():
        groups.setdefault(direction.split("-")[end], []).append(value)
    return {code: fmean(groups[code]) for code in in_order(groups)}
