"""Tables as spreadsheets save them: separated by commas, semicolons or tabs, in UTF-8, or in the UTF-16 or UTF-32 that
the first bytes show. No encoding is guessed."""

from __future__ import annotations

import codecs
import csv
import itertools
from collections.abc import Collection, Iterator
from pathlib import Path

from dragoman.errors import DataError

_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16's, with which it begins
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_UNMARKED: dict[tuple[bool, ...], str] = {
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
}


def encoding_of(path: Path) -> str:
    """That of a text file, by its byte-order mark, or by the zeros between the letters that it begins with; without
    either UTF-8. Raises OSError."""
    with open(path, "rb") as file:
        start = file.read(4)
    zeros = tuple(byte == 0 for byte in start)
    return next((name for mark, name in _MARKS.items() if start.startswith(mark)), _UNMARKED.get(zeros, "utf-8-sig"))


def csv_rows(path: Path, needed: Collection[str] = ()) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row that is not empty, the first of which names the columns, with the line on which it begins;
    quoted as in RFC 4180. What separates them is detected from the first line, which should name the columns `needed`.

    Raises DataError naming file and line where it cannot be read.
    """
    begins = 1
    try:
        with open(path, encoding=encoding_of(path), newline="") as lines:
            first = lines.readline()
            mark = _separator(first, needed)
            reader = csv.reader(itertools.chain([first], lines), delimiter=mark, strict=True, skipinitialspace=True)
            for cells in reader:
                if cells:
                    yield begins, cells
                begins = reader.line_num + 1
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path.") from error
    except UnicodeError as error:
        raise DataError(f"{path}: is not UTF-8 text; save it as UTF-8 (in Excel: CSV UTF-8).") from error
    except csv.Error as error:
        raise DataError(
            f"{path}:{begins}: is not proper CSV ({error}): in the row that begins here a quote is not closed, or not"
            " doubled within a text; fix it."
        ) from error


def _separator(line: str, needed: Collection[str]) -> str:
    """The one by which the columns are named; else the first that is in the line."""
    for mark in ",;\t":
        names = {name.strip().lower() for name in line.rstrip("\r\n").replace('"', "").split(mark)}
        if needed and {name.lower() for name in needed} <= names:
            return mark
    return next((mark for mark in ",;\t" if mark in line), ",")
