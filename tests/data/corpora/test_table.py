"""Anyone's own recordings: tables, the papers' rows, NeMo manifests, Kaldi folders."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import SKIPPING, STRICT, sound, write_tsv
from media import Track, tone, write_media

from dragoman.data.audio import load_audio
from dragoman.data.check.audio import hear
from dragoman.data.corpora.parts import PrepareOptions
from dragoman.data.corpora.table import prepare
from dragoman.data.synthesis import write_flac
from dragoman.errors import DataError, LanguageError
from dragoman.records import Utterance, read_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three recordings of 1, 2 and 3 s, the first also as mp3."""
    root = tmp_path / "mine"
    (root / "wav").mkdir(parents=True)
    for seconds in (1, 2, 3):
        (root / f"wav/{seconds}.wav").write_bytes(sound(seconds))
    (root / "wav/1.mp3").write_bytes(sound(1, "mp3", 44_100))
    return root


def write_json(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def prepared(table: Path, **more: Any) -> list[Utterance]:
    (manifest,) = prepare(table, table.parent / "out", options=more.pop("options", STRICT), **more)
    return read_manifest(manifest.path)


# -------------------------------------------------------------------------------------------------- tables


def test_csv_with_columns_of_its_own(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = folder / "talks.csv"
    with open(table, "w", encoding="utf-8-sig", newline="") as file:  # as a spreadsheet saves it
        rows = csv.writer(file)
        rows.writerow(["path", "transcript", "text_deu", "Français", "text_notes", "who"])
        rows.writerow(["wav/1.mp3", 'He said, "no".', "Er sagte: nein.", "", "loud", "A"])
        rows.writerow(["wav/2.wav", "Two.", "", "Deux.", "", "B"])
    columns = {"audio": "path", "text": "transcript", "text_fra": "Français"}
    first, second = prepared(table, language="English", columns=columns)
    assert (first.id, first.language, first.text) == ("talks-wav/1", "eng", 'He said, "no".')
    assert (first.translations, second.translations) == ({"deu": "Er sagte: nein."}, {"fra": "Deux."})
    assert (folder / "out/talks.jsonl").exists() and second.duration_s == 2.0
    assert "columns ignored: who (--column text=who takes one for the transcript" in caplog.text


def test_tsv_and_a_split_of_validation(folder: Path) -> None:
    table = folder / "some.tsv"
    write_tsv(table, [["audio", "language", "text", "id", "sentence"], ["wav/1.wav", "de", "Eins.", "a", "s1"]])
    (only,) = prepared(table, name="mine", split="valid")
    assert only.model_copy(update={"audio": ""}).model_dump(exclude_defaults=True) == {
        "id": "mine-a", "language": "deu", "text": "Eins.", "duration_s": 1.0, "sentence": "mine-s1"
    }  # fmt: skip
    assert read_manifest(folder / "out/valid.jsonl") == [only]
    assert {path.name for path in (folder / "out").iterdir()} == {
        "mine.valid.jsonl", "valid.jsonl", "mine.credits.txt", "audio"
    }  # fmt: skip


def test_a_manifest_is_a_table_and_stretches_are_cut_out(folder: Path) -> None:
    rows = [
        {"id": "a", "audio": "wav/3.wav", "language": "eng", "text": "A.", "start_s": 0.5, "duration_s": 1.0,
         "translations": {"deu": "Ah."}},
        {"id": "b", "audio": "wav/3.wav", "language": "eng", "text": "B.", "start_s": 1.5, "duration_s": 1.55},
    ]  # fmt: skip
    table = write_json(folder / "rows.jsonl", *rows)
    first, second = prepared(table)
    assert (first.duration_s, second.duration_s, first.translations) == (1.0, 1.5, {"deu": "Ah."})
    wav = load_audio(folder / "wav/3.wav")
    np.testing.assert_allclose(load_audio(first.audio), wav[8000:24000], atol=1e-4)
    kept, _ = prepared(table, options=PrepareOptions("original"))
    assert (kept.audio, kept.start_s, kept.duration_s) == (str(folder / "wav/3.wav"), 0.5, 1.0)


# ----------------------------------------------------------------------------------------- others' formats


def test_the_rows_of_the_papers_become_one_utterance_a_recording(folder: Path) -> None:
    table = write_json(
        folder / "fleurs.jsonl",
        {"audio": "wav/1.wav", "source": "fleurs_eng_cmn", "prompt": "<|eng|><|zho|>", "gt": "Hi.<|eng|><|zho|>你好。"},
        {"audio": "wav/1.wav", "source": "fleurs_eng_deu", "prompt": "Hi.<|eng|><|deu|>", "gt": "Hallo."},
        {"audio": "wav/1.wav", "source": "fleurs_eng", "prompt": "<|eng|>", "gt": "Hi."},
        {"audio": "wav/2.wav", "source": "covost_fra_eng", "prompt": "<|fra|><|eng|>", "gt": "Bye."},
    )
    first, second = prepared(table)
    assert (first.language, first.text, first.translations) == ("eng", "Hi.", {"cmn": "你好。", "deu": "Hallo."})
    assert (second.language, second.text, second.translations) == ("fra", "", {"eng": "Bye."})


def test_nemo_manifests(folder: Path) -> None:
    wav = str(folder / "wav/3.wav")
    table = write_json(
        folder / "nemo.json",
        {"audio_filepath": wav, "offset": 1.0, "duration": 1.5, "text": "One.", "lang": "en"},
        {"audio_filepath": wav, "offset": 1.0, "duration": 1.5, "text": "Eins.", "source_lang": "en",
         "target_lang": "de"},
        {"audio_filepath": "wav/2.wav", "duration": 2.0, "source_lang": "de", "target_lang": "en", "text": "Zwei.",
         "answer": "Two.", "pnc": "yes"},
        {"audio_filepath": "wav/1.wav", "duration": 1.0, "text": "Un.", "answer": "na"},
    )  # fmt: skip
    rows = prepared(table, language="fra")
    assert [(row.id, row.language, row.text, row.translations, row.duration_s) for row in rows] == [
        ("nemo-wav/3-1.000", "eng", "One.", {"deu": "Eins."}, 1.5),
        ("nemo-wav/2", "deu", "Zwei.", {"eng": "Two."}, 2.0),
        ("nemo-wav/1", "fra", "Un.", {}, 1.0),
    ]


@pytest.fixture
def kaldi(folder: Path) -> Path:
    data = folder / "kaldi"
    data.mkdir()
    (data / "wav.scp").write_text(f"rec1 {folder}/wav/3.wav\nrec2 wav/2.wav\n", encoding="utf-8")
    (data / "segments").write_text("u1 rec1 0.0 1.25\nu2 rec1 1.25 -1\nu3 rec2 0 2\n", encoding="utf-8")
    (data / "text").write_text("u1\tone two\nu2  three\n", encoding="utf-8")
    (data / "text_deu").write_text("u1 eins zwei\n", encoding="utf-8")
    (data / "utt2spk").write_text("u1 s\nu2 s\nu3 s\n", encoding="utf-8")
    return data


def test_kaldi_folders(folder: Path, kaldi: Path, caplog: pytest.LogCaptureFixture) -> None:
    (manifest,) = prepare(kaldi, folder / "out", root=folder, language="eng", options=STRICT)
    first, second = read_manifest(manifest.path)
    assert (first.id, first.text, first.translations) == ("kaldi-u1", "one two", {"deu": "eins zwei"})
    assert (first.duration_s, second.duration_s) == (1.25, 1.75)
    assert "kaldi: 1 left out: without a transcript." in caplog.text
    (kaldi / "utt2lang").write_text("u1 fr\nu2 nl\n", encoding="utf-8")
    (manifest,) = prepare(kaldi, folder / "out", root=folder, language="eng", options=STRICT)
    assert [row.language for row in read_manifest(manifest.path)] == ["fra", "nld"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("rec1 sph2pipe -f wav 3.sph |", r"wav\.scp:1: is a command, and commands in data are never run; run it yours"),
        ("rec1 touch {}/ran |", r"wav\.scp:1: is a command"),
        ("rec1 feats.ark:124", r"wav\.scp:1: points into an archive"),
        ("rec9 wav/3.wav", r"text:1: rec1 has no line in wav\.scp"),
        ("rec1 /etc/passwd", r"text:1: the recording '/etc/passwd' does not lie in .*--root"),
        ("rec1 ../../etc/passwd", r"text:1: the recording '\.\./\.\./etc/passwd' does not lie in "),
    ],
)
def test_kaldi_commands_are_never_run(folder: Path, kaldi: Path, line: str, says: str) -> None:
    (kaldi / "wav.scp").write_text(line.format(folder) + "\nrec2 wav/2.wav\n", encoding="utf-8")
    with pytest.raises(DataError, match=says):
        prepare(kaldi, folder / "out", root=folder, language="eng", options=STRICT)
    assert not (folder / "ran").exists()


# --------------------------------------------------------------------------------------------- bad input

GOOD = {"audio": "wav/1.wav", "language": "eng", "text": "One."}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({**GOOD, "language": "gibberish"}, "Unknown language 'gibberish'"),
        ({**GOOD, "language": ""}, "no language is named; give it with --language"),
        ({**GOOD, "audio": "wav/9.wav"}, r"9\.wav: cannot be opened"),
        ({**GOOD, "audio": "wav"}, "cannot be opened"),
        ({**GOOD, "audio": "../../../etc/passwd"}, "does not lie in"),
        ({**GOOD, "audio": "wav/../../secret.wav"}, "does not lie in"),
        ({**GOOD, "audio": "http://localhost/a.wav"}, "cannot be opened"),
        ({**GOOD, "text": "a\u0000b"}, r"control character U\+0000"),
        ({**GOOD, "text": ["One."]}, "text is not a string"),
        ({**GOOD, "text": ""}, "there is no text"),
        ({**GOOD, "text_deu": "a\u009db"}, r"control character U\+009D"),
        ({**GOOD, "translations": "Eins."}, "translations is not an object"),
        ({**GOOD, "audio": "\ud800.wav"}, "has a name that no file can have"),
        ({**GOOD, "sentence": "\ud800"}, r"control character U\+D800"),
        ({**GOOD, "start_s": 1.0}, r"1\.wav: holds no sound there"),
        ({**GOOD, "start_s": 1e308}, r"1\.wav: lasts 1\.00 s, so nothing starts at"),
        ({**GOOD, "start_s": 0.5, "duration_s": 0.8}, r"lasts 1\.00 s and cannot be heard until 1\.30 s"),
        ({**GOOD, "duration_s": "NaN"}, "duration_s is 'NaN', not a number of seconds"),
        ({**GOOD, "start_s": -1}, "start_s is '-1', not a number of seconds"),
        ({**GOOD, "prompt": "Say it.", "gt": "One."}, "the prompt 'Say it.' does not end with a language's tag"),
        (
            {**GOOD, "audio": "wav/2.wav"},
            "the id 'rows-wav/2' is already on line 1, of the same recording; leave one row out, or tell them",
        ),
        (["wav/1.wav"], "is not a JSON object"),
    ],
)
def test_a_bad_row_is_named_or_skipped(folder: Path, row: Any, says: str) -> None:
    table = write_json(folder / "rows.jsonl", {**GOOD, "audio": "wav/2.wav"}, row, {**GOOD, "audio": "wav/3.wav"})
    with pytest.raises(DataError, match=rf"rows\.jsonl:2: .*{says}"):
        prepared(table)
    assert len(prepared(table, options=SKIPPING)) == 2
    (skipped,) = map(json.loads, (folder / "out/skipped.jsonl").read_text(encoding="utf-8").splitlines())
    assert (skipped["file"], skipped["line"], skipped["manifest"]) == (str(table), 2, "rows")
    write_json(table, {**GOOD, "audio": "wav/2.wav"}, {**GOOD, "audio": "wav/3.wav"})
    assert len(prepared(table)) == 2 and not (folder / "out/skipped.jsonl").exists()  # it was fixed


