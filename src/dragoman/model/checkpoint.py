"""The model folder: `recipe.json`, `adapter.safetensors`, `llm_lora/` and `encoder_lora/` in PEFT's format, and, when
they are ours, the bases `encoder/`, `llm/`, `tokenizer/`. Loads strictly, unpickles nothing, appears complete or not."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from dragoman.errors import ModelError
from dragoman.model.adapters import make_adapter
from dragoman.model.encoder import SpeechEncoder
from dragoman.model.llm import first_line, load_llm, width, with_lora
from dragoman.model.speech_llm import SpeechLLM
from dragoman.recipe import Recipe, dump_recipe, read_stored_recipe

_BLANK = "<|blank|>"
_BASES = ("encoder", "llm", "tokenizer")


@dataclass(frozen=True)
class LoadedModel:
    """A model with all that is needed to use it; `bases` is the folder of its own bases, if it has them."""

    recipe: Recipe
    model: SpeechLLM
    tokenizer: PreTrainedTokenizerBase
    bases: Path | None


def new_model(recipe: Recipe, bases: Path | None, dtype: torch.dtype) -> LoadedModel:
    """The frozen bases with a fresh adapter (and LoRA, which starts as nothing)."""
    llm, tokenizer = load_llm(recipe.llm, bases, dtype)
    encoder = SpeechEncoder(_load_whisper(recipe, bases, dtype), recipe.audio.padding)
    if encoder.window_frames != recipe.window_frames:
        raise ModelError(
            f"audio.window_s: the encoder hears {encoder.window_frames / 100:g} s at a time, "
            f"the recipe says {recipe.audio.window_s:g}."
        )
    model = assemble(recipe, encoder, llm, tokenizer)
    return LoadedModel(recipe, model, tokenizer, bases)


def assemble(recipe: Recipe, encoder: SpeechEncoder, llm: Any, tokenizer: PreTrainedTokenizerBase) -> SpeechLLM:
    """Encoder and LLM at hand -> the whole model, with fresh adapter and LoRA."""
    adapter = make_adapter(recipe.adapter, encoder.width, width(llm))
    norm = getattr(adapter, "norm", None)
    if norm is not None:
        # The adapter starts out as loud as the LLM's own embeddings.
        nn.init.constant_(norm.weight, float(llm.get_input_embeddings().weight.float().std()))
    if recipe.llm.lora is not None:
        llm = with_lora(llm, recipe.llm.lora)
    if recipe.encoder.lora is not None:
        encoder.whisper = with_lora(encoder.whisper, recipe.encoder.lora)  # type: ignore[assignment]
    blank = tokenizer.convert_tokens_to_ids(_BLANK) if _BLANK in tokenizer.get_vocab() else tokenizer.pad_token_id
    return SpeechLLM(encoder, adapter, llm, scale_audio=recipe.llm.scale_audio, blank_id=int(blank))


def save_model(loaded: LoadedModel, folder: Path) -> None:
    """Write the folder under a temporary name, then rename it; one that stood there before is replaced."""
    temporary = folder.with_name(folder.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file(_contiguous(loaded.model.adapter.state_dict()), temporary / "adapter.safetensors")
    for part, module in (("llm_lora", loaded.model.llm), ("encoder_lora", loaded.model.encoder.whisper)):
        if isinstance(module, PeftModel):
            module.save_pretrained(temporary / part)
            (temporary / part / "README.md").unlink(missing_ok=True)
    if loaded.bases is not None:
        for base in _BASES:
            shutil.copytree(loaded.bases / base, temporary / base)
    (temporary / "recipe.json").write_text(dump_recipe(loaded.recipe), encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    temporary.rename(folder)


def load_model(folder: Path, dtype: torch.dtype = torch.float32) -> LoadedModel:
    """Read a model folder; a tensor that is missing or left over is an error that names it."""
    if not (folder / "recipe.json").is_file():
        raise ModelError(f"{folder} is not a model folder: it has no recipe.json.")
    recipe = read_stored_recipe(folder / "recipe.json")
    own = "base" in (recipe.llm.name, recipe.encoder.name)
    loaded = new_model(recipe, folder if own else None, dtype)
    load_strictly(loaded.model.adapter, read_tensors(folder / "adapter.safetensors"), folder / "adapter.safetensors")
    for part, module in (("llm_lora", loaded.model.llm), ("encoder_lora", loaded.model.encoder.whisper)):
        if isinstance(module, PeftModel):
            _load_lora(module, folder / part / "adapter_model.safetensors")
    loaded.model.eval()
    return loaded


def load_strictly(module: nn.Module, tensors: dict[str, Tensor], origin: Path) -> None:
    """Load exactly these tensors, of exactly these shapes."""
    expected = module.state_dict()
    _same_names(set(expected), set(tensors), origin)
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise ModelError(
                f"{origin}: {name} has shape {tuple(tensor.shape)}, the recipe says {tuple(expected[name].shape)}."
            )
    module.load_state_dict(tensors)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file; missing or damaged is one sentence."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read ({first_line(error)}); the model folder is incomplete.") from error


def _load_lora(module: PeftModel, path: Path) -> None:
    tensors = read_tensors(path)
    _same_names(set(get_peft_model_state_dict(module)), set(tensors), path)
    own = {
        name.replace(".lora_A.", ".lora_A.default.").replace(".lora_B.", ".lora_B.default."): tensor
        for name, tensor in tensors.items()
    }
    module.load_state_dict(own, strict=False)  # every name was checked; the frozen weights are not in the file


def _load_whisper(recipe: Recipe, bases: Path | None, dtype: torch.dtype) -> WhisperEncoder:
    if recipe.encoder.name == "base":
        if bases is None or not (bases / "encoder").is_dir():
            raise ModelError(f"{bases}/encoder is missing; make it with `dragoman bases`.")
        return WhisperEncoder.from_pretrained(bases / "encoder", dtype=dtype)
    try:
        whisper = WhisperModel.from_pretrained(recipe.encoder.name, revision=recipe.encoder.revision, dtype=dtype)
    except OSError as error:
        name = recipe.encoder.name
        raise ModelError(f"The encoder {name!r} can be neither found nor downloaded: {first_line(error)}") from error
    return whisper.get_encoder()


def _same_names(expected: set[str], found: set[str], origin: Path) -> None:
    for names, what in ((expected - found, "is missing"), (found - expected, "is not in the model")):
        if names:
            raise ModelError(f"{origin}: tensor {sorted(names)[0]!r} {what} ({len(names)} such).")


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
