"""A model as the one folder that vLLM loads: `config.json`, the weights with LoRA merged into them, the tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig

from dragoman.engines.vllm import ARCHITECTURE
from dragoman.engines.vllm.config import DragomanConfig, mel_table
from dragoman.errors import ModelError
from dragoman.files import atomic_folder, to_disk
from dragoman.model.bases import find_llm
from dragoman.model.build import LoadedModel
from dragoman.model.folder import load_as, merge_lora, stored_recipe
from dragoman.model.speech_llm import SpeechLLM

AUDIO_TOKEN = "<|audio|>"
"""Stands for an audio embedding in a prompt. No text holds it: a transcript's own `<|` is escaped."""
_SHARD = 4 * 2**30
"""Bytes of a file of weights, as on the hub."""
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def export_vllm(model: Path, out: Path, compute_type: str = "auto") -> Path:
    """The model folder `model` as `out`, whole or not at all. `compute_type` is float32, bfloat16, float16, or "auto":
    what the LLM's own checkpoint is in. An LLM that was trained in fewer bits is exported in full. Raises ModelError
    for another one."""
    recipe = stored_recipe(model)
    mel_table(recipe)
    dtype = _dtype(compute_type, find_llm(recipe.llm, model))
    unquantised = recipe.model_copy(update={"llm": recipe.llm.model_copy(update={"quantisation": None})})
    loaded = load_as(unquantised, model, dtype)
    merge_lora(loaded.model)
    with atomic_folder(out) as new:
        loaded.tokenizer.add_special_tokens({"additional_special_tokens": [AUDIO_TOKEN]})
        loaded.tokenizer.save_pretrained(new)
        _config(loaded, dtype).save_pretrained(new)
        _save_weights(_weights(loaded.model), new)
        to_disk(new)
    return out


def _dtype(compute_type: str, llm: Any) -> torch.dtype:
    if compute_type == "auto":
        found = AutoConfig.from_pretrained(llm.weights, revision=llm.revision).get_text_config().dtype
        return found if isinstance(found, torch.dtype) else torch.float32
    if compute_type not in _DTYPES:
        choice = ", ".join(("auto", *_DTYPES))
        raise ModelError(f"vLLM takes weights of whole bytes; choose a compute type from {choice}.")
    return _DTYPES[compute_type]


def _config(loaded: LoadedModel, dtype: torch.dtype) -> DragomanConfig:
    """All ends are the tokenizer's own end token, as in our decoding; a checkpoint's chat may know more."""
    text = loaded.model.llm.config.get_text_config()
    architecture = type(loaded.model.llm).__name__
    text.update({"architectures": [architecture], "eos_token_id": loaded.tokenizer.eos_token_id, "dtype": dtype})
    return DragomanConfig(
        architectures=[ARCHITECTURE],
        text_config=_nameless(text),
        encoder_config=_nameless(loaded.model.encoder.backbone.config),
        recipe=loaded.recipe.model_dump(mode="json"),
        audio_token_id=loaded.tokenizer.convert_tokens_to_ids(AUDIO_TOKEN),
        lead_ids=loaded.model.lead_ids.tolist(),
        dtype=dtype,
        eos_token_id=loaded.tokenizer.eos_token_id,
        tie_word_embeddings=text.tie_word_embeddings,
    )


def _nameless(config: Any) -> dict[str, Any]:
    """Without the path it was read from."""
    return {key: value for key, value in config.to_dict().items() if key != "_name_or_path"}


def _weights(model: SpeechLLM) -> dict[str, Tensor]:
    """By vLLM's names; a head that shares the embeddings is not stored twice."""
    parts = {"encoder.backbone": model.encoder.backbone, "adapter": model.adapter, "language_model": model.llm}
    tied = model.llm.config.get_text_config().tie_word_embeddings
    return {
        f"{part}.{name}": tensor.contiguous()
        for part, module in parts.items()
        for name, tensor in module.state_dict().items()
        if not (tied and part == "language_model" and name == "lm_head.weight")
    }


def _save_weights(weights: dict[str, Tensor], folder: Path) -> None:
    """In files of at most 4 GiB, with the index that says what lies in which."""
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in weights.items():
        if shards[-1] and size + tensor.nbytes > _SHARD:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    names = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        save_file(shard, folder / name, metadata={"format": "pt"})
    weight_map = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
    index = {"metadata": {"total_size": sum(tensor.nbytes for tensor in weights.values())}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
