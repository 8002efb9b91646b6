"""What does not fit is said before it is read, and the sizes said are those that the weights have."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toy import LORA, model, recipe

from dragoman.errors import ModelError
from dragoman.model import memory
from dragoman.model.checkpoint import load_model, load_on, save_model, skeleton
from dragoman.model.memory import Weights, free_ram, shortage, weights_of

NINE_B = Weights(linear=8_000_000_000, rest=1_500_000_000, own=100_000_000)
GB = 10**9


@pytest.mark.parametrize(
    ("form", "size"),
    [("fp32", 38_400_000_000), ("bf16", 19_400_000_000), ("8-bit", 11_400_000_000), ("4-bit", 7_526_953_125)],
)
def test_bytes_of_a_model(form: str, size: int) -> None:
    assert NINE_B.bytes_in(form) == size


@pytest.mark.parametrize(
    ("form", "ram", "gpu", "says"),
    [
        ("fp32", 39, None, None),
        ("fp32", 20, None, "take 38.4 GB in fp32, but 20.0 GB of RAM is free; it would fit in bf16 (19.4 GB) or in 8"),
        ("fp32", 8, None, "it would fit in 4-bit (7.5 GB)."),
        ("bf16", 7, None, "even in 4-bit it takes 7.5 GB; free some memory or use a larger machine."),
        ("bf16", 64, 24, None),
        ("bf16", 64, 12, "12.0 GB of the GPU's memory is free; it would fit in 8-bit (11.4 GB) or in 4-bit (7.5 GB)"),
        ("bf16", 64, 6, "it would fit with 13.4 GB of it offloaded to RAM."),
        ("bf16", 16, 80, "16.0 GB of RAM is free; it would fit in 8-bit (11.4 GB) or in 4-bit (7.5 GB)."),
    ],
)  # fmt: skip
def test_what_does_not_fit_and_what_would(form: str, ram: int, gpu: int | None, says: str | None) -> None:
    found = shortage("m", NINE_B, form, ram * GB, None if gpu is None else gpu * GB)
    assert found is None if says is None else found is not None and says in found and found.startswith("m: ")


def test_counted_without_weights_is_what_is_loaded(tmp_path: Path) -> None:
    save_model(model(tmp_path, recipe(llm={"name": "base", "lora": LORA})), tmp_path / "model")
    weights = weights_of(skeleton(recipe(llm={"name": "base", "lora": LORA}), tmp_path / "model"))
    for form, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        loaded = load_model(tmp_path / "model", dtype)
        assert weights.bytes_in(form) == sum(weight.nbytes for weight in loaded.model.parameters())
    assert 0 < weights.linear < weights.rest + weights.linear


def test_too_large_a_model_is_not_read(random_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_ram", lambda: 1000)
    monkeypatch.setattr("dragoman.model.checkpoint.load_model", lambda *_: pytest.fail("it was read"))
    with pytest.raises(ModelError, match=r"random: its weights take 0\.\d GB in fp32") as raised:
        load_on(random_model, "cpu")
    assert "\n" not in str(raised.value)


def test_a_container_may_have_less(tmp_path: Path) -> None:
    assert free_ram(tmp_path) > 10**8
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 300\n")
    (tmp_path / "memory.max").write_text("1000\n")
    assert free_ram(tmp_path) == 400
    (tmp_path / "memory.max").write_text("max\n")
    assert free_ram(tmp_path) > 10**8
