"""The model folder: `recipe.json`, `adapter.safetensors`, `llm_lora/` and `encoder_lora/` in PEFT's format, and, when
they are ours, the bases `encoder/`, `llm/`, `tokenizer/`. Loads strictly, unpickles nothing, is complete or absent."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedTokenizerBase, WhisperConfig, WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from dragoman.errors import ModelError, RecipeError
from dragoman.files import whole_folder
from dragoman.model.adapters import make_adapter
from dragoman.model.bases import VOCABULARY, Place, find_encoder, find_llm
from dragoman.model.encoder import SpeechEncoder
from dragoman.model.hub import locate
from dragoman.model.int8 import hold_in_int8
from dragoman.model.llm import empty_llm, first_line, load_llm, load_pretrained, width, with_lora
from dragoman.model.memory import check_memory
from dragoman.model.placement import Placement, follow, say_where, spread
from dragoman.model.precision import precision
from dragoman.model.speech_llm import SpeechLLM
from dragoman.model.trainable import part_of
from dragoman.recipe import Recipe, dump_recipe, read_stored_recipe

_BLANK = "<|blank|>"
_BASES = ("encoder", "llm", "tokenizer", VOCABULARY)


@dataclass(frozen=True)
class LoadedModel:
    """A model with all that is needed to use it; `bases` is the folder of its own bases, if it has them."""

    recipe: Recipe
    model: SpeechLLM
    tokenizer: PreTrainedTokenizerBase
    bases: Path | None


def new_model(
    recipe: Recipe, bases: Path | None, dtype: torch.dtype, llm_options: Mapping[str, Any] = MappingProxyType({})
) -> LoadedModel:
    """The frozen bases with a fresh adapter (and LoRA, which starts as nothing). `llm_options`: see `load_llm`."""
    own = "base" in (recipe.llm.name, recipe.encoder.name) or recipe.llm.vocabulary is not None
    if bases is None and own:
        raise _no_bases(recipe)
    llm, tokenizer = load_llm(recipe.llm, bases, dtype, llm_options)
    model = assemble(recipe, _load_encoder(recipe, bases, dtype), llm, tokenizer)
    return LoadedModel(recipe, model, tokenizer, bases if own else None)


def first_model(recipe: Recipe, bases: Path | None, dtype: torch.dtype) -> LoadedModel:
    """What the first stage begins with: the model that the recipe goes on from, with fresh LoRA where only the recipe
    has one, or frozen bases and a fresh adapter. A recipe with a start is one that `as_started` gave."""
    return new_model(recipe, bases, dtype) if recipe.start is None else _load(recipe, locate(recipe.start), dtype)


def as_started(recipe: Recipe) -> Recipe:
    """The recipe with the revisions of its bases, where it names none, as the model has them that it goes on from.

    Raises RecipeError when it describes another model than that; LoRA it may add.
    """
    if recipe.start is None:
        return recipe
    start = start_recipe(recipe)
    for part in ("encoder", "llm"):
        own, other = getattr(recipe, part), getattr(start, part)
        settled = own.model_copy(update={"revision": own.revision or other.revision})
        recipe = recipe.model_copy(update={part: settled})
        start = start.model_copy(update={part: other.model_copy(update={"lora": other.lora or own.lora})})
    for table in ("audio", "encoder", "adapter", "llm", "prompt"):
        own, other = (getattr(one, table).model_dump() for one in (recipe, start))
        for key in sorted(own.keys() | other.keys()):
            if own.get(key) != other.get(key):
                raise RecipeError(
                    f"The recipe {recipe.name!r} goes on from {recipe.start!r} but differs in [{table}] {key}: "
                    f"{own.get(key)!r}, there {other.get(key)!r}; leave it as it is."
                )
    return recipe


@torch.no_grad()
def bring_back(model: SpeechLLM, recipe: Recipe, share: float) -> None:
    """Move adapter and LoRA back towards the model that the recipe goes on from, keeping `share` of the way that they
    have come: WiSE-FT (Wortsman et al. 2022). What was learnt is weaker then; what was forgotten is there again."""
    start = start_tensors(model, recipe)
    for name, parameter in model.named_parameters():
        if name in start:
            parameter.copy_(torch.lerp(start[name].to(parameter.device).float(), parameter.float(), share))


def start_tensors(model: SpeechLLM, recipe: Recipe) -> dict[str, Tensor]:
    """`own_tensors` of the model that the recipe goes on from. LoRA that is not there is nothing: its second factor is
    0, its first what it is in `model`."""
    folder = locate(str(recipe.start))
    nothing = {
        name: torch.zeros_like(tensor) if ".lora_B." in name else tensor for name, tensor in own_tensors(model).items()
    }
    return nothing | _stored_tensors(model, folder)


def start_recipe(recipe: Recipe) -> Recipe:
    """What the model that the recipe goes on from says of itself."""
    return _stored_recipe(locate(str(recipe.start)))


def first_encoder(recipe: Recipe, bases: Path | None, dtype: torch.dtype) -> SpeechEncoder:
    """The frozen encoder of `first_model` by itself, without LoRA."""
    folder = bases if recipe.start is None else locate(recipe.start)
    if folder is None and recipe.encoder.name == "base":
        raise _no_bases(recipe)
    return _load_encoder(recipe, folder, dtype).eval()


def skeleton(recipe: Recipe, bases: Path | None = None) -> SpeechLLM:
    """The model without its weights (on the meta device): names, shapes and sizes, from the configs of the bases alone.
    Raises ModelError when one of them cannot be read."""
    whisper = _config(WhisperConfig, find_encoder(recipe.encoder, bases))
    config = _config(AutoConfig, find_llm(recipe.llm, bases))
    with torch.device("meta"):
        encoder = SpeechEncoder(WhisperEncoder(whisper), recipe.audio.padding)
        adapter, llm = _fresh_parts(recipe, encoder, empty_llm(config))
        return SpeechLLM(encoder, adapter, llm, scale_audio=recipe.llm.scale_audio)


def assemble(recipe: Recipe, encoder: SpeechEncoder, llm: Any, tokenizer: PreTrainedTokenizerBase) -> SpeechLLM:
    """Encoder and LLM at hand -> the whole model, with fresh adapter and LoRA."""
    adapter, llm = _fresh_parts(recipe, encoder, llm)
    blank = tokenizer.convert_tokens_to_ids(_BLANK) if _BLANK in tokenizer.get_vocab() else tokenizer.pad_token_id
    model = SpeechLLM(
        encoder,
        adapter,
        llm,
        scale_audio=recipe.llm.scale_audio,
        blank_id=int(blank),
        lead_ids=tokenizer(recipe.prompt.before_audio).input_ids if recipe.prompt.before_audio else (),
    )
    norm = getattr(adapter, "norm", None)
    if norm is not None:
        # The adapter starts out as loud as what the LLM is used to read.
        nn.init.constant_(norm.weight, model.embedding_std / model.audio_scale)
    return model


def save_model(loaded: LoadedModel, folder: Path, tensors: dict[str, Tensor] | None = None) -> None:
    """Write the folder, whole or not at all; one that stood there before is replaced.

    `tensors` are the model's by their names in it, where the model itself lacks them (it is spread over processes).
    """
    tensors = own_tensors(loaded.model) if tensors is None else tensors
    write_folder(folder, loaded.recipe, loaded.model, tensors, loaded.bases)


def write_folder(
    folder: Path, recipe: Recipe, model: SpeechLLM, tensors: dict[str, Tensor], bases: Path | None = None
) -> None:
    """`save_model` for tensors at hand; `model`, from which nothing but its shape is taken, may be a skeleton."""
    with whole_folder(folder) as new:
        save_file(_below(tensors, "adapter."), new / "adapter.safetensors")
        for part, prefix, module in _lora_parts(model):
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


def merge_lora(model: SpeechLLM) -> None:
    """Add LoRA into the weights that it stands beside: the same outputs, faster. The model can then neither be trained
    nor saved. Not into weights of fewer bits, which would be rounded anew, nor into those that lie elsewhere."""
    for part, _, module in _lora_parts(model):
        base = module.get_base_model()
        if any(getattr(base, held, False) for held in ("is_loaded_in_4bit", "is_loaded_in_8bit")) or spread(base):
            continue
        if part == "llm_lora":
            model.llm = module.merge_and_unload()
        else:
            model.encoder.whisper = module.merge_and_unload()


def own_tensors(model: SpeechLLM) -> dict[str, Tensor]:
    """What a model folder holds beside the bases: adapter and LoRA, copied to the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items() if part_of(name)}


