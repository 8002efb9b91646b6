"""A run that was killed at any moment and goes on is the run that was not, to the bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file
from toy import LORA, Q_FORMER, TORCHRUN, recipe, stage

from dragoman.recipe import Recipe

STEPS = 40
WITH_DROPOUT = recipe(
    adapter=Q_FORMER,
    llm={"name": "base", "lora": {**LORA, "dropout": 0.2}},
    stages=[
        stage("asr", schedule={"steps": STEPS}, ctc_weight=0.3),
        stage(
            "srt",
            schedule={"steps": STEPS},
            trains=["adapter", "llm_lora"],
            targets=2,
            temperature=2.0,
            max_per_direction=3,
        ),
    ],
)
STAGES = ("1-asr", "2-srt")


def num_rows(out: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in out.glob("*/metrics.jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [int(os.environ.get("DRAGOMAN_TEST_SEED", 0))])
def test_killed_twice_and_resumed(
    seed: int, prepared: Callable[[Recipe], Path], launch: Callable[..., subprocess.Popen[bytes]]
) -> None:
    folder = prepared(WITH_DROPOUT)
    whole, killed = folder / "whole", folder / "killed"
    uninterrupted = launch(folder, whole, workers=1)
    for earliest in sorted(random.Random(seed).sample(range(1, 2 * STEPS - 5), 2)):
        process = launch(folder, killed, workers=1)
        while process.poll() is None and num_rows(killed) < earliest:
            time.sleep(0.003)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not (killed / "2-srt" / "model").exists()
    assert launch(folder, killed, workers=1).wait(timeout=120) == 0, (folder / "killed.log").read_text()
    assert uninterrupted.wait(timeout=120) == 0, (folder / "whole.log").read_text()

    assert_same(killed, whole)


@pytest.mark.slow
def test_two_processes_stopped_and_resumed(
    prepared: Callable[[Recipe], Path], launch: Callable[..., subprocess.Popen[bytes]]
) -> None:
    folder = prepared(WITH_DROPOUT)
    whole, stopped = folder / "whole", folder / "stopped"
    uninterrupted = launch(folder, whole, *TORCHRUN)
    process = launch(folder, stopped, *TORCHRUN)
    while process.poll() is None and num_rows(stopped) < STEPS // 2:
        time.sleep(0.003)
    process.terminate()  # torchrun hands it on to its processes
    assert process.wait(timeout=60) != 0
    assert not (stopped / "2-srt" / "model").exists()
    assert launch(folder, stopped, *TORCHRUN).wait(timeout=200) == 0, (folder / "stopped.log").read_text()
    assert uninterrupted.wait(timeout=200) == 0, (folder / "whole.log").read_text()
    assert_same(stopped, whole)


def assert_same(one: Path, other: Path) -> None:
    for name in STAGES:
        assert (one / name / "metrics.jsonl").read_bytes() == (other / name / "metrics.jsonl").read_bytes()
        models = [load_file(run / name / "model" / "adapter.safetensors") for run in (one, other)]
        assert all(models[0][key].equal(tensor) for key, tensor in models[1].items())
