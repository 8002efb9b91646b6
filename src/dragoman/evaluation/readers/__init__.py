"""Anyone's hypotheses as Hypothesis rows: ours, the papers' JSON lines, TSV, plain lines. No torch.

The format is recognised by the first line that is not blank. Every row becomes a hypothesis or an error; none is left
out, an output that does not keep its format neither. Where a format has no ids, the number of the line is the id.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

from dragoman.errors import DataError
from dragoman.evaluation.readers import columns, papers
from dragoman.evaluation.readers.base import InputSpec, Lines, ReadHypotheses, read_lines
from dragoman.evaluation.score import COUNTS
from dragoman.records import parse_hypothesis

__all__ = ["FORMATS", "HypothesisFormat", "InputSpec", "ReadHypotheses", "read"]


@dataclass(frozen=True, slots=True)
class HypothesisFormat:
    """How a format is recognised by its first line (or the JSON object in it), and how it is read."""

    fits: Callable[[str, dict[str, Any] | None, InputSpec], bool]
    read: Callable[[InputSpec, Lines], ReadHypotheses]
    complete: bool
    """Whether it brings references and languages itself, so that none may be given."""


def read(given: InputSpec) -> ReadHypotheses:
    """The hypotheses in whichever of FORMATS they are.

    Raises DataError when they are in none of them, cannot be read, or do not fit what is given with them, and what
    the format's own reader raises.
    """
    lines = read_lines(given.hypotheses)
    before: list[tuple[int, str]] = []
    for number, line in lines:
        before.append((number, line))
        if line.strip():
            break
    if not before:
        raise DataError(f"{given.hypotheses}: is empty; there are no hypotheses to score.")
    return _recognise(before[-1][1], given).read(given, chain(before, lines))


def _recognise(line: str, given: InputSpec) -> HypothesisFormat:
    row = _object(line)
    for chosen in FORMATS.values():
        if chosen.fits(line, row, given):
            if chosen.complete and (given.references or given.sources or given.direction):
                raise DataError(
                    f"{given.hypotheses}: brings its references and languages; leave out --ref, --src and --direction."
                )
            return chosen
    raise DataError(
        f"{given.hypotheses}: is in no format that can be scored; give JSON lines that `dragoman evaluate` wrote, JSON"
        " lines with prompt, gt and response, tab-separated hypotheses and references, or plain lines with --ref."
    )


def _object(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _fits_dragoman(line: str, row: dict[str, Any] | None, given: InputSpec) -> bool:
    return row is not None and "id" in row


def _read_dragoman(given: InputSpec, lines: Lines) -> ReadHypotheses:
    return ReadHypotheses([parse_hypothesis(given.hypotheses, n, line) for n, line in lines if line.strip()], COUNTS)


FORMATS: dict[str, HypothesisFormat] = {
    "papers": HypothesisFormat(papers.fits, papers.read, complete=True),
    "dragoman": HypothesisFormat(_fits_dragoman, _read_dragoman, complete=True),
    "tsv": HypothesisFormat(columns.fits_tsv, columns.read_tsv, complete=False),
    "text": HypothesisFormat(columns.fits_text, columns.read_text, complete=False),
}
"""In the order in which they are tried; a new one is two functions and one entry here."""
