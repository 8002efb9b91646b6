"""What a folder of results has on record, and that nothing in it is lost."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

from dragoman.cli.files import folded, stems
from dragoman.cli.translation.resume import NAME, FinishedRecordings


def recording(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def texts(said: str) -> Callable[[str], dict[str, str]]:
    return lambda stem: {f"{stem}.txt": said, f"{stem}.json": f'"{said}"\n'}


def write(out: Path, path: Path, said: str, **settings: str) -> FinishedRecordings:
    finished = FinishedRecordings(out, settings)
    finished.holds(path)
    finished.write(path, {path: path.stem}, texts(said))
    return finished


def said(out: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(out.glob("*.txt"))}


def test_recordings_of_one_run_are_named_apart() -> None:
    assert list(stems([Path("a/talk.mp3"), Path("a/talk.wav"), Path("a/other.wav")]).values()) == [
        "talk.mp3", "talk.wav", "other"
    ]  # fmt: skip
    assert list(stems([Path("/x/d1/rec.wav"), Path("/x/d2/rec.wav"), Path("/x/d2-rec.mp3")]).values()) == [
        "d1-rec", "d2-rec.wav", "d2-rec"
    ]  # fmt: skip
    assert list(stems([Path("/x/d/rec.wav"), Path("/y/d/rec.wav")]).values()) == ["x-d-rec", "y-d-rec"]
    assert list(stems([Path("/a/b-c.wav"), Path("/a-b/c.wav"), Path("/a/b/c.wav"), Path("/c/c.wav")]).values()) == [
        "b-c", "a-b-c", "b-c.wav", "c-c"
    ]  # fmt: skip


def test_what_some_file_system_takes_for_one_name_is_two(tmp_path: Path) -> None:
    """Windows and Macs fold case, Macs the Unicode form too; results may be copied there."""
    paths = [
        recording(tmp_path / name, name) for name in ("Talk.wav", "talk.WAV", "\u00e9.wav", "e\u0301.wav", "x.wav")
    ]
    planned = stems(paths)
    assert list(planned.values()) == ["Talk", "talk-2", "\u00e9", "e\u0301-2", "x"]
    assert len({folded(name) for name in planned.values()}) == len(paths)
    for path in paths:
        finished = FinishedRecordings(tmp_path, {})
        assert not finished.holds(path)
        finished.write(path, planned, texts(path.name))
    assert sorted(said(tmp_path).values()) == sorted(path.name for path in paths)
    assert all(FinishedRecordings(tmp_path, {}).holds(path) for path in paths)
    other = recording(tmp_path / "other" / "TALK.wav", "other")
    write(tmp_path, other, "other")
    assert said(tmp_path)["other-TALK.txt"] == "other" and said(tmp_path)["Talk.txt"] == "Talk.wav"


def test_another_recording_of_the_name_is_written_beside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = recording(tmp_path / "1" / "rec.wav", "one"), recording(tmp_path / "2" / "rec.wav", "two")
    write(tmp_path, first, "one")
    write(tmp_path, second, "two")
    assert f"{second}: rec is what the results of {first} are called" in capsys.readouterr().err
    assert said(tmp_path) == {"rec.txt": "one", "2-rec.txt": "two"}
    finished = FinishedRecordings(tmp_path, {})
    assert finished.holds(first) and finished.holds(second)
    first.rename(moved := tmp_path / "rec.wav")  # recognised by content
    assert FinishedRecordings(tmp_path, {}).holds(moved) and not FinishedRecordings(tmp_path, {"to": "fra"}).holds(
        moved
    )
    write(tmp_path, recording(second, "two, cut"), "cut")  # told by path: what was made of it before is replaced
    assert said(tmp_path) == {"rec.txt": "one", "2-rec.txt": "cut"}
    (tmp_path / "rec.txt").unlink(), (tmp_path / "rec.json").unlink()
    write(tmp_path, second, "cut")  # nothing is called so any more
    assert said(tmp_path) == {"2-rec.txt": "cut", "rec.txt": "cut"}


@pytest.mark.parametrize("change", ["", "garbled"])
def test_a_file_counts_as_it_was_written(tmp_path: Path, change: str) -> None:
    path = recording(tmp_path / "in" / "rec.wav", "one")
    finished = write(tmp_path, path, "one")
    assert finished.holds(path)
    (tmp_path / "rec.txt").write_text(change)
    assert not finished.holds(path)
    write(tmp_path, path, "one")
    kept = {"rec.kept.txt": change} if change else {}  # somebody may have fixed a subtitle
    assert FinishedRecordings(tmp_path, {}).holds(path) and said(tmp_path) == {"rec.txt": "one", **kept}
    write(tmp_path, path, "one, by another model", model="other")  # ours, so nothing is kept
    assert said(tmp_path) == {"rec.txt": "one, by another model", **kept}
    assert not FinishedRecordings(tmp_path, {}).holds(path) and FinishedRecordings(tmp_path, {"model": "other"}).holds(
        path
    )


def test_a_recording_that_grew_meanwhile_is_not_finished(tmp_path: Path) -> None:
    path = recording(tmp_path / "in" / "rec.wav", "half")
    finished = FinishedRecordings(tmp_path, {})
    assert not finished.holds(path)
    path.write_text("half, and the other half")
    finished.write(path, {path: "rec"}, texts("half"))
    assert said(tmp_path) == {"rec.txt": "half"} and not finished.holds(path)
    write(tmp_path, path, "whole")
    assert said(tmp_path) == {"rec.txt": "whole"} and FinishedRecordings(tmp_path, {}).holds(path)


def _write_all(folder: Path, out: Path) -> None:
    for path in sorted(folder.iterdir()):
        write(out, path, path.read_text())


def test_runs_side_by_side_lose_nothing(tmp_path: Path) -> None:
    inputs, out = [tmp_path / name for name in ("a", "b", "c")], tmp_path / "out"
    for folder in inputs:
        for number in range(8):
            recording(folder / f"{number}.wav", f"{folder.name}{number}")
    spawn = multiprocessing.get_context("spawn")
    runs = [spawn.Process(target=_write_all, args=(folder, out)) for folder in inputs]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0, 0]
    assert sorted(said(out).values()) == sorted(f"{name}{number}" for name in "abc" for number in range(8))
    rows = [json.loads(line) for line in (out / NAME).read_text().splitlines()]
    assert len(rows) == 24 and len({row["stem"] for row in rows}) == 24
    assert not (out / ".dragoman-lock").exists()
