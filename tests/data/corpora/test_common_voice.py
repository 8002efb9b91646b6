"""Common Voice: columns by name over the releases, what must not be trained on, audio in place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from layouts import SKIPPING, STRICT, write_tsv

from dragoman.data.audio import load_audio
from dragoman.data.corpora.common_voice import prepare
from dragoman.data.corpora.parts import PrepareOptions
from dragoman.errors import DataError
from dragoman.records import read_manifest


@pytest.fixture
def german(release: Path, tmp_path: Path) -> Path:
    """A copy of German to spoil."""
    shutil.copytree(release / "de", tmp_path / "cv/de")
    return tmp_path / "cv"


def test_releases_of_today_and_of_2019(release: Path, tmp_path: Path) -> None:
    prepared = prepare(release, ("deu", "fra"), tmp_path, options=STRICT)
    assert [(p.path.name, p.utterances) for p in prepared] == [
        ("common_voice.jsonl", 4), ("common_voice.valid.jsonl", 2), ("common_voice.test.jsonl", 2)
    ]  # fmt: skip
    train = read_manifest(tmp_path / "common_voice.jsonl")
    assert [(u.id, u.language, u.text) for u in train] == [
        ("common_voice-de-common_voice_de_0", "deu", "Satz Nummer 0."),
        ("common_voice-de-common_voice_de_1", "deu", 'Er sagte: "Ja".'),
        ("common_voice-de-common_voice_de_2", "deu", "Satz Nummer 2."),
        ("common_voice-fr-common_voice_fr_0", "fra", "Phrase 0."),
    ]
    assert all(u.duration_s == len(load_audio(u.audio)) / 16_000 for u in train)
    assert all(0.6 <= (u.duration_s or 0) < 0.7 for u in train)  # mp3 pads


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"Er sagte: \"Ja\".", 'Er sagte: "Ja".'),
        ('"Er sagte: ""Ja""."', 'Er sagte: "Ja".'),
        ('"""Ja."""', '"Ja."'),
        ('"Ja."', '"Ja."'),
        ('"Ja" oder "Nein"', '"Ja" oder "Nein"'),
    ],
)
def test_quotes_as_the_releases_write_them(german: Path, tmp_path: Path, written: str, meant: str) -> None:
    write_tsv(german / "de/test.tsv", [["path", "sentence", "age"], ["common_voice_de_4.mp3", written, ""]])
    prepare(german, ("deu",), tmp_path / "out", splits=("test",), options=STRICT)
    assert read_manifest(tmp_path / "out/common_voice.test.jsonl")[0].text == meant


def test_a_clip_that_was_mended_is_heard_again(german: Path, tmp_path: Path) -> None:
    clip = german / "de/clips/common_voice_de_0.mp3"
    good = clip.read_bytes()
    clip.write_bytes(good[:100])
    (prepared,) = prepare(german, ("deu",), tmp_path / "out", splits=("train",), options=SKIPPING)
    assert (prepared.utterances, prepared.skipped) == (2, 1)
    clip.write_bytes(good)
    (prepared,) = prepare(german, ("deu",), tmp_path / "out", splits=("train",), options=SKIPPING)
    assert (prepared.utterances, prepared.skipped) == (3, 0)


def test_supersets_leave_out_what_dev_and_test_hold(
    release: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepare(release, ("deu",), tmp_path, splits=("validated",), options=STRICT)
    names = [u.id[-1] for u in read_manifest(tmp_path / "common_voice.validated.jsonl")]
    assert names == ["0", "1", "2", "5", "6", "7"]
    assert "common_voice.validated: 4 left out: of a clip, sentence or speaker of dev or test." in caplog.text


def test_original_audio_stays_in_place(release: Path, tmp_path: Path) -> None:
    prepare(release, ("fra",), tmp_path, splits=("test",), options=PrepareOptions("original"))
    (utterance,) = read_manifest(tmp_path / "common_voice.test.jsonl")
    assert Path(utterance.audio) == release / "fr/clips/common_voice_fr_2.mp3"
    assert not [path for path in (tmp_path / "audio").rglob("*") if path.suffix not in ("", ".jsonl")]


@pytest.mark.parametrize(
    ("path", "sentence", "says"),
    [
        ("nowhere.mp3", "Text.", r"test\.tsv:3: .*nowhere\.mp3: cannot be opened \(No such file"),
        ("../../../../etc/passwd", "Text.", r"test\.tsv:3: the recording '.*/etc/passwd' does not lie in "),
        ("/etc/passwd", "Text.", r"test\.tsv:3: the recording '/etc/passwd' does not lie in "),
        ("", "Text.", r"test\.tsv:3: the recording '' does not lie in "),
        ("common_voice_de_5.mp3", "\\\x00", r"test\.tsv:3: the text holds the control character U\+0000"),
        ("common_voice_de_4.mp3", "Text.", r"test\.tsv:3: common_voice_de_4\.mp3 is already on line 2"),
    ],
)
def test_a_bad_line_is_named_or_skipped(german: Path, tmp_path: Path, path: str, sentence: str, says: str) -> None:
    with open(german / "de/test.tsv", "a", encoding="utf-8") as table:
        table.write(f"s\t{path}\th\t{sentence}\t\t2\tde\n")
    with pytest.raises(DataError, match=says):
        prepare(german, ("deu",), tmp_path / "out", splits=("test",), options=STRICT)
    (prepared,) = prepare(german, ("deu",), tmp_path / "out", splits=("test",), options=SKIPPING)
    assert (prepared.utterances, prepared.skipped) == (1, 1)


def test_nothing_left_is_an_error(german: Path, tmp_path: Path) -> None:
    (german / "de/clips/common_voice_de_4.mp3").write_bytes(b"ID3, and no more")
    with pytest.raises(DataError, match=r"common_voice\.test: none of 1 recordings can be used"):
        prepare(german, ("deu",), tmp_path / "out", splits=("test",), options=SKIPPING)
    assert not (tmp_path / "out/common_voice.test.jsonl").exists()


def test_what_is_not_there(german: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no folder zh-CN for cmn"):
        prepare(german, ("cmn",), tmp_path / "out", options=STRICT)
    with pytest.raises(DataError, match=r"no folder zh-CN for cmn, fr or fra for fra; .* as in --languages deu"):
        prepare(german, ("cmn", "deu", "fra"), tmp_path / "out", options=STRICT)
    with pytest.raises(DataError, match="has no table 'valid'; it has train, dev, test, validated"):
        prepare(german, ("deu",), tmp_path / "out", splits=("valid",), options=STRICT)
    write_tsv(german / "de/test.tsv", [["client_id", "file", "sentence"]])
    with pytest.raises(
        DataError, match=r"test\.tsv:1: the column 'path' is missing; the first line names client_id, f"
    ):
        prepare(german, ("deu",), tmp_path / "out", splits=("test",), options=STRICT)
    write_tsv(german / "de/test.tsv", [])
    with pytest.raises(DataError, match=r"test\.tsv: is empty"):
        prepare(german, ("deu",), tmp_path / "out", splits=("test",), options=STRICT)
