"""Sentences as text alone: licences, joined rows, nothing of dev."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from dragoman.data.corpora.sentences import prepare
from dragoman.errors import DataError
from dragoman.records import Utterance, read_rows


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """120 sentences, of which every third has its German under another licence, and two of development."""

    def row(number: int, flag: str) -> dict[str, Any]:
        return {
            "id": f"s{number}", "eng": f"Sentence {number} is here.", "deu": [f"Satz {number} ist hier."],
            "fra": [f"La phrase {number} est là."], "src": {"deu": flag, "fra": "m"},
        }  # fmt: skip

    rows = [row(number, "o" if number % 3 == 0 else "m") for number in range(120)]
    with gzip.open(tmp_path / "train.multi.jsonl.gz", "wt", encoding="utf-8") as out:
        out.writelines(json.dumps(one) + "\n" for one in rows)
    with gzip.open(tmp_path / "extra.bitext.jsonl.gz", "wt", encoding="utf-8"):
        pass
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows[:2]), encoding="utf-8")
    (tmp_path / "CREDITS.txt").write_text("Somebody.", encoding="utf-8")
    return tmp_path


def read(path: Path) -> list[Utterance]:
    return [row for _, row in read_rows(path, Utterance)]


def test_rows_are_text_with_licensed_translations_and_nothing_of_dev(root: Path, tmp_path: Path) -> None:
    counts = prepare(root, tmp_path / "out", ["eng", "deu", "fra"], valid_sentences=10)
    rows = read(tmp_path / "out" / "text.jsonl")
    valid = read(tmp_path / "out" / "text.valid.jsonl")
    assert counts == {"text": len(rows), "text.valid": len(valid)}
    assert all(not row.audio and row.text and row.translations for row in rows)
    german = {text for row in [*rows, *valid] for text in [row.translations.get("deu", ""), row.text]}
    assert not any(f"Satz {number} ist" in text for text in german for number in range(0, 120, 3))
    said = " ".join(row.text for row in rows)
    assert "Sentence 0 " not in said and "Sentence 1 " not in said
    held_out = {part for row in valid for part in row.id.rpartition("-")[0].split("+")}
    assert held_out.isdisjoint(part for row in rows for part in row.id.rpartition("-")[0].split("+"))
    assert (tmp_path / "out" / "CREDITS.txt").read_text(encoding="utf-8") == "Somebody."


def test_a_joined_row_is_translated_by_the_joined_translations(root: Path, tmp_path: Path) -> None:
    prepare(root, tmp_path / "out", ["eng", "fra"], valid_sentences=10, joined=1.0)
    joined = [row for row in read(tmp_path / "out" / "text.jsonl") if "+" in row.id and row.language == "eng"]
    assert joined
    for row in joined:
        numbers = [part.removeprefix("s") for part in row.id.removesuffix("-eng").split("+")]
        assert row.text == " ".join(f"Sentence {number} is here." for number in numbers)
        assert row.translations == {"fra": " ".join(f"La phrase {number} est là." for number in numbers)}


def test_english_and_another_language_are_needed(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="name eng and at least one other language"):
        prepare(root, tmp_path / "out", ["deu", "fra"])