def test_two_recordings_that_differ_in_their_ending_need_ids(folder: Path) -> None:
    shutil.copy(folder / "wav/1.wav", folder / "wav/2.mp3")
    rows = [{**GOOD, "audio": "wav/2.wav"}, {**GOOD, "audio": "wav/2.mp3"}]
    table = write_json(folder / "rows.jsonl", *rows)
    with pytest.raises(
        DataError, match=r"rows\.jsonl:2: .*on line 1, of wav/2\.wav, and this is wav/2\.mp3; tell them"
    ):
        prepared(table)
    table = write_json(folder / "rows.jsonl", *({**row, "id": str(number)} for number, row in enumerate(rows)))
    assert [row.id for row in prepared(table)] == ["rows-0", "rows-1"]


def test_holes_in_timestamps_are_silence_to_prepare_and_check(folder: Path) -> None:
    """As in what a browser records of a call, and in joined files."""
    path = write_media(folder / "wav/call.mka", Track(tone(4), "flac", at=lambda second: second + 2 * (second > 1)))
    table = write_json(folder / "rows.jsonl", {**GOOD, "audio": "wav/call.mka"})
    (row,) = prepared(table)
    assert row.duration_s == pytest.approx(6.0, abs=0.01)
    (stretch,) = hear(path, [row.model_copy(update={"audio": str(path)})])
    assert stretch.findings == []


