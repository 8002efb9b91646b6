"""The registry, the verbs, several corpora in one folder, and training from it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import STRICT, sound

from dragoman.cli.data.prepare import app
from dragoman.data.corpora import CORPORA, common_voice, table
from dragoman.data.corpora.formats.tables import inside
from dragoman.data.index import open_index
from dragoman.errors import DataError
from dragoman.records import read_manifest
from dragoman.text.languages import LANGUAGES

DOCS = Path(__file__).parents[3] / "docs" / "corpora.md"


@pytest.mark.parametrize("name", CORPORA)
def test_every_corpus_says_what_it_is(name: str) -> None:
    corpus = CORPORA[name]
    assert corpus.name == name
    assert corpus.title and corpus.citation and corpus.licence and corpus.homepage
    assert all(code in LANGUAGES for code in corpus.languages)
    assert corpus.how.startswith(f"dragoman prepare {name} ")
    docs = DOCS.read_text(encoding="utf-8")
    assert f"## {name}" in docs and corpus.how in docs and corpus.licence in docs


def test_every_corpus_is_a_verb() -> None:
    assert {command.name for command in app.registered_commands} == set(CORPORA)


@given(st.text(alphabet="a./\\~\0 ", max_size=12))
def test_no_name_leads_out_of_the_root(name: str) -> None:
    root = Path("/data/clips")
    try:
        path = inside(root, name)
    except ValueError as error:
        assert "does not lie in" in str(error) or "no file can have" in str(error)
    else:
        assert path.is_relative_to(root) and path != root and ".." not in path.parts


def test_corpora_share_a_folder(release: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    (tmp_path / "a.wav").write_bytes(sound(1))
    row = {"audio": "a.wav", "language": "eng", "text": "A.", "translations": {"deu": "Ah."}}
    (tmp_path / "mine.jsonl").write_text(json.dumps(row) + "\n" + json.dumps({**row, "id": 2, "text": ""}) + "\n")
    common_voice.prepare(release, ("fra",), out, options=STRICT)
    table.prepare(tmp_path / "mine.jsonl", out, split="valid", options=STRICT)
    assert [u.id for u in read_manifest(out / "valid.jsonl")] == [
        "common_voice-fr-common_voice_fr_1", "mine-a", "mine-2"
    ]  # fmt: skip
    assert open_index(out / "valid.jsonl").utterance(1, ["deu"]).translations == {"deu": "Ah."}
    (out / "settings.json").write_text("{}")  # Tatoeba's
    with pytest.raises(DataError, match="needs a folder of its own"):
        common_voice.prepare(release, ("fra",), out, options=STRICT)


def test_the_command_line(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from dragoman.cli import main

    command = ["dragoman", "prepare", "common_voice", "--root", release, "--languages", "de,fr", "--out", tmp_path]
    monkeypatch.setattr(sys, "argv", [*map(str, command), "--splits", "test", "--workers", "1", "--audio", "original"])
    with pytest.raises(SystemExit) as end:
        main()
    captured = capfd.readouterr()
    assert end.value.code == 0 and captured.out == f"{tmp_path}/common_voice.test.jsonl\n"
    assert f"dragoman: {tmp_path}/common_voice.test.jsonl: 2 utterances, 0.00 hours." in captured.err
