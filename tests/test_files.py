"""Files and folders are there whole or not at all, whatever happens while they are written."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dragoman.errors import OutputError
from dragoman.files import atomic_file, atomic_folder, only_run


def test_a_block_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError), atomic_file(path) as out:
        out.write("half")
        raise ZeroDivisionError
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with atomic_folder(path) as new:
        (new / "a").write_text("before")
    with pytest.raises(ZeroDivisionError), atomic_folder(path) as new:
        (new / "a").write_text("half")
        raise ZeroDivisionError
    assert (path / "a").read_text() == "before"


def test_a_folder_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for name in ("a", "b"):
        with atomic_folder(path) as new:
            (new / name).touch()
    assert [found.name for found in path.iterdir()] == ["b"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
def test_weights_are_there_for_whom_the_umask_lets(tmp_path: Path) -> None:
    def rights(path: Path) -> int:
        return path.stat().st_mode & 0o777

    for mask, expected in ((0o022, 0o644), (0o027, 0o640), (0o077, 0o600)):
        before = os.umask(mask)
        try:
            with atomic_folder(tmp_path / "folder") as new:
                (new / "part").mkdir()
                save_file({"weight": torch.zeros(1)}, new / "part" / "weights")
                (new / "script").touch(mode=0o777)
        finally:
            os.umask(before)
        assert rights(tmp_path / "folder" / "part" / "weights") == expected
        assert rights(tmp_path / "folder" / "script") == 0o777 & ~mask


def test_a_full_disk_is_one_sentence(tmp_path: Path, full_disk: None) -> None:
    path = tmp_path / "file"
    with pytest.raises(OutputError, match=r"file: cannot be written \(.+\); make room"), atomic_file(path) as out:
        out.write("x" * 100_000)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_under_weights_is_told_in_the_words_of_the_system(tmp_path: Path, full_disk: None) -> None:
    tensors = {"weight": torch.zeros(100_000)}
    message = r"^\S+/folder: cannot be written \(File too large\); make room"
    with pytest.raises(OutputError, match=message), atomic_folder(tmp_path / "folder") as new:
        save_file(tensors, new / "weights")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_never_lost_between_its_two_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "folder"
    with atomic_folder(path) as new:
        (new / "a").write_text("before")
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.suffix == ".part":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OutputError, match="folder: cannot be written"), atomic_folder(path) as new:
        (new / "b").touch()
    assert (path / "a").read_text() == "before"
    monkeypatch.undo()
    path.rename(tmp_path / "folder.former")  # as if the process had been killed there
    with pytest.raises(ZeroDivisionError), atomic_folder(path) as new:
        raise ZeroDivisionError
    assert (path / "a").read_text() == "before"


def test_a_folder_belongs_to_one_run_until_its_process_ends(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from dragoman.files import only_run\n"
        "with only_run(Path(sys.argv[1])):\n    print('has it', flush=True); time.sleep(600)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE)
    assert other.stdout and other.stdout.readline()
    with pytest.raises(OutputError, match="another run is writing there; wait until it is done"), only_run(tmp_path):
        pass
    with only_run(tmp_path, rank=1):  # a process of a run whose first has it
        pass
    other.kill()
    other.communicate()
    with only_run(tmp_path), pytest.raises(OutputError), only_run(tmp_path):
        pass
