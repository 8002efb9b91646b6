from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import kill_tree, write_bases, write_corpus

import dragoman
from dragoman.recipe import Recipe, dump_recipe

SCRIPT = Path(__file__).parent / "train_toy.py"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in the same order everywhere."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[[Recipe], Path]:
    """A folder with data, bases and recipe."""

    def prepare(recipe: Recipe) -> Path:
        write_corpus(tmp_path / "data")
        write_bases(tmp_path / "bases", recipe)
        (tmp_path / "recipe.json").write_text(dump_recipe(recipe), encoding="utf-8")
        return tmp_path

    return prepare


@pytest.fixture
def launch() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start train_toy.py, by itself or under a launcher; what still runs at the end is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(folder: Path, out: Path, *launcher: str, micro_batch: int = 64, workers: int = 0) -> Any:
        paths = [str(Path(dragoman.__file__).parent.parent), str(SCRIPT.parent.parent)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *launcher, str(SCRIPT), str(folder), str(out), str(micro_batch), str(workers)]
        log = open(folder / f"{out.name}.log", "ab")  # noqa: SIM115  (the process writes to it)
        started.append(
            subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=folder)
        )
        return started[-1]

    yield start
    for process in started:
        kill_tree(process)
