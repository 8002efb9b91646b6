"""FLEURS in both layouts of the hub: the join, what a tar may not do, and a run that is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
from layouts import SKIPPING, STRICT, sound, write_tar, write_tsv
from pyarrow import parquet

from dragoman.data.audio import load_audio
from dragoman.data.corpora.fleurs import prepare
from dragoman.data.corpora.parts import PrepareOptions
from dragoman.data.index import open_index
from dragoman.errors import DataError
from dragoman.records import read_manifest

TEXTS = {
    "en_us": {3: "Dogs bark.", 7: "Birds sing."},
    "de_de": {3: "Hunde bellen.", 7: "Vögel singen."},
    "fr_fr": {3: "Les chiens aboient."},
}
LANGUAGES = ("eng", "deu", "fra")


def row(number: int, name: str, text: str) -> list[object]:
    return [number, name, text, text.lower().rstrip("."), " ".join(text.lower()), 8000, "MALE"]


def rows_of(config: str, split: str) -> list[list[object]]:
    """Two recordings of sentence 3, one of the others; their names say which."""
    numbers = [3, 3, *(number for number in TEXTS[config] if number != 3)]
    return [row(n, f"{split}{n}{place}.wav", TEXTS[config][n]) for place, n in enumerate(numbers)]


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout as published. Read only."""
    root = tmp_path_factory.mktemp("fleurs")
    for config in TEXTS:
        for split in ("train", "dev", "test"):
            rows = rows_of(config, split)
            write_tsv(root / f"data/{config}/{split}.tsv", rows)
            members = {f"{split}/{r[1]}": sound(0.5 + 0.25 * place) for place, r in enumerate(reversed(rows))}
            write_tar(root / f"data/{config}/audio/{split}.tar.gz", {f"{split}/": None, **members})
    return root


@pytest.fixture
def german(hub: Path, tmp_path: Path) -> Path:
    """A copy of German to spoil."""
    shutil.copytree(hub / "data/de_de", tmp_path / "hub/data/de_de")
    return tmp_path / "hub"


def ids(manifest: Path) -> list[str]:
    return [json.loads(line)["id"] for line in manifest.read_text(encoding="utf-8").splitlines()]


def test_recordings_become_mutual_translations(hub: Path, tmp_path: Path) -> None:
    prepared = prepare(hub, LANGUAGES, tmp_path, options=STRICT)
    assert [(p.path.name, p.utterances) for p in prepared] == [
        ("fleurs.jsonl", 8), ("fleurs.valid.jsonl", 8), ("fleurs.test.jsonl", 8)
    ]  # fmt: skip
    assert (tmp_path / "valid.jsonl").read_bytes() == (tmp_path / "fleurs.valid.jsonl").read_bytes()
    assert "CC BY 4.0" in (tmp_path / "fleurs.credits.txt").read_text(encoding="utf-8")
    utterances = read_manifest(tmp_path / "fleurs.jsonl")
    index = open_index(tmp_path / "fleurs.jsonl")
    german = [index.utterance(row, LANGUAGES) for row, u in enumerate(utterances) if u.language == "deu"]
    assert {u.id: (u.text, u.translations) for u in german} == {
        "fleurs-deu-train30": ("Hunde bellen.", {"eng": "Dogs bark.", "fra": "Les chiens aboient."}),
        "fleurs-deu-train31": ("Hunde bellen.", {"eng": "Dogs bark.", "fra": "Les chiens aboient."}),
        "fleurs-deu-train72": ("Vögel singen.", {"eng": "Birds sing."}),
    }
    assert all(u.duration_s == len(load_audio(u.audio)) / 16_000 for u in utterances)
    assert {u.id: u.duration_s for u in german} == {
        "fleurs-deu-train72": 0.5, "fleurs-deu-train31": 0.75, "fleurs-deu-train30": 1.0
    }  # fmt: skip


def test_the_order_of_languages_and_the_workers_do_not_matter(hub: Path, tmp_path: Path) -> None:
    prepare(hub, ("deu", "fra"), tmp_path / "one", splits=("test",), options=STRICT)
    prepare(hub, ("deu", "fra"), tmp_path / "two", splits=("test",), options=PrepareOptions(workers=2))
    one, two = ((tmp_path / name / "fleurs.test.jsonl").read_bytes() for name in ("one", "two"))
    assert one == two and not (tmp_path / "one/valid.jsonl").exists()


def test_more_languages_later_take_over_what_is_there(hub: Path, tmp_path: Path) -> None:
    prepare(hub, ("deu",), tmp_path, splits=("test",), options=STRICT)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("audio/**/*.flac")}
    prepare(hub, ("deu", "fra"), tmp_path, splits=("test",), options=STRICT)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert {name[7:10] for name in ids(tmp_path / "fleurs.test.jsonl")} == {"deu", "fra"}


