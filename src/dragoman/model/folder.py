"""The model folder: `recipe.json`, `adapter.safetensors`, `llm_lora/` and `encoder_lora/` in PEFT's format, when they
are ours the bases `encoder/`, `llm/`, `tokenizer/`, and once it was fitted `calibration.json`. Loads strictly,
unpickles nothing, is complete or absent."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dragoman.errors import ModelError, first_line
from dragoman.files import atomic_folder, to_disk
from dragoman.model.bases import VOCABULARY
from dragoman.model.build import LoadedModel, new_model
from dragoman.model.calibration import read_calibration
from dragoman.model.hardware.placement import is_offloaded, place_lora_beside_base
from dragoman.model.speech_llm import SpeechLLM
from dragoman.model.trainable import part_of
from dragoman.recipe import Recipe, dump_recipe, read_stored_recipe

_BASES = ("encoder", "llm", "tokenizer", VOCABULARY)


def save_model(loaded: LoadedModel, folder: Path, tensors: dict[str, Tensor] | None = None) -> None:
    """Write the folder, whole or not at all; one that stood there before is replaced.

    Args:
        loaded: The model with its recipe and bases.
        folder: Where it is written.
        tensors: The model's own by their names in it, where the model itself lacks them (it is spread over processes).
    """
    tensors = trainable_state(loaded.model) if tensors is None else tensors
    write_folder(folder, loaded.recipe, loaded.model, tensors, loaded.bases)


def write_folder(
    folder: Path, recipe: Recipe, model: SpeechLLM, tensors: dict[str, Tensor], bases: Path | None = None
) -> None:
    """`save_model` for tensors at hand; `model`, from which nothing but its shape is taken, may be a skeleton."""
    with atomic_folder(folder) as new:
        save_file(_below(tensors, "adapter."), new / "adapter.safetensors")
        for part, prefix, module in lora_parts(model):
            base = recipe.llm.name if part == "llm_lora" else recipe.encoder.name
            module.peft_config["default"].base_model_name_or_path = base  # PEFT would write a path of this machine
            module.save_pretrained(new / part, state_dict=_below(tensors, prefix), save_embedding_layers=False)
            (new / part / "README.md").unlink(missing_ok=True)
        if bases is not None:
            for name in _BASES:
                if (bases / name).is_dir():
                    shutil.copytree(bases / name, new / name)
                elif (bases / name).is_file():
                    shutil.copy(bases / name, new / name)
        (new / "recipe.json").write_text(dump_recipe(recipe), encoding="utf-8")
        to_disk(new)


def merge_lora(model: SpeechLLM) -> None:
    """Add LoRA into the weights that it stands beside: faster, with the same outputs but for rounding. In float32 that
    is nothing to speak of; in bfloat16 and float16 each sum is rounded as the weights are, and where two words are
    nearly as likely the other one may be chosen. The model can then neither be trained nor saved. Not into weights of
    fewer bits, which would be rounded anew, nor into those that lie elsewhere."""
    for part, _, module in lora_parts(model):
        base = module.get_base_model()
        if any(getattr(base, held, False) for held in ("is_loaded_in_4bit", "is_loaded_in_8bit")) or is_offloaded(base):
            continue
        if part == "llm_lora":
            model.llm = module.merge_and_unload()
        else:
            model.encoder.backbone = module.merge_and_unload()


def trainable_state(model: SpeechLLM) -> dict[str, Tensor]:
    """What a model folder holds beside the bases: adapter and LoRA, copied to the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items() if part_of(name)}


def load_model(folder: Path, dtype: torch.dtype = torch.float32) -> LoadedModel:
    """Read a model folder, strictly.

    Raises:
        ModelError: A file or tensor is missing, left over, damaged, or of another shape; the message names it.
    """
    return load_as(stored_recipe(folder), folder, dtype)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file; missing or damaged is one sentence."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read ({first_line(error)}); the model folder is incomplete.") from error


def load_as(
    recipe: Recipe, folder: Path, dtype: torch.dtype, llm_options: Mapping[str, Any] = MappingProxyType({})
) -> LoadedModel:
    loaded = new_model(recipe, folder, dtype, llm_options)
    place_lora_beside_base(loaded.model.llm)
    # Every name is checked; the frozen weights are not among them.
    loaded.model.load_state_dict(stored_tensors(loaded.model, folder), strict=False)
    loaded.model.eval()
    return replace(loaded, calibration=read_calibration(folder))


def stored_tensors(model: SpeechLLM, folder: Path) -> dict[str, Tensor]:
    """`trainable_state` of the model in a folder, which has exactly those of `model`, in the same shapes; but for LoRA
    that the model there is without."""
    known = stored_recipe(folder)
    adapter = read_tensors(folder / "adapter.safetensors")
    _check_same(model.adapter.state_dict(), adapter, folder / "adapter.safetensors")
    tensors = {f"adapter.{name}": tensor for name, tensor in adapter.items()}
    there = {"llm_lora": known.llm.lora, "encoder_lora": known.encoder.lora}
    for part, prefix, module in lora_parts(model):
        if there[part] is not None:
            lora = _lora_tensors(module, folder / part / "adapter_model.safetensors")
            tensors |= {prefix + name: tensor for name, tensor in lora.items()}
    return tensors


def stored_recipe(folder: Path) -> Recipe:
    if not (folder / "recipe.json").is_file():
        raise ModelError(f"{folder} is not a model folder: it has no recipe.json.")
    return read_stored_recipe(folder / "recipe.json")


def load_lora(module: PeftModel, path: Path) -> None:
    """Exactly the tensors that the module's LoRA has, from a file in PEFT's format."""
    # Every name is checked; the frozen weights are not in the file.
    module.load_state_dict(_lora_tensors(module, path), strict=False)


def _lora_tensors(module: PeftModel, path: Path) -> dict[str, Tensor]:
    """A file in PEFT's format by the names in the module, of which it must have all of LoRA's and no others."""
    tensors = read_tensors(path)
    expected = get_peft_model_state_dict(module, save_embedding_layers=False)  # or else it asks the hub for the base
    _check_same(expected, tensors, path)
    return {
        name.replace(".lora_A.", ".lora_A.default.").replace(".lora_B.", ".lora_B.default."): tensor
        for name, tensor in tensors.items()
    }


def lora_parts(model: SpeechLLM) -> list[tuple[str, str, PeftModel]]:
    """Folder, prefix of the names in the model, and module of each part that has LoRA."""
    parts = (("llm_lora", "llm.", model.llm), ("encoder_lora", "encoder.backbone.", model.encoder.backbone))
    return [part for part in parts if isinstance(part[2], PeftModel)]


def _check_same(expected: dict[str, Tensor], found: dict[str, Tensor], origin: Path) -> None:
    """The same names and the same shapes, or an error that names the first tensor that differs."""
    for names, what in (
        (expected.keys() - found.keys(), "is missing"),
        (found.keys() - expected.keys(), "is not in the model"),
    ):
        if names:
            raise ModelError(f"{origin}: tensor {min(names)!r} {what} ({len(names)} such).")
    for name, tensor in found.items():
        if tensor.shape != expected[name].shape:
            raise ModelError(
                f"{origin}: {name} has shape {tuple(tensor.shape)}, the recipe says {tuple(expected[name].shape)}."
            )


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor.contiguous() for name, tensor in tensors.items() if name.startswith(prefix)
    }