def test_a_damaged_recording_is_bad(folder: Path) -> None:
    write_flac(folder / "wav/4.flac", np.random.default_rng(0).uniform(-0.5, 0.5, 64_000).astype(np.float32))
    content = bytearray((folder / "wav/4.flac").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 9000] = bytes(9000)
    (folder / "wav/4.flac").write_bytes(content)
    with pytest.raises(DataError, match=r"rows\.jsonl:1: .*4\.flac: is damaged in \d+ places?"):
        prepared(write_json(folder / "rows.jsonl", {**GOOD, "audio": "wav/4.flac"}))


def test_rows_that_contradict_each_other(folder: Path) -> None:
    rows = [{"audio": "wav/1.wav", "prompt": "<|eng|>", "gt": gt} for gt in ("One.", "Two.")]
    with pytest.raises(DataError, match=r"rows\.jsonl:2: another language or transcript than on line 1"):
        prepared(write_json(folder / "rows.jsonl", *rows))


def test_tables_of_other_spreadsheets(folder: Path) -> None:
    (folder / "semicolons.csv").write_text("audio;text\nwav/1.wav;Ja, gut.\n", encoding="utf-8")
    (folder / "sixteen.tsv").write_text("audio\ttext\nwav/2.wav\tGrüße\n", encoding="utf-16")
    assert [row.text for row in prepared(folder / "semicolons.csv", language="deu")] == ["Ja, gut."]
    assert [row.text for row in prepared(folder / "sixteen.tsv", language="deu")] == ["Grüße"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("path,text\na.wav,A\n", r"t\.csv:1: the column 'audio' is missing; the first line names path, text"),
        ("audio,text\nwav/1.wav\n", r"t\.csv:2: has 1 columns, not 2"),
        ('audio,text\nwav/1.wav,"open\n', r"t\.csv:2: is not proper CSV"),
        ("", r"t\.csv:1: the column 'audio' is missing; the first line names nothing"),
    ],
)
def test_a_wrong_csv(folder: Path, content: str, says: str) -> None:
    (folder / "t.csv").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=says):
        prepared(folder / "t.csv", language="eng")


def test_what_cannot_be_asked_for(folder: Path) -> None:
    table = write_json(folder / "rows.jsonl", GOOD)
    for more, says in (
        ({"name": "../up"}, "name corpus and split with letters"),
        ({"name": "valid"}, "valid.jsonl is a file of prepare's own"),
        ({"split": "a/b"}, "name corpus and split with letters"),
        ({"columns": {"speaker": "who"}}, "There is no field 'speaker' to map a column to"),
    ):
        with pytest.raises(DataError, match=says):
            prepared(table, **more)
    with pytest.raises(LanguageError):
        prepared(table, language="gibberish")
    with pytest.raises(DataError, match=r"rows\.jsonl: would be overwritten by its own manifest"):
        prepare(table, folder, options=STRICT)
    with pytest.raises(DataError, match=r"rows\.txt: is neither \.csv, \.tsv nor \.jsonl, nor a Kaldi folder"):
        prepared(table.rename(folder / "rows.txt"))
    with pytest.raises(DataError, match=r"gone\.jsonl: cannot be read"):
        prepared(folder / "gone.jsonl")
    with pytest.raises(DataError, match=r"wav\.scp: is missing"):
        prepare(folder / "wav", folder / "out", language="eng", options=STRICT)
