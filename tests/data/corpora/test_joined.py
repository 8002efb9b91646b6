"""Short clips joined into long ones: nothing is lost, what does not fit is left out."""

from __future__ import annotations

import json
import logging
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from layouts import sound

from dragoman.data.audio import load_audio
from dragoman.data.corpora.joined import JoinConfig, prepare
from dragoman.errors import DataError
from dragoman.records import read_manifest

JOINING = JoinConfig(name="long", rounds=2, seed=1)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Twenty clips of 2 s, each with its number as its pitch."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    rows = []
    for number in range(20):
        (folder / f"{number}.wav").write_bytes(sound(2.0, hz=200.0 + 50 * number))
        row = {"id": f"a{number}", "audio": f"{number}.wav", "language": "deu", "text": f"Satz {number:02d}."}
        rows.append({**row, "duration_s": 2.0, "translations": {"eng": f"Sentence {number:02d}."}})
    rows[7]["translations"] = {}
    rows.append({**rows[0], "id": "wrong", "text": "Viel zu lang. " * 20})
    rows.append({**rows[0], "id": "other", "language": "nld"})
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_neighbours_are_joined_with_their_translations(
    manifest: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    joining = JOINING.model_copy(update={"languages": ("deu",)})
    rows = read_manifest(prepare([manifest], None, tmp_path / "out", joining, workers=1))
    singles, long = rows[:20], rows[20:]
    assert [row.id for row in singles] == [f"a{number}" for number in range(20)]
    assert [Path(row.audio) for row in singles] == [manifest.parent / f"{number}.wav" for number in range(20)]
    assert "1 clips left out" in caplog.text and len({row.text for row in long}) == len(long)
    for row in long:
        numbers = [int(word.rstrip(".")) for word in row.text.split() if word != "Satz"]
        assert len(numbers) > 1 and all((two - one) % 20 == 1 for one, two in pairwise(numbers))
        english = " ".join(f"Sentence {number:02d}." for number in numbers)
        assert row.translations == ({} if 7 in numbers else {"eng": english})
        samples = load_audio(row.audio)
        assert row.duration_s == pytest.approx(len(samples) / 16_000, abs=1e-3) and row.duration_s <= 20.0
        first, last = (np.fft.rfft(part).__abs__().argmax() for part in (samples[8000:24000], samples[-24000:-8000]))
        assert (first, last) == tuple(200 + 50 * numbers[end] for end in (0, -1))


def test_a_second_run_changes_nothing(manifest: Path, tmp_path: Path) -> None:
    path = prepare([manifest], None, tmp_path / "out", JOINING, workers=1)
    before = {file: file.stat().st_mtime_ns for file in path.parent.rglob("*.flac")}
    content = path.read_bytes()
    assert prepare([manifest], None, tmp_path / "out", JOINING, workers=1).read_bytes() == content
    assert {file: file.stat().st_mtime_ns for file in path.parent.rglob("*.flac")} == before


def test_what_cannot_be_joined_is_said_in_one_sentence(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no clip in these languages"):
        prepare([manifest], None, tmp_path, JOINING.model_copy(update={"languages": ("ita",)}), workers=1)
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    del rows[3]["duration_s"]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(DataError, match="'a3' has no duration_s"):
        prepare([manifest], None, tmp_path, JOINING, workers=1)
