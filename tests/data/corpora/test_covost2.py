"""CoVoST-2: the join with a release of Common Voice, both directions, what the release lacks."""

from __future__ import annotations

from pathlib import Path

import pytest
from layouts import SKIPPING, STRICT, write_tsv

from dragoman.data.corpora.covost2 import prepare
from dragoman.errors import DataError
from dragoman.records import read_manifest


@pytest.fixture
def translations(tmp_path: Path) -> Path:
    """German into English (one row of an older release), and, as if German were English, into two languages."""
    folder = tmp_path / "covost"
    head = ["path", "translation", "split"]
    splits = ["train", "train_covost", "train", "dev", "test", "dev_covost"]
    rows = [[f"common_voice_de_{n}.mp3", f"Sentence {n}.", split] for n, split in enumerate(splits)]
    write_tsv(folder / "covost_v2.de_en.tsv", [head, *rows, ["common_voice_de_gone.mp3", "Gone.", "train"]])
    french = [[f"common_voice_fr_{n}.mp3", f"Sentence {n}.", "train"] for n in range(2)]
    write_tsv(folder / "covost_v2.fr_en.tsv", [head, *french])
    write_tsv(folder / "covost_v2.xx_en.tsv", [head])
    return folder


def test_rows_are_joined_and_what_the_release_lacks_is_counted(
    release: Path, translations: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepared = prepare(release, translations, tmp_path / "out", options=STRICT)
    assert [(p.path.name, p.utterances) for p in prepared] == [
        ("covost2.jsonl", 5), ("covost2.valid.jsonl", 1), ("covost2.test.jsonl", 1)
    ]  # fmt: skip
    second = read_manifest(tmp_path / "out/covost2.jsonl")[1]
    assert (second.id, second.language, second.text, second.translations) == (
        "covost2-de-common_voice_de_1", "deu", 'Er sagte: "Ja".', {"eng": "Sentence 1."}
    )  # fmt: skip
    assert "covost2: 1 left out: not in this release of Common Voice (de)." in caplog.text
    assert "covost2: 1 left out: in the split 'dev_covost', which CoVoST-2 does not use." in caplog.text
    assert "covost_v2.xx_en.tsv is left out: Unknown language 'xx'" in caplog.text


def test_out_of_english_a_recording_is_one_utterance(release: Path, translations: Path, tmp_path: Path) -> None:
    root = tmp_path / "release"
    root.mkdir()
    (root / "en").symlink_to(release / "de")
    german = (translations / "covost_v2.de_en.tsv").read_text(encoding="utf-8").replace("Sentence", "Satz")
    (translations / "covost_v2.en_de.tsv").write_text(german, encoding="utf-8")
    (translations / "covost_v2.en_zh-CN.tsv").write_text(german.replace("Satz", "句"), encoding="utf-8")
    directions = ("eng-deu", "en-zh")
    prepare(root, translations, tmp_path / "out", directions=directions, splits=("train",), options=STRICT)
    rows = read_manifest(tmp_path / "out/covost2.jsonl")
    assert [row.translations for row in rows] == [{"deu": f"Satz {n}.", "cmn": f"句 {n}."} for n in range(3)]
    assert {row.language for row in rows} == {"eng"}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("common_voice_de_0.mp3\tAgain.\ttrain", r"de_en\.tsv:9: common_voice_de_0\.mp3 is there twice"),
        ("common_voice_de_0.mp3\tAgain.\ttest", r"de_en\.tsv:9: common_voice_de_0\.mp3 is in test, but in train in "),
        ("common_voice_de_7.mp3\t\ttrain", r"de_en\.tsv:9: there is no translation"),
        ("common_voice_de_7.mp3\tSeven.", r"de_en\.tsv:9: has 2 columns, not 3"),
    ],
)
def test_a_bad_line_is_named_or_skipped(
    release: Path, translations: Path, tmp_path: Path, line: str, says: str
) -> None:
    with open(translations / "covost_v2.de_en.tsv", "a", encoding="utf-8") as table:
        table.write(line + "\n")
    with pytest.raises(DataError, match=says):
        prepare(release, translations, tmp_path / "out", directions=("deu-eng",), options=STRICT)
    prepared = prepare(release, translations, tmp_path / "out", directions=("deu-eng",), options=SKIPPING)
    assert [(p.utterances, p.skipped) for p in prepared] == [(3, 1), (1, 0), (1, 0)]


def test_what_is_not_there(release: Path, translations: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lacks the table of ita-eng"):
        prepare(release, translations, tmp_path / "out", directions=("ita-eng",), options=STRICT)
    with pytest.raises(DataError, match="'fra' is not a direction"):
        prepare(release, translations, tmp_path / "out", directions=("fra",), options=STRICT)
    with pytest.raises(DataError, match=r"holds no covost_v2"):
        prepare(release, tmp_path, tmp_path / "out", options=STRICT)
