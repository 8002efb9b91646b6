"""Neither micro-batches nor processes change what is learnt."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy import LORA, TORCHRUN, kill_tree, losses, model, recipe, stage

from dragoman.model.folder import load_model, save_model
from dragoman.recipe import Recipe, read_stored_recipe
from dragoman.training.curriculum import train_curriculum
from dragoman.training.options import TrainOptions

# 12 utterances by 5: the last step of an epoch has 2; by 11: it has 1, so that the second of two processes has none.
TWO_STAGES = recipe(
    llm={"name": "base", "lora": LORA},
    stages=[
        stage("asr", schedule={"steps": 6, "batch": 5}, ctc_weight=0.3),
        stage("srt", schedule={"steps": 4, "batch": 11}, trains=["llm_lora"], targets=2),
    ],
)


def taught(prepared: Callable[[Recipe], Path]) -> Path:
    """Both stages go on from a model that knows two of the three languages, and the second keeps to it."""
    folder = prepared(TWO_STAGES)
    start = TWO_STAGES.model_copy(update={"sources": ["eng", "deu"], "targets": ["eng", "deu"]})
    save_model(model(folder, start), folder / "start")
    asr, srt = TWO_STAGES.stages
    stages = [asr, srt.model_copy(update={"distillation": 0.5})]
    return prepared(TWO_STAGES.model_copy(update={"init_from": str(folder / "start"), "stages": stages}))


def alone(folder: Path, name: str, micro_batch: int) -> Path:
    """What `two_processes` do, in this one."""
    out = folder / name
    chosen = read_stored_recipe(folder / "recipe.json")
    options = TrainOptions(workers=0, save_every=5, micro_batch=micro_batch)
    train_curriculum(chosen, folder / "data", out, options, bases=folder / "bases")
    return out


def two_processes(launch: Callable[..., subprocess.Popen[bytes]], folder: Path, name: str, micro_batch: int) -> Path:
    out = folder / name
    process = launch(folder, out, *TORCHRUN, micro_batch=micro_batch)
    assert process.wait(timeout=200) == 0, (folder / f"{name}.log").read_text()
    return out


def assert_same(one: Path, other: Path) -> None:
    for name in ("1-asr", "2-srt"):
        assert len(losses(one / name)) == {"1-asr": 6, "2-srt": 4}[name]
        assert losses(other / name) == pytest.approx(losses(one / name), rel=1e-5)
    for file in ("adapter.safetensors", "llm_lora/adapter_model.safetensors"):
        tensors, others = (load_file(out / "2-srt" / "model" / file) for out in (one, other))
        assert tensors.keys() == others.keys()
        for name, tensor in tensors.items():
            torch.testing.assert_close(others[name], tensor, rtol=1e-3, atol=1e-4)
    load_model(other / "2-srt" / "model")


@pytest.mark.slow
def test_micro_batches_and_processes_change_nothing(
    prepared: Callable[[Recipe], Path], launch: Callable[..., subprocess.Popen[bytes]]
) -> None:
    folder = taught(prepared)
    whole = alone(folder, "whole", micro_batch=64)
    assert "divergence" in (whole / "2-srt" / "metrics.jsonl").read_text()
    assert_same(whole, alone(folder, "micro", micro_batch=2))
    assert_same(whole, two_processes(launch, folder, "two", micro_batch=64))
    assert_same(whole, two_processes(launch, folder, "both", micro_batch=1))


@pytest.mark.slow
def test_what_two_processes_began_one_goes_on_with(
    prepared: Callable[[Recipe], Path], launch: Callable[..., subprocess.Popen[bytes]]
) -> None:
    folder = prepared(TWO_STAGES)
    kill_after_five_steps(launch(folder, folder / "begun", *TORCHRUN), folder / "begun")
    assert_same(alone(folder, "whole", micro_batch=64), alone(folder, "begun", micro_batch=64))


@pytest.mark.slow
def test_what_fsdp_began_it_goes_on_with(
    prepared: Callable[[Recipe], Path],
    launch: Callable[..., subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From a checkpoint that holds weights and moments whole, to be shared out anew."""
    folder = prepared(TWO_STAGES)
    whole = alone(folder, "whole", micro_batch=64)
    monkeypatch.setenv("TOY_FSDP", "1")
    kill_after_five_steps(launch(folder, folder / "begun", *TORCHRUN), folder / "begun")
    assert_same(whole, two_processes(launch, folder, "begun", micro_batch=2))


@pytest.mark.slow
@pytest.mark.parametrize("zero", [1, 2, 3])
def test_what_deepspeed_began_it_goes_on_with_and_so_does_one_process(
    zero: int,
    prepared: Callable[[Recipe], Path],
    launch: Callable[..., subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its steps have as many micro-batches as they need, and ZeRO-3 saves whole weights."""
    pytest.importorskip("deepspeed", reason="DeepSpeed is not installed: `pip install deepspeed`.")
    folder = prepared(TWO_STAGES)
    whole = alone(folder, "whole", micro_batch=64)
    monkeypatch.setenv("TOY_ZERO", str(zero))
    begun = folder / "begun"
    kill_when(launch(folder, begun, *TORCHRUN, micro_batch=2), (begun / "1-asr/checkpoints/step-0000005").is_dir)
    shutil.copytree(begun, folder / "by_one")
    assert_same(whole, alone(folder, "by_one", micro_batch=64))
    assert_same(whole, two_processes(launch, folder, "begun", micro_batch=2))


def kill_after_five_steps(process: subprocess.Popen[bytes], out: Path) -> None:
    """Which is when a checkpoint is due."""
    metrics = out / "1-asr" / "metrics.jsonl"
    kill_when(process, lambda: metrics.is_file() and metrics.read_bytes().count(b"\n") >= 5)


def kill_when(process: subprocess.Popen[bytes], reached: Callable[[], bool]) -> None:
    while process.poll() is None and not reached():
        time.sleep(0.003)
    kill_tree(process)


@pytest.mark.slow
def test_more_processes_than_utterances_end_before_the_first_step(
    prepared: Callable[[Recipe], Path], launch: Callable[..., subprocess.Popen[bytes]]
) -> None:
    folder = prepared(recipe(stages=[stage("asr", schedule={"batch": 1})]))
    assert launch(folder, folder / "few", *TORCHRUN).wait(timeout=200) != 0
    said = "stage asr: a step holds 1 utterances, which 2 processes cannot share; start 1 at most"
    assert said in (folder / "few.log").read_text()


@pytest.mark.slow
def test_fsdp_changes_nothing_and_saves_whole_weights(
    prepared: Callable[[Recipe], Path],
    launch: Callable[..., subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = prepared(TWO_STAGES)
    whole = alone(folder, "whole", micro_batch=64)
    monkeypatch.setenv("TOY_FSDP", "1")
    assert_same(whole, two_processes(launch, folder, "fsdp", micro_batch=2))


@pytest.mark.slow
def test_fsdp_has_no_place_for_a_teacher(
    prepared: Callable[[Recipe], Path],
    launch: Callable[..., subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOY_FSDP", "1")
    folder = taught(prepared)
    assert launch(folder, folder / "fsdp", *TORCHRUN).wait(timeout=200) != 0
    assert "distillation needs the whole model in each process" in (folder / "fsdp.log").read_text()
