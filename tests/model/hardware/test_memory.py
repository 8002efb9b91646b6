"""What does not fit is said before it is read, and the sizes said are those that the weights have."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toy import LORA, model, recipe

from dragoman.errors import ModelError
from dragoman.model.build import skeleton
from dragoman.model.folder import load_model, save_model
from dragoman.model.hardware import memory
from dragoman.model.hardware.memory import WeightCounts, count_weights, free_ram, shortage
from dragoman.model.load import load_for_inference

NINE_B = WeightCounts(linear=8_000_000_000, rest=900_000_000, encoder=600_000_000, own=100_000_000)
GB = 10**9


@pytest.mark.parametrize(
    ("compute_type", "on_gpu", "on_cpu"),
    [
        ("float32", 38_400_000_000, 38_400_000_000),
        ("bfloat16", 19_400_000_000, 19_400_000_000),
        ("int8", 11_400_000_000, 20_600_000_000),  # on a CPU made of what was read in 16 bits, the encoder in 32
        ("4bit", 7_526_953_125, 10_526_953_125),
    ],
)
def test_bytes_of_a_model(compute_type: str, on_gpu: int, on_cpu: int) -> None:
    assert NINE_B.bytes_in(compute_type, on_cpu=False) == on_gpu
    assert NINE_B.bytes_in(compute_type, on_cpu=True) == on_cpu


@pytest.mark.parametrize(
    ("compute_type", "ram", "gpu", "says"),
    [
        ("float32", 39, None, None),
        ("float32", 20, None, "38.4 GB in float32, but 20.0 GB of RAM is free; it would fit with compute type bf"),
        ("float32", 11, None, "with compute type 4bit (10.5 GB) or device auto (27.4 GB of it from disk, slowly)."),
        ("4bit", 7, None, "take 10.5 GB in 4bit, but 7.0 GB of RAM is free; it would fit with a larger machine."),
        ("bfloat16", 64, 24, None),
        ("bfloat16", 64, 12, "int8 (11.4 GB) or compute type 4bit (7.5 GB) or device auto (7.4 GB of it from RAM)"),
        ("bfloat16", 8, 6, "it would fit with device auto (13.4 GB of it from disk, slowly)."),
        ("bfloat16", 1, 80, None),  # weights are read straight onto the GPU
    ],
)  # fmt: skip
def test_what_does_not_fit_and_what_would(compute_type: str, ram: int, gpu: int | None, says: str | None) -> None:
    found = shortage("m", NINE_B, compute_type, ram * GB, None if gpu is None else gpu * GB)
    assert found is None if says is None else found is not None and says in found and found.startswith("m: ")


def test_counted_without_weights_is_what_is_loaded(tmp_path: Path) -> None:
    save_model(model(tmp_path, recipe(llm={"name": "base", "lora": LORA})), tmp_path / "model")
    weights = count_weights(skeleton(recipe(llm={"name": "base", "lora": LORA}), tmp_path / "model"))
    for compute_type, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        loaded = load_model(tmp_path / "model", dtype)
        assert weights.bytes_in(compute_type, on_cpu=True) == sum(weight.nbytes for weight in loaded.model.parameters())
    assert weights.linear and weights.rest
    assert weights.encoder == sum(weight.numel() for weight in loaded.model.encoder.parameters())


def test_too_large_a_model_is_not_read(random_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_ram", lambda: 1000)
    monkeypatch.setattr("dragoman.model.folder.load_as", lambda *_: pytest.fail("it was read"))
    with pytest.raises(ModelError, match=r"random: its weights take 0\.\d GB in float32") as raised:
        load_for_inference(random_model, "cpu")
    assert "\n" not in str(raised.value)


def test_a_container_may_have_less(tmp_path: Path) -> None:
    assert free_ram(tmp_path) > 10**8
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 300\n")
    (tmp_path / "memory.max").write_text("1000\n")
    assert free_ram(tmp_path) == 400
    (tmp_path / "memory.max").write_text("max\n")
    assert free_ram(tmp_path) > 10**8
