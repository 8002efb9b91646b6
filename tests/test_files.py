"""Files and folders are there whole or not at all, whatever happens while they are written."""

import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dragoman.errors import OutputError
from dragoman.files import whole_file, whole_folder


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file can grow beyond 64 kB: the write fails as it does on a full disk."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_block_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError), whole_file(path) as out:
        out.write("half")
        raise ZeroDivisionError
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with whole_folder(path) as new:
        (new / "a").write_text("before")
    with pytest.raises(ZeroDivisionError), whole_folder(path) as new:
        (new / "a").write_text("half")
        raise ZeroDivisionError
    assert (path / "a").read_text() == "before"


def test_a_folder_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for name in ("a", "b"):
        with whole_folder(path) as new:
            (new / name).touch()
    assert [found.name for found in path.iterdir()] == ["b"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_sentence(tmp_path: Path, full_disk: None) -> None:
    path = tmp_path / "file"
    with pytest.raises(OutputError, match=r"file: cannot be written \(.+\); make room"), whole_file(path) as out:
        out.write("x" * 100_000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["torch", "safetensors"])
def test_a_full_disk_under_weights_is_one_sentence(kind: str, tmp_path: Path, full_disk: None) -> None:
    tensors = {"weight": torch.zeros(100_000)}
    save = torch.save if kind == "torch" else save_file
    with pytest.raises(OutputError, match="folder: cannot be written"), whole_folder(tmp_path / "folder") as new:
        save(tensors, new / "weights")
    assert list(tmp_path.iterdir()) == []
