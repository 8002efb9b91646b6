"""The README keeps its promises: its shell and Python blocks run, in a folder with the examples; as they stand where
the bases of `small` are fetched (`make test-small`), and by `tiny` everywhere."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    return tmp_path


MODELS = ["tiny", pytest.param("small", marks=pytest.mark.base_model)]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("block", blocks("sh"))
def test_shell_blocks_run(block: str, model: str, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=folder,
        env={**os.environ, "PATH": path, "DRAGOMAN_MODEL": model},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("block", blocks("python"))
def test_python_blocks_run(block: str, model: str, folder: Path) -> None:
    block = block.replace('"small"', f'"{model}"')
    done = subprocess.run([sys.executable, "-c", block], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_links_lead_somewhere() -> None:
    local = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert local
    assert [link for link in local if not (ROOT / link).exists()] == []