def load_model(folder: Path, dtype: torch.dtype = torch.float32) -> LoadedModel:
    """Read a model folder; a tensor that is missing or left over is an error that names it."""
    return _load(_stored_recipe(folder), folder, dtype)


def load_on(
    name: str | Path, device: str | None = None, compute_type: str = "auto", *, merged: bool = False
) -> LoadedModel:
    """A model by folder or name, to be used and not trained. `device` is torch's name of one (CUDA where there is one
    by default) or "auto": the LLM over all GPUs, RAM and the disk. `compute_type`: see `precision`. `merged`: with
    LoRA in its weights. Raises ModelError, before weights are read, when there is too little memory for them."""
    folder = locate(name)
    recipe = _stored_recipe(folder)
    placement = Placement.of(device)
    held = precision(compute_type, placement.main, recipe.llm.quantisation)
    empty = skeleton(recipe, folder)
    if not placement.auto:
        check_memory(recipe.name, empty, held.compute_type, placement.main)
    elif held.by_fbgemm:
        raise ModelError("The compute type int8 holds all of a model in RAM on a CPU; leave it or device auto out.")
    as_held = recipe.model_copy(update={"llm": recipe.llm.model_copy(update={"quantisation": held.quantisation})})
    own_dtype = {"dtype": "auto"} if held.by_fbgemm else {}  # nothing is gained by reading more than the checkpoint has
    loaded = _load(as_held, folder, held.dtype, {**placement.options(empty), **own_dtype})
    say_where(recipe.name, loaded.model.llm, placement.main)
    loaded.model.move_beside_llm(placement.main)
    if merged:
        merge_lora(loaded.model)
    if held.by_fbgemm:
        hold_in_int8(loaded.model.llm)
    return replace(loaded, recipe=recipe)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file; missing or damaged is one sentence."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read ({first_line(error)}); the model folder is incomplete.") from error


