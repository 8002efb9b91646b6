"""The JSON lines that the authors of LLM-SRT and MCAT write: prompt, gt (what is right) and response.

The prompt ends with the tags of the languages. An SRT response is parted at these same tags, into exactly two; one that
cannot be parted is scored as it is, as the transcript and as the translation, and counted as malformed. Every row is
a hypothesis of its own: a model that transcribes anew for every target has its transcripts scored once per target.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from dragoman.errors import DataError, LanguageError
from dragoman.evaluation.readers.base import InputSpec, Lines, ReadHypotheses
from dragoman.evaluation.score import COUNTS
from dragoman.records import Hypothesis
from dragoman.text.languages import find

_TAGS = re.compile(r"((?:<\|([^|<>]+)\|>)?<\|([^|<>]+)\|>)\s*\Z")


class _Output(BaseModel):
    """A row as the authors' inference writes it; further fields (audio_path, rank, …) are theirs to have."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    prompt: str
    gt: str
    response: str


def fits(line: str, row: dict[str, Any] | None, given: InputSpec) -> bool:
    return row is not None and bool(row.keys() & _Output.model_fields.keys())


def read(given: InputSpec, lines: Lines) -> ReadHypotheses:
    parsed = [_output(given.hypotheses, number, line) for number, line in lines if line.strip()]
    if len({"transcript" in row.model_fields_set for row, _ in parsed}) > 1:
        raise DataError(f"{given.hypotheses}: mixes tasks with and without transcripts; score them apart.")
    malformed = frozenset(row.id for row, keeps in parsed if not keeps)
    known = {name: COUNTS[name] for name in ("empty", "hallucinated")}
    return ReadHypotheses([row for row, _ in parsed], {**known, "malformed": lambda row: row.id in malformed})


def _output(path: Path, number: int, line: str) -> tuple[Hypothesis, bool]:
    """The row, and whether its response keeps the format of its task."""
    try:
        row = _Output.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "row"
        raise DataError(f"{path}:{number}: {field}: {first['msg']}.") from error
    found = _TAGS.search(row.prompt)
    if not found:
        raise DataError(f"{path}:{number}: prompt: does not end with tags of languages, such as <|eng|><|deu|>.")
    tags, source, target = found.groups()
    written, said = _parts(row.gt, tags), _parts(row.response, tags)
    if len(written) > 2:
        raise DataError(
            f"{path}:{number}: gt: holds {tags} {len(written) - 1} times; write it once, between the texts."
        )
    bare = {"id": str(number), "source": _code(path, number, source or target), "target": _code(path, number, target)}
    fields = bare | {"raw": row.response} | _texts(row, row.prompt[: found.start()].strip(), source, written, said)
    return Hypothesis.model_validate(fields), len(said) == len(written)


def _texts(row: _Output, given: str, source: str | None, written: list[str], said: list[str]) -> dict[str, str | None]:
    whole = row.response.strip()
    if len(written) == 2:  # SRT
        transcript, translation = said if len(said) == 2 else (whole, whole)
        hypotheses = {"transcript": transcript, "translation": translation}
        return {**hypotheses, "reference_transcript": written[0], "reference": written[1]}
    if source is None:  # ASR: one tag
        return {"transcript": whole, "reference_transcript": written[0]}
    # SMT, whose prompt begins with the transcript, or ST
    return {"translation": whole, "reference_transcript": given or None, "reference": written[0]}


def _parts(text: str, tags: str) -> list[str]:
    return [part.strip() for part in text.split(tags)]


def _code(path: Path, number: int, tag: str) -> str:
    try:
        return find(tag).code
    except LanguageError as error:
        raise DataError(f"{path}:{number}: prompt: {error}") from error
