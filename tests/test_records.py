"""Rows: what is written is read back, and a wrong row is named by file, line and field."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.errors import ManifestError
from dragoman.records import Hypothesis, Utterance, read_hypotheses, read_manifest, read_rows, to_json_line, write_rows
from dragoman.text.languages import LANGUAGES

GOOD = {"id": "a", "audio": "a.wav", "language": "deu"}

codes = st.sampled_from(sorted(LANGUAGES))
names = st.text(min_size=1)
seconds = st.floats(min_value=0.0, allow_nan=False, allow_infinity=False)
utterances = st.builds(
    Utterance,
    id=names,
    audio=names,
    language=codes,
    text=st.text(),
    start_s=seconds,
    duration_s=st.none() | seconds.filter(bool),
    sentence=st.none() | names,
    translations=st.dictionaries(codes, st.text()),
)
hypotheses = st.builds(
    Hypothesis,
    id=names,
    source=codes,
    target=codes,
    start_s=seconds,
    end_s=st.none() | seconds,
    transcript=st.text(),
    translation=st.text(),
    raw=st.text(),
    truncated=st.booleans(),
    reference_transcript=st.none() | st.text(),
    reference=st.none() | st.text(),
)


def write(path: Path, *rows: dict[str, Any] | str) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


@given(rows=st.lists(utterances))
def test_utterances_come_back(tmp_path_factory: pytest.TempPathFactory, rows: list[Utterance]) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_rows(path, rows)
    assert [row for _, row in read_rows(path, Utterance)] == rows


@given(rows=st.lists(hypotheses))
def test_hypotheses_come_back(tmp_path_factory: pytest.TempPathFactory, rows: list[Hypothesis]) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_rows(path, rows)
    assert read_hypotheses(path) == rows


def test_a_line_is_one_line_and_leaves_defaults_out() -> None:
    row = Utterance(id="1", audio="a.wav", language="fra", text="é\n\u2028\r")
    assert to_json_line(row) == '{"id": "1", "audio": "a.wav", "language": "fra", "text": "é\\n\u2028\\r"}\n'


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": ""}, "id"),
        ({"id": 7}, "id"),
        ({"audio": None}, "audio"),
        ({"language": "de"}, "language"),
        ({"language": "German"}, "language"),
        ({"text": 1}, "text"),
        ({"start_s": -0.1}, "start_s"),
        ({"start_s": "0"}, "start_s"),
        ({"duration_s": 0}, "duration_s"),
        ({"sentence": ""}, "sentence"),
        ({"sentence": 3}, "sentence"),
        ({"translations": {"en": "x"}}, "translations"),
        ({"translations": {"eng": None}}, "translations.eng"),
        ({"translations": []}, "translations"),
        ({"speaker": "x"}, "speaker"),
    ],
)
def test_a_wrong_utterance_names_file_line_and_field(tmp_path: Path, change: dict[str, Any], field: str) -> None:
    path = write(tmp_path / "m.jsonl", {**GOOD, "id": "first"}, "", {**GOOD, **change})
    with pytest.raises(ManifestError) as error:
        read_manifest(path)
    assert str(error.value).startswith(f"{path}:3: {field}: ")
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


@pytest.mark.parametrize("field", ["id", "language"])
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    path = write(tmp_path / "m.jsonl", {key: value for key, value in GOOD.items() if key != field})
    with pytest.raises(ManifestError, match=rf"m\.jsonl:1: {field}: "):
        read_manifest(path)


@pytest.mark.parametrize("line", ["{", "[]", "null", '"text"', '{"id": "a"} {}', '{"start_s": NaN}'])
def test_what_is_no_row_is_an_error(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "m.jsonl", GOOD, line)
    with pytest.raises(ManifestError, match=r"m\.jsonl:2: "):
        read_manifest(path)


def test_a_repeated_id_names_both_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", GOOD, "", GOOD)
    with pytest.raises(ManifestError, match=r"m\.jsonl:3: id: 'a' is already on line 1"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"source": "de"}, "source"),
        ({"target": "xx"}, "target"),
        ({"truncated": "no"}, "truncated"),
        ({"start_s": -1.0}, "start_s"),
        ({"end_s": -1.0}, "end_s"),
        ({"reference": 5}, "reference"),
    ],
)
def test_a_wrong_hypothesis_names_file_line_and_field(tmp_path: Path, change: dict[str, Any], field: str) -> None:
    good = {"id": "a", "source": "eng", "target": "deu"}
    path = write(tmp_path / "h.jsonl", good, {**good, **change})
    with pytest.raises(ManifestError, match=rf"h\.jsonl:2: {field}: "):
        read_hypotheses(path)


def test_what_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes('{"id": "ä"}'.encode("latin-1"))
    for path in (tmp_path / "missing.jsonl", tmp_path, latin):
        with pytest.raises(ManifestError, match=str(path)):
            read_manifest(path)


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(GOOD) + "\n", encoding="utf-8-sig")
    assert read_manifest(path)[0].id == "a"


def test_audio_is_relative_to_the_manifest(tmp_path: Path) -> None:
    rows = [{**GOOD, "audio": "clips/a.wav"}, {**GOOD, "id": "b", "audio": "/abs/b.wav"}]
    read = read_manifest(write(tmp_path / "m.jsonl", *rows))
    assert [row.audio for row in read] == [os.path.join(tmp_path, "clips/a.wav"), "/abs/b.wav"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, [Utterance.model_validate(GOOD)])
    before = path.read_bytes()

    def broken() -> Iterator[Utterance]:
        yield Utterance.model_validate(GOOD)
        raise RuntimeError("the corpus broke off")

    with pytest.raises(RuntimeError):
        write_rows(path, broken())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