def _load(
    recipe: Recipe, folder: Path, dtype: torch.dtype, llm_options: Mapping[str, Any] = MappingProxyType({})
) -> LoadedModel:
    loaded = new_model(recipe, folder, dtype, llm_options)
    follow(loaded.model.llm)
    # Every name is checked; the frozen weights are not among them.
    loaded.model.load_state_dict(_stored_tensors(loaded.model, folder), strict=False)
    loaded.model.eval()
    return loaded


def _stored_tensors(model: SpeechLLM, folder: Path) -> dict[str, Tensor]:
    """`own_tensors` of the model in a folder, which has exactly those of `model`, in the same shapes; but for LoRA that
    the model there is without."""
    known = _stored_recipe(folder)
    adapter = read_tensors(folder / "adapter.safetensors")
    _check_same(model.adapter.state_dict(), adapter, folder / "adapter.safetensors")
    tensors = {f"adapter.{name}": tensor for name, tensor in adapter.items()}
    there = {"llm_lora": known.llm.lora, "encoder_lora": known.encoder.lora}
    for part, prefix, module in _lora_parts(model):
        if there[part] is not None:
            lora = _lora_tensors(module, folder / part / "adapter_model.safetensors")
            tensors |= {prefix + name: tensor for name, tensor in lora.items()}
    return tensors


def _stored_recipe(folder: Path) -> Recipe:
    if not (folder / "recipe.json").is_file():
        raise ModelError(f"{folder} is not a model folder: it has no recipe.json.")
    return read_stored_recipe(folder / "recipe.json")


def _config(kind: Any, place: Place) -> Any:
    try:
        return kind.from_pretrained(place.weights, revision=place.revision)
    except (OSError, ValueError) as error:
        raise ModelError(f"The config of {str(place.weights)!r} cannot be loaded: {first_line(error)}") from error


def _fresh_parts(recipe: Recipe, encoder: SpeechEncoder, llm: Any) -> tuple[nn.Module, Any]:
    """A fresh adapter, and the LLM with fresh LoRA; the encoder gets its LoRA in place."""
    adapter = make_adapter(recipe.adapter, encoder.width, width(llm))
    if recipe.encoder.lora is not None:
        encoder.whisper = with_lora(encoder.whisper, recipe.encoder.lora)
    return adapter, llm if recipe.llm.lora is None else with_lora(llm, recipe.llm.lora)


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


def _no_bases(recipe: Recipe) -> ModelError:
    return ModelError(
        f"The recipe {recipe.name!r} has bases of its own: make them with `dragoman bases`, name them with --bases."
    )


def _load_encoder(recipe: Recipe, bases: Path | None, dtype: torch.dtype) -> SpeechEncoder:
    encoder = SpeechEncoder(_load_whisper(recipe, bases, dtype), recipe.audio.padding)
    if encoder.window_frames != recipe.window_frames:
        raise ModelError(
            f"audio.window_s: the encoder hears {encoder.window_frames / 100:g} s at a time, "
            f"the recipe says {recipe.audio.window_s:g}."
        )
    if encoder.mel_bins != recipe.audio.mel_bins:
        raise ModelError(
            f"audio.mel_bins: the encoder hears {encoder.mel_bins}, the recipe says {recipe.audio.mel_bins}."
        )
    return encoder


def _load_whisper(recipe: Recipe, bases: Path | None, dtype: torch.dtype) -> WhisperEncoder:
    place = find_encoder(recipe.encoder, bases)
    if recipe.encoder.name == "base":
        return load_pretrained(WhisperEncoder, place.weights, what="The encoder", own=True, dtype=dtype)
    options = {"revision": place.revision, "dtype": dtype}
    return load_pretrained(WhisperModel, place.weights, what="The encoder", **options).get_encoder()


def _lora_parts(model: SpeechLLM) -> list[tuple[str, str, PeftModel]]:
    """Folder, prefix of the names in the model, and module of each part that has LoRA."""
    parts = (("llm_lora", "llm.", model.llm), ("encoder_lora", "encoder.whisper.", model.encoder.whisper))
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
