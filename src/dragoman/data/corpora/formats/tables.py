"""Rows of text files with the line they stand on: tab-separated, comma-separated, JSON lines."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dragoman.data.corpora.parts import BadRecording
from dragoman.errors import DataError
from dragoman.text.csv_rows import csv_rows, encoding_of

_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Record:
    """The fields of one line, by name."""

    file: str
    line: int
    values: dict[str, Any]

    def bad(self, reason: str) -> BadRecording:
        return BadRecording(file=self.file, line=self.line, reason=reason)


def read_lines(path: Path) -> Iterator[tuple[int, str] | BadRecording]:
    """The lines of a UTF-8 file, or of another as its byte-order mark says, from 1, without their ends; empty ones are
    passed over. Raises DataError."""
    try:
        if (encoding := encoding_of(path)) != "utf-8-sig":
            with open(path, encoding=encoding, newline="\n") as texts:
                yield from ((number, text.rstrip("\r\n")) for number, text in enumerate(texts, 1) if text.strip())
            return
        with open(path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    text = line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError:
                    yield BadRecording(file=str(path), line=number, reason="is not UTF-8 text; save the file as UTF-8")
                    continue
                if text:
                    yield number, text
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path.") from error
    except UnicodeError as error:
        raise DataError(f"{path}: is not {encoding.upper()} as it begins; save it as UTF-8.") from error


def count_lines(path: Path) -> int:
    """How many lines a file has, empty ones included; 0 where it is not there."""
    if not path.is_file():
        return 0
    with open(path, "rb") as lines:
        return sum(1 for _ in lines)


def read_tsv(
    path: Path, needed: Sequence[str], columns: Sequence[str] | None = None, escaped: bool = False
) -> Iterator[Record | BadRecording]:
    """The rows of a tab-separated file; by the names of its first line, or by `columns` where it has none. Quotes mean
    nothing, except where pandas wrote the file (`escaped`). Raises DataError where a needed column is missing.
    """
    names = columns
    for item in read_lines(path):
        if isinstance(item, BadRecording):
            yield item
            continue
        number, line = item
        fields = line.split("\t")
        if names is None:
            names = fields
            _check_columns(path, number, names, needed)
            continue
        if len(fields) != len(names):
            yield BadRecording(file=str(path), line=number, reason=f"has {len(fields)} columns, not {len(names)}")
            continue
        values = [_unescaped(field) for field in fields] if escaped else fields
        yield Record(str(path), number, dict(zip(names, values, strict=True)))
    if names is None:
        raise DataError(f"{path}: is empty; it needs a first line that names {', '.join(needed)}.")


def read_csv(path: Path, needed: Sequence[str]) -> Iterator[Record | BadRecording]:
    """The rows of a spreadsheet (see `csv_rows`) with a first line of names. Raises DataError."""
    rows = csv_rows(path, needed)
    _, names = next(rows, (1, list[str]()))
    _check_columns(path, 1, names, needed)
    for line, fields in rows:
        if len(fields) != len(names):
            yield BadRecording(file=str(path), line=line, reason=f"has {len(fields)} columns, not {len(names)}")
        else:
            yield Record(str(path), line, dict(zip(names, fields, strict=True)))


def read_json_lines(path: Path) -> Iterator[Record | BadRecording]:
    """The objects of a JSON-lines file. Raises DataError when it cannot be read."""
    for item in read_lines(path):
        if isinstance(item, BadRecording):
            yield item
            continue
        number, line = item
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError:
            values = None
        if isinstance(values, dict):
            yield Record(str(path), number, values)
        else:
            yield BadRecording(file=str(path), line=number, reason="is not a JSON object")


def inside(root: Path, name: str) -> Path:
    """The path that a table means by `name`, which must lie below `root`: tables come from others.

    Raises ValueError, in a sentence, when it does not.
    """
    if "\0" in name or any("\ud800" <= character <= "\udfff" for character in name):
        raise ValueError(f"the recording {name!r} has a name that no file can have")
    base = os.path.abspath(root)
    path = Path(os.path.abspath(os.path.join(base, name)))
    if not name or not path.is_relative_to(base) or str(path) == base:
        raise ValueError(f"the recording {name!r} does not lie in {root}; name the folder that holds it with --root")
    return path


def is_plain_member(name: str) -> bool:
    """Whether the name of a member of an archive stays inside it."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _unescaped(field: str) -> str:
    """pandas protects quotes by a backslash or, in other releases of one corpus, by CSV's rule: the field stands in
    quotes and those inside are doubled. A sentence that merely stands in quotes has none to double."""
    inner = field[1:-1]
    if field[:1] == field[-1:] == '"' and '""' in inner and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return _ESCAPED.sub(r"\1", field)


def _check_columns(path: Path, line: int, names: Sequence[str], needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in names]
    if missing:
        found = ", ".join(names) or "nothing"
        raise DataError(f"{path}:{line}: the column {missing[0]!r} is missing; the first line names {found}.")
