"""Tar shards of a manifest hold what the manifest holds, for us and for WebDataset's own reader."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from toy import write_corpus

from dragoman.data.audio import load_audio
from dragoman.data.check.audio import hear
from dragoman.data.index import open_index
from dragoman.data.packing import pack
from dragoman.errors import AudioError, DataError, OutputError
from dragoman.records import Utterance, read_manifest, write_rows


@pytest.fixture
def corpus(tmp_path: Path) -> list[Utterance]:
    return write_corpus(tmp_path / "data")


def test_a_manifest_of_shards_is_the_manifest_in_a_random_order(corpus: list[Utterance], tmp_path: Path) -> None:
    assert pack(tmp_path / "data/train.jsonl", tmp_path / "out", per_shard=5) == -(-len(corpus) // 5)
    plain = {row.id: row for row in read_manifest(tmp_path / "data/train.jsonl")}
    packed = read_manifest(tmp_path / "out/train.jsonl")
    assert sorted(row.id for row in packed) == sorted(plain) and [row.id for row in packed] != list(plain)
    for row in packed:
        other = plain[row.id]
        assert row.model_copy(update={"audio": other.audio}) == other
        assert load_audio(row.audio).tobytes() == load_audio(other.audio).tobytes()
        assert not hear(Path(row.audio), [row])[0].findings
    assert sorted(open_index(tmp_path / "out/train.jsonl").shard.tolist()) == sorted(n // 5 for n in range(len(corpus)))
    assert '"audio": "shards/train-' in (tmp_path / "out/train.jsonl").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore")
def test_webdataset_reads_them(corpus: list[Utterance], tmp_path: Path) -> None:
    import webdataset

    pack(tmp_path / "data/train.jsonl", tmp_path / "out", per_shard=5)
    urls = sorted(map(str, (tmp_path / "out/shards").glob("*.tar")))
    samples = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False))
    rows = [Utterance.model_validate_json(sample["json"]) for sample in samples]
    assert [row.id for row in rows] == [row.id for row in read_manifest(tmp_path / "out/train.jsonl")]
    audio = {row.id: (tmp_path / "data" / row.audio).read_bytes() for row in corpus}
    assert all(sample["flac"] == audio[row.id] for sample, row in zip(samples, rows, strict=True))
    with tarfile.open(urls[0]) as tar:
        assert tar.getnames()[:3] == ["00000000.flac", "00000000.json", "00000001.flac"]


def test_stretches_of_a_recording_are_cut_out_of_it(tmp_path: Path) -> None:
    (first, *_) = write_corpus(tmp_path)
    parts = [(0.0, 0.05), (0.05, 0.1), (0.02, None)]
    rows = [first.model_copy(update={"id": str(n), "start_s": s, "duration_s": d}) for n, (s, d) in enumerate(parts)]
    write_rows(tmp_path / "parts.jsonl", rows)
    pack(tmp_path / "parts.jsonl", tmp_path / "out")
    for row in read_manifest(tmp_path / "out/parts.jsonl"):
        start, duration = parts[int(row.id)]
        expected = load_audio(tmp_path / first.audio, start, duration)
        assert row.start_s == 0.0 and row.duration_s == len(expected) / 16_000
        assert load_audio(row.audio) == pytest.approx(expected, abs=1 / 32768)


def test_an_interrupted_run_goes_on_and_a_changed_manifest_is_packed_anew(
    corpus: list[Utterance], tmp_path: Path
) -> None:
    manifest, out, whole = tmp_path / "data/train.jsonl", tmp_path / "out", tmp_path / "whole"
    pack(manifest, whole, per_shard=4, workers=2)
    last = json.loads((whole / "train.jsonl").read_text(encoding="utf-8").splitlines()[-1])["id"]
    audio = tmp_path / "data" / f"{last}.flac"
    content = audio.read_bytes()
    for broken, says in ((b"", "is empty; check"), (None, "cannot be read")):
        audio.unlink() if broken is None else audio.write_bytes(broken)
        with pytest.raises(AudioError, match=rf"{last}\.flac: {says}"):
            pack(manifest, out, per_shard=4)
        assert not (out / "train.jsonl").exists() and not list(out.rglob("*.part"))
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")}
    audio.write_bytes(content)
    pack(manifest, out, per_shard=4)
    assert stamps and {path: path.stat().st_mtime_ns for path in stamps} == stamps
    written = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert written == {path.relative_to(whole): path.read_bytes() for path in whole.rglob("*") if path.is_file()}

    write_rows(manifest, corpus[:4])
    pack(manifest, out, per_shard=4)
    assert len(read_manifest(out / "train.jsonl")) == 4
    (shard,) = {row.audio.partition("#")[0] for row in read_manifest(out / "train.jsonl")}
    Path(shard).write_bytes(Path(shard).read_bytes()[:1000])
    with pytest.raises(DataError, match="is not a shard of this manifest; delete it"):
        pack(manifest, out, per_shard=4)


def test_what_is_packed_is_not_overwritten(corpus: list[Utterance], tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="would overwrite what is packed"):
        pack(tmp_path / "data/train.jsonl", tmp_path / "data")
