"""How a model is held changes what it takes, and what it says only by rounding."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from toy import LORA, model, recipe, stage

from dragoman.errors import MissingExtraError, ModelError
from dragoman.inference.decoding.decoder import DecodeRequest
from dragoman.inference.translator import Translator
from dragoman.model import load
from dragoman.model.folder import save_model
from dragoman.model.hardware import memory, placement
from dragoman.model.hardware import precision as hardware
from dragoman.model.hardware.int8 import Int8Linear, can_int8
from dragoman.model.hardware.precision import COMPUTE_TYPES, precision
from dragoman.model.load import load_for_inference

CPU = torch.device("cpu")
needs_fbgemm = pytest.mark.skipif(not can_int8(), reason="torch has no int8 kernels for this CPU")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp = tmp_path_factory.mktemp("precision")
    save_model(model(tmp, recipe(llm={"name": "base", "lora": LORA})), tmp / "model")
    return tmp / "model"


def said(translator: Translator) -> list[float]:
    """Scores of the same made-up transcript, whatever the model would write."""
    mel = np.random.default_rng(0).normal(size=(80, 90)).astype(np.float32)
    return translator.decoder.likelihoods([DecodeRequest(mel, code, ()) for code in ("eng", "deu")], beams=1)


@needs_fbgemm
@pytest.mark.parametrize("bias", [True, False])
def test_int8_is_the_linear_layer_up_to_rounding_and_row_by_row(bias: bool) -> None:
    torch.manual_seed(0)
    linear, rows = nn.Linear(256, 64, bias=bias), torch.randn(3, 5, 256) * torch.logspace(-3, 3, 15).reshape(3, 5, 1)
    held = Int8Linear(linear)
    found, exact = held(rows), linear(rows)
    assert ((found - exact).norm(dim=-1) / exact.norm(dim=-1)).max() < 0.02
    alone = torch.stack([torch.stack([held(row[None])[0] for row in part]) for part in rows])
    assert torch.equal(found, alone)
    assert torch.equal(held(torch.zeros(1, 256)), torch.zeros(1, 64) if linear.bias is None else linear.bias[None])


@needs_fbgemm
def test_int8_holds_what_is_large_in_8_bits(folder: Path) -> None:
    llm = load_for_inference(folder, "cpu", "int8", merged=True).model.llm
    held = [name for name, part in llm.named_modules() if isinstance(part, Int8Linear)]
    assert len(held) == 2 * 7  # seven a layer
    assert [name for name, part in llm.named_modules() if type(part) is nn.Linear] == ["lm_head"]
    assert {weight.dtype for weight in llm.parameters()} == {torch.float32}


def test_auto_is_what_it_was_trained_with() -> None:
    assert precision("auto", CPU, None).dtype == torch.float32
    assert precision("auto", torch.device("cuda"), None).dtype == torch.bfloat16
    assert precision("auto", torch.device("cuda"), "4bit").compute_type == "4bit"


@pytest.mark.parametrize("fast", [True, False])
def test_auto_on_a_cpu_is_bf16_for_what_was_trained_in_it_where_that_is_faster(
    fast: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(precision: str, worth: int) -> set[torch.dtype]:
        plan = recipe(stages=[stage("asr", schedule={"precision": precision})])
        folder = tmp_path / f"{precision}-{worth}"
        save_model(model(folder, plan), folder / "model")
        monkeypatch.setattr(load, "_WORTH_BF16", worth)
        return {weight.dtype for weight in load_for_inference(folder / "model", "cpu").model.llm.parameters()}

    monkeypatch.setattr(hardware, "cpu_is_fast_in_bf16", lambda: fast)
    assert held("bf16", worth=1) == {torch.bfloat16 if fast else torch.float32}
    assert held("bf16", worth=10**9) == held("fp32", worth=1) == {torch.float32}


def test_whether_a_cpu_is_fast_in_bf16_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for bf16, fast in ((0.7, True), (0.9, False)):
        monkeypatch.setattr(hardware, "_seconds", {torch.float32: 1.0, torch.bfloat16: bf16}.__getitem__)
        assert hardware.cpu_is_fast_in_bf16.__wrapped__() is fast


def test_the_head_reads_no_slice(folder: Path) -> None:
    """Over a slice a CPU is hundreds of times slower in bf16; that it is one is how transformers keeps logits."""
    llm, seen = load_for_inference(folder, "cpu", merged=True).model.llm, []
    llm.lm_head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        llm(inputs_embeds=torch.zeros(2, 5, llm.config.hidden_size), logits_to_keep=1)
    assert seen[0].shape[1] == 1 and seen[0].is_contiguous()


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_fewer_bits_on_a_gpu_are_those_of_bitsandbytes() -> None:
    assert precision("int8", torch.device("cuda"), None).quantisation == "8bit"
    assert precision("4bit", torch.device("cuda"), None).quantisation == "4bit"


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_without_bitsandbytes_it_is_one_sentence() -> None:
    with pytest.raises(MissingExtraError, match=r"needs bitsandbytes: run `pip install 'dragoman\[quantised\]'"):
        precision("4bit", CPU, None)


def test_what_cannot_be_is_one_sentence() -> None:
    with pytest.raises(ModelError, match="float16 is slow on a CPU; take float32"):
        precision("float16", CPU, None)
    with pytest.raises(ModelError, match=f"no compute type 'int4'; choose among {', '.join(COMPUTE_TYPES)}"):
        precision("int4", CPU, None)


def test_an_llm_in_several_places_says_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = said(Translator.from_pretrained(folder, device="cpu"))
    weights = sum(weight.nbytes for weight in load_for_inference(folder, "cpu").model.llm.parameters())
    monkeypatch.setattr(placement, "max_memory", lambda main, beside: {"cpu": weights * 3 // 4})
    loaded = load_for_inference(folder, "auto", merged=True)
    places = set(map(str, loaded.model.llm.hf_device_map.values()))
    assert places == {"cpu", "disk"} and placement.is_offloaded(loaded.model.llm)
    (said_where,) = [row.message for row in caplog.records if "slow" in row.message]
    assert said_where.endswith("parts of its LLM come from the disk: slow.")  # of RAM nothing: all else is there
    assert said(Translator(loaded)) == pytest.approx(whole, abs=1e-5)


def test_nothing_fits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_ram", lambda: 0)
    with pytest.raises(ModelError, match="free"):
        load_for_inference(folder, "auto")
