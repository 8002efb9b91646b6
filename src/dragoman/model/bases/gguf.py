"""llama.cpp's file of a Gemma 3 -> a folder of Hugging Face's Gemma3ForCausalLM, strictly: every tensor and every
setting of the file is used. Weights are dequantised to bf16, a few rows at a time.

llama.cpp stores the weights of Gemma's norms with 1 added; the head is the embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoTokenizer, Gemma3ForCausalLM, Gemma3TextConfig, GenerationConfig

from dragoman.errors import ModelError, first_line
from dragoman.model.bases.loading import without_bars

if TYPE_CHECKING:
    from gguf import GGUFReader, ReaderTensor

_ROWS = 8192
"""This many are dequantised at once: fp32 of a whole embedding would be the most of the memory that is needed."""
_LOCAL_ROPE = 10_000.0
"""Of the layers that look through a window: the same in all Gemma 3, the file does not say it."""
_SETTINGS = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.value_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.sliding_window": "sliding_window",
    "rope.freq_base": "rope_theta",
}
_IDS = {"bos": "bos_token_id", "eos": "eos_token_id", "padding": "pad_token_id"}
_WHOLE = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "post_ffw_norm": "post_feedforward_layernorm",
}


def convert_gguf(files: Sequence[Path], folder: Path) -> None:
    """Write the LLM and its tokenizer into `folder`. `files` is the one file. Raises ModelError for a tensor or a
    setting that is missing or left over."""
    (path,) = files
    _write_model(path, folder)
    with without_bars():
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    tokenizer.save_pretrained(folder)


def _write_model(path: Path, folder: Path) -> None:
    reader = _opened(path)
    config = _config(reader, path)
    save_file(_tensors(reader, config, path), folder / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(folder)
    GenerationConfig.from_model_config(config).save_pretrained(folder)


def _opened(path: Path) -> GGUFReader:
    from gguf import GGUFReader

    try:
        return GGUFReader(path)
    except (OSError, ValueError, IndexError, KeyError) as error:  # a cut file is an index that is not there
        raise ModelError(f"{path}: cannot be read as GGUF: {first_line(error)}") from error


def _config(reader: GGUFReader, path: Path) -> Gemma3TextConfig:
    fields = reader.fields
    if (kind := fields["general.architecture"].contents()) != "gemma3":
        raise ModelError(f"{path}: holds a {kind}, not a gemma3.")
    said = {name.removeprefix("gemma3."): fields[name] for name in fields if name.startswith("gemma3.")}
    if odd := sorted(said.keys() ^ _SETTINGS.keys()):
        raise ModelError(f"{path}: the setting {odd[0]!r} is {'not known' if odd[0] in said else 'missing'}.")
    settings: dict[str, Any] = {theirs: said[name].contents() for name, theirs in _SETTINGS.items()}
    ropes = {"full_attention": settings.pop("rope_theta"), "sliding_attention": _LOCAL_ROPE}
    return Gemma3TextConfig(
        **settings,
        **{theirs: fields[f"tokenizer.ggml.{name}_token_id"].contents() for name, theirs in _IDS.items()},
        vocab_size=len(fields["tokenizer.ggml.tokens"].data),
        query_pre_attn_scalar=settings["head_dim"],
        rope_parameters={kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in ropes.items()},
        tie_word_embeddings=True,
        architectures=["Gemma3ForCausalLM"],
        dtype=torch.bfloat16,
    )


def _tensors(reader: GGUFReader, config: Gemma3TextConfig, path: Path) -> dict[str, Tensor]:
    """By Hugging Face's names, all that the class has and no others, in bf16."""
    with torch.device("meta"):
        expected = Gemma3ForCausalLM(config).state_dict()
    del expected["lm_head.weight"]  # tied
    named = {_named(tensor.name): tensor for tensor in reader.tensors}
    if odd := sorted(expected.keys() ^ named.keys()):
        what = "is missing" if odd[0] in expected else "is not Gemma's"
        raise ModelError(f"{path}: tensor {odd[0]!r} {what} ({len(odd)} such).")
    for name, tensor in named.items():
        if _shape(tensor) != expected[name].shape:
            raise ModelError(f"{path}: {name} has shape {_shape(tensor)}, not {tuple(expected[name].shape)}.")
    return {name: _dequantised(tensor, is_norm=name.endswith("norm.weight")) for name, tensor in named.items()}


def _named(name: str) -> str:
    """token_embd.weight, blk.0.attn_q.weight -> model.embed_tokens.weight, model.layers.0.self_attn.q_proj.weight; what
    is not known keeps its name."""
    if name in _WHOLE:
        return _WHOLE[name]
    block, _, rest = name.removeprefix("blk.").partition(".")
    part, _, kind = rest.partition(".")
    return f"model.layers.{block}.{_LAYER[part]}.{kind}" if name.startswith("blk.") and part in _LAYER else name


def _shape(tensor: ReaderTensor) -> tuple[int, ...]:
    """Of the rows, which GGUF names last."""
    return tuple(int(size) for size in reversed(tensor.shape))


def _dequantised(tensor: ReaderTensor, is_norm: bool) -> Tensor:
    """In bf16, some rows after the other."""
    from gguf import dequantize

    found = torch.empty(_shape(tensor), dtype=torch.bfloat16)
    for start in range(0, len(found), _ROWS):
        rows = torch.from_numpy(dequantize(tensor.data[start : start + _ROWS], tensor.tensor_type).copy())
        found[start : start + _ROWS] = rows - 1 if is_norm else rows
    return found
