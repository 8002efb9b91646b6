"""What a run says of itself: every step's losses, however seldom they are read; how fast it was; what it spent its time
on; and what stops it before anything wrong is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from toy import LORA, examples, model, recipe

from dragoman.data.batching import collate
from dragoman.errors import DataError, OutputError
from dragoman.model.trainable import train_only
from dragoman.recipe import Schedule
from dragoman.training.monitoring.throughput import SpeechWork, Work, described
from dragoman.training.optim import make_optimizer, make_scheduler
from dragoman.training.options import RunOptions
from dragoman.training.state import CheckpointWriter
from dragoman.training.trainer import TrainingJob, fit, make_accelerator

STEPS = 7
OPTIONS = RunOptions(save_every=5)


@dataclass(frozen=True)
class Numbers:
    """x (N, 3)."""

    x: torch.Tensor

    @property
    def num_targets(self) -> int:
        return len(self.x)

    @property
    def num_rows(self) -> int:
        return len(self.x)

    def to(self, device: torch.device) -> Numbers:
        return Numbers(self.x.to(device))


class Regression(nn.Module):
    """Towards 1."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, 1)

    def forward(self, batch: Numbers) -> dict[str, torch.Tensor]:
        return {"loss": (self.linear(batch.x) - 1).square().sum()}


def stream(done: int) -> Iterator[Sequence[Numbers]]:
    for step in range(done, STEPS):
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        yield [Numbers(x[:3]), Numbers(x[3:])]


def trained(folder: Path, options: RunOptions = OPTIONS, **over: Any) -> Path:
    schedule = Schedule(steps=STEPS, batch=4, learning_rate=0.1, clip_norm=1.0, precision="fp32")
    job = TrainingJob("toy", Regression(), stream, schedule, folder, options, **over)
    fit(job, make_accelerator("fp32"))
    return folder


def rows(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_losses_read_seldom_are_those_read_always(tmp_path: Path) -> None:
    each = trained(tmp_path / "each", validate=lambda: {"loss": 1.0}, validate_every=2)
    seldom = trained(tmp_path / "seldom", validate=lambda: {"loss": 1.0}, validate_every=2, log_every=3)
    text = (each / "metrics.jsonl").read_text(encoding="utf-8")
    assert text == (seldom / "metrics.jsonl").read_text(encoding="utf-8")
    assert [row["step"] for row in rows(each / "metrics.jsonl") if "loss" in row] == list(range(1, STEPS + 1))
    assert sorted(path.name for path in (each / "checkpoints").iterdir()) == ["step-0000005", "step-0000007"]


def test_a_loss_that_is_not_finite_is_named_by_its_step_and_nothing_of_it_is_kept(tmp_path: Path) -> None:
    def broken(done: int) -> Iterator[Sequence[Numbers]]:
        for step, share in enumerate(stream(done), done + 1):
            yield [Numbers(batch.x * float("inf")) for batch in share] if step == 2 else share

    schedule = Schedule(steps=STEPS, batch=4, learning_rate=0.1, precision="fp32")
    job = TrainingJob("toy", Regression(), broken, schedule, tmp_path, OPTIONS, log_every=10)
    with pytest.raises(DataError, match="the loss of step 2 is not finite"):
        fit(job, make_accelerator("fp32"))
    assert not (tmp_path / "checkpoints").exists()
    assert [row["step"] for row in rows(tmp_path / "metrics.jsonl")] == [1]


def test_speed_and_a_trace(tmp_path: Path) -> None:
    told: list[str] = []
    folder = trained(
        tmp_path,
        replace(OPTIONS, profile=True),
        work=lambda batch: Work(10 * len(batch.x), 1e9),
        on_progress=lambda label, done, total, note="": told.append(note),
    )
    speed = rows(folder / "speed.jsonl")
    assert speed[-1]["step"] == STEPS
    for row in speed:  # ten tokens a sample
        assert row["tokens_per_s"] == pytest.approx(10 * row["samples_per_s"]) and row["peak_memory_gb"] > 0
    assert "samples/s" in told[-1] and "tokens/s" in told[-1] and "MFU" not in told[-1]  # a CPU's peak is not known
    assert described({"samples_per_s": 1.0, "mfu": 0.412}) == "1.0 samples/s  MFU 41 %"
    trace = json.loads((folder / "profile" / "trace-0.json").read_text(encoding="utf-8"))
    assert any("Optimizer.step" in str(event.get("name")) for event in trace["traceEvents"])


@pytest.mark.parametrize("trains", [["adapter"], ["adapter", "llm_lora"]])
def test_the_arithmetic_counted_is_that_done(tmp_path: Path, trains: list[str]) -> None:
    """Of one clip, so that nothing is padding; attention's own products are left out."""
    speech_llm = model(tmp_path, recipe(llm={"name": "base", "lora": LORA})).model
    train_only(speech_llm, trains)
    batch = collate(examples((64,), (1,)), 0)
    work = SpeechWork(speech_llm, recipe())(batch)
    assert work.tokens == recipe().audio_tokens(32) + int(batch.text.attention_mask.sum())
    with FlopCounterMode(display=False) as counter:
        speech_llm(batch)["loss"].backward()
    done = {str(op): flops for op, flops in counter.get_flop_counts()["Global"].items()}
    by_weights = sum(done.get(f"aten.{op}", 0) for op in ("mm", "addmm", "convolution"))
    assert work.flops == pytest.approx(by_weights, rel=0.25)


def test_a_checkpoint_that_could_not_be_written_is_told_when_the_next_is_due(tmp_path: Path, full_disk: None) -> None:
    module = nn.Linear(5000, 2)
    schedule = Schedule(steps=STEPS, batch=1, learning_rate=0.1)
    optimizer = make_optimizer(module.parameters(), schedule)
    state = module, optimizer, make_scheduler(optimizer, schedule)
    writer = CheckpointWriter(tmp_path, make_accelerator("fp32"))
    writer.save(1, *state)
    with pytest.raises(OutputError, match="step-0000001: cannot be written"):
        writer.save(2, *state)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_is_of_its_step_though_training_goes_on(tmp_path: Path) -> None:
    """What is written beside training is a copy."""
    module = nn.Linear(3, 2)
    schedule = Schedule(steps=STEPS, batch=1, learning_rate=0.1)
    optimizer = make_optimizer(module.parameters(), schedule)
    nn.init.constant_(module.weight, 5.0)
    with CheckpointWriter(tmp_path, make_accelerator("fp32")) as writer:
        writer.save(1, module, optimizer, make_scheduler(optimizer, schedule))
        nn.init.constant_(module.weight, 6.0)

    assert load_file(tmp_path / "step-0000001" / "trained.safetensors")["weight"].unique().tolist() == [5.0]