def test_original_audio_is_copied_out_of_the_archive(hub: Path, tmp_path: Path) -> None:
    prepare(hub, ("fra",), tmp_path, splits=("dev",), options=PrepareOptions("original"))
    first = read_manifest(tmp_path / "fleurs.valid.jsonl")[0]
    assert Path(first.audio).suffix == ".wav" and Path(first.audio).read_bytes() == sound(0.5)


@pytest.mark.parametrize("names", ["{}/0000.parquet", "fleurs-{}-00000-of-00001.parquet"])
def test_the_parquet_layout_gives_the_same(hub: Path, tmp_path: Path, names: str) -> None:
    rows = rows_of("de_de", "dev")
    audio = {r[1]: sound(0.5 + 0.25 * place) for place, r in enumerate(reversed(rows))}
    table = pa.table(
        {
            "id": pa.array([r[0] for r in rows], pa.int32()),
            "num_samples": [8000] * 3,
            "path": [f"/somewhere/{r[1]}" for r in rows],
            "audio": [{"bytes": audio[r[1]], "path": r[1]} for r in rows],
            "transcription": [r[3] for r in rows],
            "raw_transcription": [r[2] for r in rows],
            "gender": [0] * 3,
            "lang_id": [17] * 3,
        }
    )
    file = tmp_path / "root/de_de" / names.format("validation")
    file.parent.mkdir(parents=True)
    parquet.write_table(table, file, row_group_size=2)
    prepare(tmp_path / "root", ("deu",), tmp_path / "a", splits=("dev",), options=STRICT)
    prepare(hub, ("deu",), tmp_path / "b", splits=("dev",), options=STRICT)
    ours, theirs = (
        {u.id: u.model_copy(update={"audio": ""}) for u in read_manifest(tmp_path / name / "fleurs.valid.jsonl")}
        for name in "ab"
    )
    assert ours == theirs and len(ours) == 3

    parquet.write_table(table.drop_columns(["raw_transcription"]), file)
    with pytest.raises(DataError, match=r"parquet: the column 'raw_transcription' is missing; it holds id, num_"):
        prepare(tmp_path / "root", ("deu",), tmp_path / "c", splits=("dev",), options=STRICT)


def test_a_missing_parquet_file_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "de_de/test-00001-of-00003.parquet"
    file.parent.mkdir()
    file.write_bytes(b"")
    with pytest.raises(DataError, match="holds 1 of 3 parquet files of test"):
        prepare(tmp_path, ("deu",), tmp_path / "out", splits=("test",), options=STRICT)


# --------------------------------------------------------------------------------------------- bad input


def spoil(root: Path, number: int, line: list[object]) -> None:
    table = root / "data/de_de/test.tsv"
    lines = table.read_text(encoding="utf-8").splitlines()
    lines[number - 1] = "\t".join(map(str, line))
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")


BAD_LINES = {
    "columns": ([7, "test72.wav", "Text."], r"test\.tsv:3: has 3 columns, not 7"),
    "control": (
        row(7, "test72.wav", "Vögel\x07 singen."),
        r"test\.tsv:3: the text holds the control character U\+0007",
    ),
    "empty": (row(7, "test72.wav", ""), r"test\.tsv:3: there is no text"),
    "number": (row("seven", "test72.wav", "Text."), r"test\.tsv:3: the sentence id 'seven' is not a number"),
    "missing": (row(7, "test9.wav", "Text."), r"test\.tsv:3: test9\.wav is not in .*test\.tar\.gz"),
    "outside": (row(7, "../../etc/passwd", "Text."), r"test\.tsv:3: \.\./\.\./etc/passwd is not in .*tar\.gz"),
    "twice": (row(7, "test30.wav", "Text."), r"test\.tsv:3: test30\.wav is already on line 1"),
}


@pytest.mark.parametrize("kind", BAD_LINES)
def test_a_bad_line_is_named_or_skipped(german: Path, tmp_path: Path, kind: str) -> None:
    line, says = BAD_LINES[kind]
    spoil(german, 3, line)
    with pytest.raises(DataError, match=says + ".*--skip_bad"):
        prepare(german, ("deu",), tmp_path / "out", splits=("test",), options=STRICT)
    assert not list((tmp_path / "out").rglob("*.jsonl")) and not list((tmp_path / "out").rglob("*.part"))
    (prepared,) = prepare(german, ("deu",), tmp_path / "out", splits=("test",), options=SKIPPING)
    assert (prepared.utterances, prepared.skipped) == (2, 1)
    (skipped,) = map(json.loads, (tmp_path / "out/skipped.jsonl").read_text(encoding="utf-8").splitlines())
    assert skipped["line"] == 3 and skipped["file"].endswith("test.tsv") and skipped["manifest"] == "fleurs.test"
    with pytest.raises(DataError, match=says):  # what was skipped is not forgotten
        prepare(german, ("deu",), tmp_path / "out", splits=("test",), options=STRICT)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (sound(0.0), "test72.wav: holds no sound"),
        (b"RIFF, but no more", "test72.wav: is not a media file that can be read"),
        (b"", "test72.wav: is empty; get the file again"),
        (None, "the member 'test/test72.wav' is a link or points outside"),
    ],
    ids=["no samples", "no media", "no bytes", "link"],
)
def test_a_bad_recording_is_named_or_skipped(german: Path, tmp_path: Path, content: bytes | None, says: str) -> None:
    good = {f"test/{name}": sound(0.5) for name in ("test30.wav", "test31.wav")}
    write_tar(german / "data/de_de/audio/test.tar.gz", {**good, "test/test72.wav": content})
    with pytest.raises(DataError, match=says):
        prepare(german, ("deu",), tmp_path / "out", splits=("test",), options=STRICT)
    (prepared,) = prepare(german, ("deu",), tmp_path / "out", splits=("test",), options=SKIPPING)
    assert prepared.utterances == 2


