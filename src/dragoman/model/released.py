"""The authors' released checkpoints -> our model folder.

A checkpoint is one flat dict of the tensors that were trained: no config, no bases, in bf16, saved on the authors' GPU.
The recipe says what they belong to; each of them is used or named as left out, and must have the recipe's shape. Two
things the file decides, since the authors' scripts differ in them: whether the LLM has LoRA, and of which rank.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from dragoman.errors import ModelError, OutputError, RecipeError
from dragoman.model.build import pinned, skeleton
from dragoman.model.folder import write_folder
from dragoman.model.trainable import part_of
from dragoman.recipe import Lora, Recipe
from dragoman.text.languages import find

_log = logging.getLogger(__name__)

_PROJECTOR = "encoder_projector."
_LAYERS = {"linear": "mlp", "linear1": "mlp.0", "linear2": "mlp.2"}  # theirs -> ours; the others have the same names
_WRAPPERS = ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_orig_mod.")  # FSDP's, and torch.compile's
_VISION = "vision_tower."  # Gemma3's: LoRA was put there too, but no image is ever seen
_LORA = Lora(rank=1, alpha=32, dropout=0.05, targets=["q_proj", "v_proj"])  # the authors' code; the rank is the file's

Named = dict[str, tuple[str, Tensor]]
"""Our name -> the checkpoint's, and the tensor."""


def convert(file: Path, recipe: Recipe, out: Path, tags: Mapping[str, str] | None = None) -> None:
    """Write a released checkpoint as the model folder `out`, whole or not at all. `tags` are language tags that this
    checkpoint was trained with, where they differ from the recipe's ({"cmn": "cmn"}).

    Raises ModelError for a file that is not such a checkpoint or one of another system than the recipe's, RecipeError,
    LanguageError, OutputError.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise OutputError(f"{out}: exists already; remove it or name another folder.")
    found = _named(_read(file), file)
    recipe = _as_released(recipe, found, tags or {})
    model = skeleton(recipe)
    _check_scale(recipe, model.llm.config.model_type)
    expected = {name: tensor for name, tensor in model.state_dict().items() if part_of(name)}
    _check_fits(expected, found, f"{file} is not of {recipe.name}")
    write_folder(out.absolute(), pinned(recipe), model, {name: tensor for name, (_, tensor) in found.items()})


def _read(file: Path) -> dict[str, Tensor]:
    """The tensors in the file, on the CPU; nothing else in it is unpickled."""
    try:
        file.open("rb").close()
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror}).") from error
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not _is_archive(file):
            raise ModelError(f"{file}: is not a PyTorch checkpoint; download it again.") from error
        raise ModelError(f"{file}: holds more than tensors, so it is not loaded.") from error
    except Exception as error:  # what torch raises on a damaged file is of many kinds
        raise ModelError(f"{file}: is not a PyTorch checkpoint, or is cut short; download it again.") from error
    if not isinstance(found, dict):
        raise ModelError(f"{file}: is a {type(found).__name__}, a released checkpoint is one dict of tensors.")
    for name, value in found.items():
        if not (isinstance(name, str) and isinstance(value, Tensor)):
            odd = f"its {name!r} is of type {type(value).__name__}"
            raise ModelError(f"{file}: {odd}; a released checkpoint is one dict of named tensors.")
    return found


def _is_archive(file: Path) -> bool:
    """Whether it begins as torch.save's archives do, or its pickles of old."""
    with file.open("rb") as start:
        return start.read(2) in (b"PK", b"\x80\x02")


def _named(tensors: Mapping[str, Tensor], file: Path) -> Named:
    """By our names; what is left out is said."""
    plain = {_unwrapped(name): name for name in tensors}
    if not any(name.startswith(_PROJECTOR) for name in plain):
        raise ModelError(f"{file}: is not a checkpoint of these systems: it holds no {_PROJECTOR}* tensors.")
    unused = [name for name in plain if _VISION in name]
    if unused:
        where = unused[0].partition(_VISION)[0] + _VISION
        _log.warning("%s: %d tensors %s* are left out: they are for images.", file.name, len(unused), where)
    named = {_ours(name): (name, tensors[plain[name]]) for name in plain if name not in unused}
    if len(named) + len(unused) != len(tensors):
        raise ModelError(
            f"{file}: two tensors differ in name by a wrapper's part only; this is not a checkpoint of one model."
        )
    return named


def _unwrapped(name: str) -> str:
    """Without what DDP, FSDP and torch.compile put into names."""
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name.removeprefix("module.")


def _ours(name: str) -> str:
    if name.startswith(_PROJECTOR):
        layer, dot, rest = name.removeprefix(_PROJECTOR).partition(".")
        return f"adapter.{_LAYERS.get(layer, layer)}{dot}{rest}"
    return name.replace("language_model.", "")  # Gemma3's text tower is loaded alone


def _as_released(recipe: Recipe, found: Named, tags: Mapping[str, str]) -> Recipe:
    """The recipe of this checkpoint: its LoRA, its tags, its answers in one piece."""
    llm = recipe.llm.model_copy(update={"lora": _lora(recipe, found)})
    known = {find(language).code: tag for language, tag in tags.items()}
    prompt = recipe.prompt.model_copy(update={"tags": {**recipe.prompt.tags, **known}, "joint_answer": True})
    return recipe.model_copy(update={"llm": llm, "prompt": prompt})


def _lora(recipe: Recipe, found: Named) -> Lora | None:
    rank = next((len(tensor) for name, (_, tensor) in found.items() if ".lora_A." in name), None)
    if rank is None:
        return recipe.llm.lora
    lora = (recipe.llm.lora or _LORA).model_copy(update={"rank": rank})
    if lora != recipe.llm.lora:
        said = f"rank {recipe.llm.lora.rank}" if recipe.llm.lora else "none"
        _log.warning("The checkpoint has LoRA of rank %d, the recipe %s: the checkpoint's is kept.", rank, said)
    return lora


def _check_scale(recipe: Recipe, family: str) -> None:
    """When the authors trained, transformers (<= 5.3) scaled what went into Gemma2, and only there, the audio too."""
    if recipe.llm.scale_audio != (family == "gemma2"):
        wanted = "false" if recipe.llm.scale_audio else "true"
        raise RecipeError(f"{recipe.name}: llm.scale_audio: a released {family} model needs {wanted}.")


def _check_fits(expected: Mapping[str, Tensor], found: Named, complaint: str) -> None:
    """The same names and shapes, or one sentence that names what differs."""
    for name, (theirs, tensor) in found.items():
        if name in expected and tensor.shape != expected[name].shape:
            shapes = f"{tuple(tensor.shape)}, the recipe's {tuple(expected[name].shape)}"
            raise ModelError(f"{complaint}: {theirs} has shape {shapes}.")
    if odd := [theirs for name, (theirs, _) in found.items() if name not in expected]:
        raise ModelError(f"{complaint}: the recipe has no {odd[0]} ({len(odd)} such).")
    if lost := [name for name in expected if name not in found]:
        raise ModelError(f"{complaint}: it lacks the recipe's {lost[0]} ({len(lost)} such).")
