"""The rows that pass between the parts, as JSON lines: utterances in, hypotheses out.

Two utterances with the same `sentence` are translations of one another, so an n-way corpus needs one
row per recording, not one per direction; `translations` adds targets that have no recording.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dragoman.errors import LanguageError, ManifestError
from dragoman.files import atomic_file
from dragoman.text.csv_rows import encoding_of
from dragoman.text.languages import find, is_code

RowT = TypeVar("RowT", bound=BaseModel)


class Utterance(BaseModel):
    """One piece of speech with what is known of it, or, without `audio`, text alone: a line of a manifest.

    A `text` (or all `translations`) that is given and empty says that nothing is said (silence, noise, music); one that
    is left out, that what is said is not known.

    Attributes:
        id: Unique within a manifest.
        audio: A file, relative to the manifest's folder.
        language: What is spoken, ISO 639-3.
        text: What is said.
        start_s: Where in the file it begins, in seconds.
        duration_s: How long it lasts, in seconds; None: to the file's end.
        sentence: Rows that share it are translations of one another.
        translations: What is said, by ISO 639-3 code.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: str = Field(min_length=1)
    audio: str = ""
    language: str
    text: str = ""
    start_s: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    duration_s: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    sentence: str | None = Field(default=None, min_length=1)
    translations: dict[str, str] = Field(default_factory=dict)

    @property
    def is_speechless(self) -> bool:
        """Whether it is known that nothing is said."""
        given = "text" in self.model_fields_set or bool(self.translations)
        return given and not any(text.strip() for text in (self.text, *self.translations.values()))


class Hypothesis(BaseModel):
    """What a system wrote for one utterance and one target.

    Attributes:
        id: The utterance's.
        source: What is spoken, ISO 639-3.
        target: What is written; the source again where it is transcribed only.
        start_s: Where in its file the utterance begins, in seconds.
        end_s: Where it ends.
        transcript: What the system heard; empty where it writes no transcripts.
        translation: What it wrote in the target.
        raw: The output in the model's own format, tags included; one line a part where a long utterance was divided.
        truncated: Whether it was stopped before its end.
        reference_transcript: What is said; empty: nothing is; None: nobody knows.
        reference: What is to be written in the target, likewise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: str = Field(min_length=1)
    source: str
    target: str
    start_s: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    end_s: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    transcript: str = ""
    translation: str = ""
    raw: str = ""
    truncated: bool = False
    reference_transcript: str | None = None
    reference: str | None = None


def read_manifest(path: str | Path) -> list[Utterance]:
    """Read and check a manifest; its audio paths are joined to the manifest's folder.

    Raises:
        ManifestError: A wrong row, a repeated id or an unknown language; the message names file, line and field.
    """
    path = Path(path)
    rows: list[Utterance] = []
    seen: dict[str, int] = {}
    for number, row in read_rows(path, Utterance):
        if row.id in seen:
            raise ManifestError(f"{path}:{number}: id: {row.id!r} is already on line {seen[row.id]}; rename one.")
        seen[row.id] = number
        _check_languages(path, number, row)
        rows.append(relative_to_manifest(path, row))
    return rows


def relative_to_manifest(manifest: Path, row: Utterance) -> Utterance:
    """A row of a manifest with its audio path, if it has one, joined to the manifest's folder."""
    return row.model_copy(update={"audio": os.path.join(manifest.parent, row.audio)}) if row.audio else row


def read_hypotheses(path: str | Path) -> list[Hypothesis]:
    """Read and check a hypotheses file.

    Raises:
        ManifestError: A wrong row or an unknown language; the message names file, line and field.
    """
    path = Path(path)
    rows: list[Hypothesis] = []
    for number, row in read_rows(path, Hypothesis):
        _check_direction(path, number, row)
        rows.append(row)
    return rows


def parse_hypothesis(path: Path, number: int, line: str) -> Hypothesis:
    """One line of a hypotheses file, checked as `read_hypotheses` checks it. Raises ManifestError."""
    row = _parse(path, number, line, Hypothesis)
    _check_direction(path, number, row)
    return row


def read_rows(path: Path, kind: type[RowT]) -> Iterator[tuple[int, RowT]]:
    """Yield (line number, row); blank lines are allowed, anything else that is not a row is an error.

    A byte-order mark at the start, as Windows editors write it, is allowed too.
    """
    try:
        if (encoding := encoding_of(path)) != "utf-8-sig":
            raise ManifestError(f"{path}: is in {encoding.upper()}; save it as JSON lines in UTF-8.")
        with open(path, encoding=encoding) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, _parse(path, number, line, kind)
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror}); check the path.") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: is not UTF-8 text; save it as JSON lines in UTF-8.") from error


def parse_utterance(path: Path, number: int, line: str) -> Utterance:
    """One line of a manifest, checked by itself as `read_manifest` checks it; its audio path stays as it is written.

    Raises ManifestError.
    """
    row = _parse(path, number, line, Utterance)
    _check_languages(path, number, row)
    return row


def write_rows(path: str | Path, rows: Iterable[BaseModel]) -> None:
    """Write rows, the whole file or nothing: when `rows` raises, an earlier file of that name stays as it was."""
    with atomic_file(Path(path)) as out:
        out.writelines(to_json_line(row) for row in rows)


def to_json_line(row: BaseModel) -> str:
    """One row as a JSON line; fields that hold their default are left out."""
    return json.dumps(row.model_dump(exclude_defaults=True), ensure_ascii=False) + "\n"


def _parse(path: Path, number: int, line: str, kind: type[RowT]) -> RowT:
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "row"
        raise ManifestError(f"{path}:{number}: {field}: {first['msg']}.") from error


def _check_languages(path: Path, number: int, row: Utterance) -> None:
    _check_language(path, number, "language", row.language)
    for code in row.translations:
        _check_language(path, number, "translations", code)


def _check_direction(path: Path, number: int, row: Hypothesis) -> None:
    _check_language(path, number, "source", row.source)
    _check_language(path, number, "target", row.target)


def _check_language(path: Path, number: int, field: str, code: str) -> None:
    if is_code(code):
        return
    try:
        reason = f"{code!r} is {find(code).code!r} in a manifest."
    except LanguageError as error:
        reason = str(error)
    raise ManifestError(f"{path}:{number}: {field}: {reason}")
