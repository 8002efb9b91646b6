"""CTranslate2's and llama.cpp's files give back exactly the weights that they hold, or a sentence says what is odd."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fetchable import LANGUAGES, variables, write_model_bin
from gguf import MODEL_ARCH, GGMLQuantizationType, GGUFWriter, dequantize, get_tensor_name_map, quantize
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    WhisperForConditionalGeneration,
    WhisperProcessor,
)

from dragoman.errors import ModelError
from dragoman.model.bases.gguf import convert_gguf
from dragoman.model.bases.whisper import convert_whisper

Made = tuple[Path, Any]
Convert = Callable[[Sequence[Path], Path], None]


def refused(convert: Convert, files: Sequence[Path], folder: Path, says: str) -> None:
    folder.mkdir(exist_ok=True)
    with pytest.raises(ModelError) as raised:
        convert(files, folder)
    assert says in str(raised.value) and str(files[0]) in str(raised.value) and "\n" not in str(raised.value)
    assert list(folder.iterdir()) == []


# --------------------------------------------------------------------------------------- CTranslate2's Whisper


def whisper_files(folder: Path) -> list[Path]:
    return [folder / name for name in ("model.bin", "config.json", "tokenizer.json")]


def test_whisper_writes_as_it_did(made: Made, tmp_path: Path) -> None:
    files, model = made
    convert_whisper(whisper_files(files), tmp_path)
    loaded = WhisperForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32)
    mel = torch.randn(1, 80, 200, generator=torch.Generator().manual_seed(0))
    ids = torch.arange(6)[None]
    expected = deepcopy(model).float()(input_features=mel, decoder_input_ids=ids).logits
    assert torch.equal(loaded(input_features=mel, decoder_input_ids=ids).logits, expected)
    pieces = WhisperProcessor.from_pretrained(tmp_path).tokenizer
    generation = loaded.generation_config
    assert generation.lang_to_id == {f"<|{code}|>": pieces.convert_tokens_to_ids(f"<|{code}|>") for code in LANGUAGES}
    assert generation.decoder_start_token_id == pieces.convert_tokens_to_ids("<|startoftranscript|>")
    assert (generation.suppress_tokens, generation.begin_suppress_tokens) == ([3, 4], [5])


def lost(found: dict[str, Any]) -> None:
    del found["encoder/layer_1/ffn/linear_0/bias"]


def lost_embedding(found: dict[str, Any]) -> None:
    del found["decoder/embeddings/weight"]


def added(found: dict[str, Any]) -> None:
    found["encoder/layer_0/ffn/linear_3/weight"] = np.zeros((2, 2), np.float16)


def wrong_shape(found: dict[str, Any]) -> None:
    found["encoder/layer_0/ffn/linear_0/bias"] = np.zeros(7, np.float16)


def biased_keys(found: dict[str, Any]) -> None:
    found["encoder/layer_0/self_attention/linear_0/bias"] = np.ones(192, np.float16)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lost, "tensor 'model.encoder.layers.1.fc1.bias' is missing (1 such)"),
        (lost_embedding, "tensor 'model.decoder.embed_tokens.weight' is missing"),
        (added, "tensor 'model.encoder.layers.0.ffn/linear_3.weight' is not Whisper's (1 such)"),
        (wrong_shape, "model.encoder.layers.0.fc1.bias has shape (7,), not (256,)"),
        (biased_keys, "the keys have a bias"),
    ],
)
def test_a_whisper_of_other_tensors_is_refused(
    change: Callable[[dict[str, Any]], None], says: str, made: Made, tmp_path: Path
) -> None:
    files = [Path(shutil.copy(path, tmp_path)) for path in whisper_files(made[0])]
    found = variables(made[1].state_dict())
    change(found)
    write_model_bin(found, files[0])
    refused(convert_whisper, files, tmp_path / "out", says)


def test_a_file_that_is_no_whisper_is_refused(made: Made, tmp_path: Path) -> None:
    files = [Path(shutil.copy(path, tmp_path)) for path in whisper_files(made[0])]
    whole = files[0].read_bytes()
    for there in (b"", whole[:30], whole[: len(whole) // 2], whole[:-1]):
        files[0].write_bytes(there)
        refused(convert_whisper, files, tmp_path / "out", "is not a whole CTranslate2 model")
    files[0].write_bytes(whole + b"more")
    refused(convert_whisper, files, tmp_path / "out", "4 bytes after the CTranslate2 model are not expected")
    files[0].write_bytes(whole.replace(b"WhisperSpec", b"ListenrSpec", 1))
    refused(convert_whisper, files, tmp_path / "out", "is a ListenrSpec of version 6")


# ------------------------------------------------------------------------------------------ llama.cpp's Gemma 3

PIECES = (
    *("<pad>", "<eos>", "<bos>", "<unk>"),
    *(f"<0x{byte:02X}>" for byte in range(256)),
    *("▁", *"abcdefghijklmnopqrstuvwxyz", "th", "the", "▁t", "▁th", "▁the", "ca", "cat", "▁cat"),
)
CONFIG = {
    "vocab_size": len(PIECES), "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 7,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "query_pre_attn_scalar": 32,
    "sliding_window": 8, "max_position_embeddings": 64, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2,
}  # fmt: skip
Q8, F16 = GGMLQuantizationType.Q8_0, GGMLQuantizationType.F16


def random_gemma() -> Gemma3ForCausalLM:
    """Norms that 1 can be added to and taken from without loss."""
    torch.manual_seed(0)
    model = Gemma3ForCausalLM(Gemma3TextConfig(**CONFIG)).eval()
    for name, weight in model.named_parameters():
        if name.endswith("norm.weight"):
            weight.data = torch.randint(-32, 32, weight.shape) / 64
    return model


def held(name: str, weight: torch.Tensor) -> tuple[np.ndarray[Any, Any], GGMLQuantizationType | None]:
    """How llama.cpp writes it: norms in fp32 with 1 added, the rest in fewer bits."""
    values = weight.detach().numpy()
    if name.endswith("norm.weight"):
        return values + 1, None
    return (quantize(values, Q8), Q8) if "embed" in name or "q_proj" in name else (values.astype(np.float16), None)


def write_gguf(
    path: Path, model: Gemma3ForCausalLM, change: Callable[[GGUFWriter], None] = lambda writer: None
) -> None:
    out = GGUFWriter(path, "gemma3")
    out.add_context_length(64)
    out.add_embedding_length(64)
    out.add_block_count(7)
    out.add_feed_forward_length(96)
    out.add_head_count(2)
    out.add_head_count_kv(1)
    out.add_key_length(32)
    out.add_value_length(32)
    out.add_layer_norm_rms_eps(1e-6)
    out.add_rope_freq_base(1e6)
    out.add_sliding_window(8)
    out.add_tokenizer_model("llama")
    out.add_tokenizer_pre("default")
    out.add_token_list(PIECES)
    out.add_token_scores([-float(number) for number in range(len(PIECES))])
    out.add_token_types([3, 3, 3, 2, *[6] * 256, *[1] * (len(PIECES) - 260)])
    out.add_pad_token_id(0)
    out.add_eos_token_id(1)
    out.add_bos_token_id(2)
    out.add_unk_token_id(3)
    out.add_add_bos_token(True)
    out.add_add_space_prefix(False)
    names = get_tensor_name_map(MODEL_ARCH.GEMMA3, 7)  # llama.cpp's own
    for name, weight in model.named_parameters():
        values, kind = held(name, weight)
        out.add_tensor(f"{names.get_name(name.removesuffix('.weight'))}.weight", values, raw_dtype=kind)
    change(out)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def test_gemma_gets_exactly_the_weights_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    model, folder = random_gemma(), tmp_path / "out"
    write_gguf(tmp_path / "gemma.gguf", model)
    folder.mkdir()
    monkeypatch.setattr("dragoman.model.bases.gguf._ROWS", 50)  # more than one part, the last one shorter
    capfd.readouterr()
    convert_gguf([tmp_path / "gemma.gguf"], folder)
    assert capfd.readouterr() == ("", "")
    loaded, odd = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", output_loading_info=True)
    assert loaded.dtype == torch.bfloat16 and not any(odd.values())
    for name, weight in model.named_parameters():
        values, kind = held(name, weight)
        read = dequantize(values, kind) if kind else values.astype(np.float32)
        expected = weight if name.endswith("norm.weight") else torch.from_numpy(np.array(read))
        assert torch.equal(loaded.get_parameter(name), expected.bfloat16()), name
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    theirs, ours = Gemma3TextConfig(**CONFIG).to_dict(), loaded.config.to_dict()
    assert {key for key in theirs if theirs[key] != ours[key]} <= {
        "_name_or_path", "architectures", "dtype", "rms_norm_eps"
    }  # fmt: skip
    assert ours["rms_norm_eps"] == pytest.approx(1e-6)
    pieces = AutoTokenizer.from_pretrained(folder)
    assert pieces.convert_ids_to_tokens(pieces("the cat").input_ids) == ["<bos>", "the", "▁cat"]
    for text in ("the cat", "Grüße, 世界!\n 🙂"):
        assert pieces.decode(pieces(text, add_special_tokens=False).input_ids) == text


def setting(writer: GGUFWriter) -> None:
    writer.add_float32("gemma3.rope.scaling.factor", 8.0)


def tensor(writer: GGUFWriter) -> None:
    writer.add_tensor("output.weight", np.zeros((4, 4), np.float32))


def shape(writer: GGUFWriter) -> None:
    (tensors,) = writer.tensors
    del tensors["blk.0.attn_norm.weight"]
    writer.add_tensor("blk.0.attn_norm.weight", np.zeros(3, np.float32))


def missing(writer: GGUFWriter) -> None:
    (tensors,) = writer.tensors
    del tensors["blk.6.ffn_up.weight"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (setting, "the setting 'rope.scaling.factor' is not known"),
        (tensor, "tensor 'output.weight' is not Gemma's (1 such)"),
        (shape, "model.layers.0.input_layernorm.weight has shape (3,), not (64,)"),
        (missing, "tensor 'model.layers.6.mlp.up_proj.weight' is missing (1 such)"),
    ],
)
def test_another_gemma_than_is_known_is_refused(
    change: Callable[[GGUFWriter], None], says: str, tmp_path: Path
) -> None:
    write_gguf(tmp_path / "gemma.gguf", random_gemma(), change)
    refused(convert_gguf, [tmp_path / "gemma.gguf"], tmp_path / "out", says)


def test_a_file_that_is_no_gemma_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gemma.gguf"
    write_gguf(path, random_gemma())
    whole = path.read_bytes()
    for there in (b"", b"GGUF", whole[:3000], whole[: len(whole) // 2], json.dumps({}).encode() * 50):
        path.write_bytes(there)
        refused(convert_gguf, [path], tmp_path / "out", "cannot be read as GGUF: ")
    other = GGUFWriter(path, "llama")
    other.write_header_to_file()
    other.write_kv_data_to_file()
    other.write_tensors_to_file()
    other.close()
    refused(convert_gguf, [path], tmp_path / "out", "holds a llama, not a gemma3")
