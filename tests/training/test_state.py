"""A checkpoint is read as it was written, or named and skipped."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from dragoman.errors import ModelError, OutputError
from dragoman.recipe import Schedule
from dragoman.training.monitoring.runlog import RunLog
from dragoman.training.optim import make_optimizer, make_scheduler
from dragoman.training.state import load_state, load_weights, take_state
from dragoman.training.trainer import make_accelerator

SCHEDULE = Schedule(steps=20, batch=1, learning_rate=0.1)


def parts(width: int = 3) -> tuple[Accelerator, nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    module = nn.Linear(width, 2)
    optimizer = make_optimizer(module.parameters(), SCHEDULE)
    return make_accelerator("fp32"), module, optimizer, make_scheduler(optimizer, SCHEDULE)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """Of the steps 5, 10 and 15, as many as are kept; the weights are the number of the step."""
    accelerator, module, optimizer, scheduler = parts()
    for step in (5, 10, 15):
        nn.init.constant_(module.weight, step)
        take_state(step, accelerator, module, optimizer, scheduler).write(tmp_path)
    return tmp_path


def restored(folder: Path) -> tuple[int, float]:
    accelerator, module, optimizer, scheduler = parts()
    found = load_weights(folder, accelerator, module)
    step = load_state(found, accelerator, module, optimizer, scheduler) if found else 0
    return step, module.weight.detach().mean().item()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def garble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE: list[tuple[str, Callable[[Path], object]]] = [
    ("state.pt", cut),
    ("state.pt", lambda path: path.write_bytes(b"")),
    ("state.pt", garble),
    ("trained.safetensors", garble),
    ("trained.safetensors", Path.unlink),
    ("checksums.json", cut),
    ("checksums.json", lambda path: path.write_text("[]")),
    ("checksums.json", lambda path: path.write_bytes(b"\xff\xfe\0")),
    ("", lambda path: (shutil.rmtree(path), path.mkdir())),
    ("", lambda path: (shutil.rmtree(path), path.write_bytes(b""))),
]


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
    checkpoints: Path, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    assert sorted(path.name for path in checkpoints.iterdir()) == ["step-0000010", "step-0000015"]
    assert restored(checkpoints) == (15, 15.0) and not caplog.records
    for name, damage in DAMAGE:
        folder = tmp_path_factory.mktemp("damaged") / "checkpoints"
        shutil.copytree(checkpoints, folder)
        damage(folder / "step-0000015" / name)
        caplog.clear()
        assert restored(folder) == (10, 10.0), (name, damage)
        assert caplog.messages == [f"{folder / 'step-0000015'} is damaged and is skipped."]
        damage(folder / "step-0000010" / name)
        with pytest.raises(ModelError, match="checkpoints: no checkpoint is complete; remove this folder"):
            restored(folder)


def test_checkpoints_from_before_there_were_checksums_are_taken_if_they_can_be_read(
    checkpoints: Path, caplog: pytest.LogCaptureFixture
) -> None:
    newest, before = (checkpoints / f"step-00000{step}" for step in (15, 10))
    (newest / "checksums.json").unlink()
    assert restored(checkpoints) == (10, 10.0)  # one that is known to be whole comes first
    (before / "checksums.json").unlink()
    caplog.clear()
    assert restored(checkpoints) == (15, 15.0)
    assert caplog.messages == [
        f"{newest} has no checksums and is skipped.",
        f"{before} has no checksums and is skipped.",
        f"{newest} is used all the same: it can be read, and earlier versions wrote no checksums.",
    ]
    for name in ("trained.safetensors", "state.pt"):
        cut(newest / name)
        assert restored(checkpoints) == (10, 10.0)
        assert f"{newest} is damaged and is skipped." in caplog.messages
    cut(before / "state.pt")
    with pytest.raises(ModelError, match="no checkpoint is complete"):
        restored(checkpoints)


def test_what_the_system_does_not_let_be_read_is_not_damaged(checkpoints: Path, no_more_files: None) -> None:
    with pytest.raises(OSError, match="Too many open files"):
        restored(checkpoints)


def test_a_full_disk_leaves_the_checkpoint_before_and_is_told_in_the_words_of_the_system(
    tmp_path: Path, full_disk: None
) -> None:
    take_state(5, *parts()).write(tmp_path)
    with pytest.raises(OutputError, match=r"step-0000010: cannot be written \(File too large\); make room"):
        take_state(10, *parts(5000)).write(tmp_path)  # 40 kB of weights, and 80 of moments
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000005"]


def test_one_of_another_model_is_refused(checkpoints: Path) -> None:
    with pytest.raises(ModelError, match=r"step-0000015 does not fit the model: weight is 2x3 there, 2x4 in the model"):
        load_weights(checkpoints, *parts(4)[:2])


def test_a_full_disk_under_the_log_is_told_with_the_path(tmp_path: Path, full_disk: None) -> None:
    place = r"(metrics\.jsonl|tensorboard): cannot be written \(File too large\); make room or choose another folder\."
    with pytest.raises(OutputError, match=place), RunLog(tmp_path, first_step=0, active=True) as log:
        for step in range(1000):
            log.row(step, dict.fromkeys(("loss", "learning_rate", "gradient_norm"), 1 / 3))
