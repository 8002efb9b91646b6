"""Tables as spreadsheets save them, and the one sentence for those that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from dragoman.errors import DataError
from dragoman.text.csv_rows import csv_rows

TABLE = 'audio,text\na.wav,"Grüße, \n ""du"""\n\nb.wav,ja\n'
ROWS = [(1, ["audio", "text"]), (2, ["a.wav", 'Grüße, \n "du"']), (5, ["b.wav", "ja"])]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_however_a_spreadsheet_saved_it(mark: str, encoding: str, end: str, tmp_path: Path) -> None:
    text = TABLE.replace("audio,", f"audio{mark}").replace(".wav,", f".wav{mark}")
    (tmp_path / "t.csv").write_text(text, encoding=encoding, newline=end)
    rows = [(line, [cell.replace(end, "\n") for cell in cells]) for line, cells in csv_rows(tmp_path / "t.csv")]
    assert rows == ROWS


def test_the_columns_tell_what_parts_them(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("audio;text;notes, mine\na.wav;Ja, gut.;\n")
    assert next(csv_rows(tmp_path / "t.csv", ["audio", "text"]))[1] == ["audio", "text", "notes, mine"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'audio,text\na.wav,A\nb.wav,"open\nc.wav,C\nd.wav,D\n', "t.csv:3: is not proper CSV"),
        (b'audio,text\nb.wav,"open\nc.wav,"C"\n', "t.csv:2: is not proper CSV"),
        (b'audio,text\na.wav,A\nb.wav,"open\n' + 9000 * b"c.wav,some words\n", "t.csv:3: is not proper CSV"),
        ("audio,text\na.wav,Grüße\n".encode("cp1252"), "is not UTF-8 text; save it as UTF-8"),
        ("audio,text\n".encode("utf-16") + b"a", "is not UTF-8 text; save it as UTF-8"),
    ],
)
def test_what_cannot_be_read_is_named_where_it_begins(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError) as error:
        list(csv_rows(tmp_path / "t.csv"))
    assert says in str(error.value)