@pytest.mark.parametrize("name", ["/etc/test72.wav", "../../test72.wav", "test/../../test72.wav"])
def test_a_member_that_points_outside_is_refused(german: Path, tmp_path: Path, name: str) -> None:
    good = {f"test/{stem}.wav": sound(0.5) for stem in ("test30", "test31")}
    write_tar(german / "data/de_de/audio/test.tar.gz", {**good, name: sound(0.5)})
    with pytest.raises(DataError, match="is a link or points outside"):
        prepare(german, ("deu",), tmp_path / "out", splits=("test",), options=STRICT)


def test_a_tar_that_is_cut(german: Path, tmp_path: Path) -> None:
    archive = german / "data/de_de/audio/test.tar.gz"
    names = [f"test{3 if n < 2 else 7}{n}.wav" for n in range(3)]
    noise = [os.urandom(1) + sound(0.5, hz=300 + n) for n in range(3)]
    write_tar(archive, {f"test/{name}": content[1:] for name, content in zip(names, noise, strict=True)})
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size * 6 // 10])
    with pytest.raises(DataError, match=r"test\.tar\.gz: is cut off or damaged after \d recordings"):
        prepare(german, ("deu",), tmp_path / "out", splits=("test",), options=STRICT)
    (prepared,) = prepare(german, ("deu",), tmp_path / "out", splits=("test",), options=SKIPPING)
    assert prepared.utterances + prepared.skipped == 4  # three rows and the archive itself
    assert 1 <= prepared.utterances < 3


def test_recordings_without_a_row_are_counted(german: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ["test30", "test31", "test72", "test99"]
    write_tar(german / "data/de_de/audio/test.tar.gz", {f"test/{name}.wav": sound(0.5) for name in names})
    (prepared,) = prepare(german, ("deu",), tmp_path / "out", splits=("test",), options=STRICT)
    assert prepared.utterances == 3
    assert "fleurs.test: 1 left out: in an archive, but in no table." in caplog.text


def test_what_is_not_there(german: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"holds neither data/fr_fr/test\.tsv nor fr_fr/"):
        prepare(german, ("fra",), tmp_path / "out", splits=("test",), options=STRICT)
    with pytest.raises(DataError, match="FLEURS has no split 'valid'; it has train, dev, test"):
        prepare(german, ("deu",), tmp_path / "out", splits=("valid",), options=STRICT)
    (german / "data/de_de/audio/test.tar.gz").unlink()
    with pytest.raises(DataError, match=r"test\.tar\.gz: is missing"):
        prepare(german, ("deu",), tmp_path / "out", splits=("test",), options=STRICT)


def test_without_network_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=r"^FLEURS cannot be fetched from the Hugging Face hub: check the network"):
        prepare(None, ("deu",), tmp_path / "out", options=STRICT)


# -------------------------------------------------------------------------------------------- it is killed


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    codes = ("deu", "eng", "fra", "nld")
    for code in ("de_de", "en_us", "fr_fr", "nl_nl"):
        rows = [row(n, f"{n}.wav", f"Text {n}.") for n in range(25)]
        write_tsv(tmp_path / f"data/{code}/test.tsv", rows)
        write_tar(tmp_path / f"data/{code}/audio/test.tar.gz", {f"test/{r[1]}": sound(1.0) for r in rows})
    out = tmp_path / "out"
    command = [sys.executable, "-m", "dragoman", "prepare", "fleurs", "--root", str(tmp_path), "--out", str(out)]
    command += ["--languages", ",".join(codes), "--splits", "test", "--workers", "1"]
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while running.poll() is None and not list(out.glob("audio/fleurs/eng/test-*")):
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert not (out / "fleurs.test.jsonl").exists()
    whole = {path: path.stat().st_mtime_ns for path in out.glob("audio/fleurs/deu/test-*/*.flac")}
    assert len(whole) == 25
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == f"{out}/fleurs.test.jsonl\n"
    assert {path: path.stat().st_mtime_ns for path in whole} == whole
    prepare(tmp_path, codes, tmp_path / "b", splits=("test",), options=STRICT)
    assert (out / "fleurs.test.jsonl").read_bytes() == (tmp_path / "b/fleurs.test.jsonl").read_bytes()
    assert not list(out.rglob("*.part"))
