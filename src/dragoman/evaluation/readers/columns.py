"""Hypotheses beside their references: tab-separated, or in files of parallel lines, as for sacreBLEU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dragoman.errors import DataError
from dragoman.evaluation.readers.base import InputSpec, Lines, ReadHypotheses, read_lines
from dragoman.evaluation.score import COUNTS
from dragoman.records import Hypothesis

_COLUMNS = ("hypothesis", "reference", "source")


def fits_tsv(line: str, row: dict[str, Any] | None, given: InputSpec) -> bool:
    return row is None and "\t" in line and given.references is None


def read_tsv(given: InputSpec, lines: Lines) -> ReadHypotheses:
    """Hypothesis, reference and, as a third column, source; or as a first row with these names orders them."""
    if given.sources:
        raise DataError(f"{given.hypotheses}: holds columns, and the source is one of them; leave --src out.")
    table = [(number, line.split("\t")) for number, line in lines]
    head = [cell.strip().lower() for cell in table[0][1]]
    named = sorted(head) in (sorted(_COLUMNS), sorted(_COLUMNS[:2]))
    names = head if named else _COLUMNS[: len(head)]
    for number, cells in table:
        if len(cells) != len(names):
            raise DataError(
                f"{given.hypotheses}:{number}: has {len(cells)} columns where {len(names)} are expected"
                f" ({', '.join(names)})."
            )
    rows = [dict(zip(names, cells, strict=True)) for _, cells in table[named:]]
    return _parallel(given, [[row[name] for row in rows] for name in _COLUMNS if name in names])


def fits_text(line: str, row: dict[str, Any] | None, given: InputSpec) -> bool:
    return (row is None and "\t" not in line) or given.references is not None


def read_text(given: InputSpec, lines: Lines) -> ReadHypotheses:
    """A sentence a line, in parallel with the references and, for metrics that look at them, the sources."""
    if given.references is None:
        raise DataError(f"{given.hypotheses}: holds plain lines; give their references with --ref, one a line.")
    columns = [[line for _, line in lines]]
    for path in filter(None, (given.references, given.sources)):
        column = [line for _, line in read_lines(path)]
        if len(column) != len(columns[0]):
            raise DataError(
                f"{given.hypotheses} has {len(columns[0])} lines and {path} has {len(column)}; they must be parallel."
            )
        columns.append(column)
    return _parallel(given, columns)


def _parallel(given: InputSpec, columns: Sequence[Sequence[str]]) -> ReadHypotheses:
    source, target = given.languages()
    if source == target and len(columns) > 2:
        raise DataError(f"{given.hypotheses}: transcripts have no source; leave the third column or --src out.")
    names = ("transcript", "reference_transcript") if source == target else ("translation", "reference")
    fields = (*names, "reference_transcript")[: len(columns)]
    cells = (dict(zip(fields, row, strict=True)) for row in zip(*columns, strict=True))
    rows = [
        Hypothesis.model_validate({"id": str(number), "source": source, "target": target, **row})
        for number, row in enumerate(cells, 1)
    ]
    return ReadHypotheses(rows, {name: COUNTS[name] for name in ("empty", "hallucinated")})
