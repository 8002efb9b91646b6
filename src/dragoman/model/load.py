"""A model by its name: found, converted where its authors released it as something else, loaded onto a device.

What takes long to import is imported inside: the command line looks into a model's folder before it loads anything.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dragoman.errors import ModelError
from dragoman.model.hub import RELEASES, locate
from dragoman.recipe import load_recipe
from dragoman.version import __version__

if TYPE_CHECKING:
    from dragoman.model.build import LoadedModel

_WORTH_BF16 = 50_000_000
"""Weights of a model that is faster in bf16 on a CPU; in smaller ones products are not what takes the time."""


def model_folder(name: str | Path) -> Path:
    """The folder of a model, see `locate`; a checkpoint as its authors released it is converted, once."""
    found = locate(name)
    return _converted(str(name), found) if found.is_file() else found


def load_for_inference(
    name: str | Path, device: str | None = None, compute_type: str = "auto", *, merged: bool = False
) -> LoadedModel:
    """A model by folder or name, to be used and not trained.

    Args:
        name: A folder, a built-in model, or a name on the Hugging Face hub.
        device: Torch's name of one (CUDA by default, where there is one), or "auto": the LLM over GPUs, RAM and disk.
        compute_type: float32, bfloat16, float16, int8, 4bit or auto, see `precision`.
        merged: Add LoRA into the weights that it stands beside.

    Raises:
        ModelError: There is no such model, it is incomplete, or, said before weights are read, there is too little
            memory for it.
    """
    from dragoman.model.build import skeleton
    from dragoman.model.folder import load_as, merge_lora, stored_recipe
    from dragoman.model.hardware.int8 import quantise_to_int8
    from dragoman.model.hardware.memory import check_memory
    from dragoman.model.hardware.placement import Placement, report_offloading
    from dragoman.model.hardware.precision import precision

    folder = model_folder(name)
    recipe = stored_recipe(folder)
    placement = Placement.choose(device)
    empty = skeleton(recipe, folder)
    suits = recipe.trained_in_bf16 and sum(weight.numel() for weight in empty.parameters()) >= _WORTH_BF16
    held = precision(compute_type, placement.main, recipe.llm.quantisation, prefers_bf16=suits)
    if not placement.auto:
        check_memory(recipe.name, empty, held.compute_type, placement.main)
    elif held.by_fbgemm:
        raise ModelError("The compute type int8 holds all of a model in RAM on a CPU; leave it or device auto out.")
    as_held = recipe.model_copy(update={"llm": recipe.llm.model_copy(update={"quantisation": held.quantisation})})
    own_dtype = {"dtype": "auto"} if held.by_fbgemm else {}  # nothing is gained by reading more than the checkpoint has
    loaded = load_as(as_held, folder, held.dtype, {**placement.options(empty), **own_dtype})
    report_offloading(recipe.name, loaded.model.llm, placement.main)
    loaded.model.move_beside_llm(placement.main)
    if merged:
        merge_lora(loaded.model)
    if held.by_fbgemm:
        quantise_to_int8(loaded.model.llm)
    return replace(loaded, recipe=recipe)


def _converted(name: str, file: Path) -> Path:
    """The model folder made of a release, in the hub's cache for such things: one for each revision of it and version
    of ours, whose recipe is in it. Who comes second waits for the first."""
    from huggingface_hub import cached_assets_path
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # of its __init__, but not of __all__

    from dragoman.model.released import convert

    folder = cached_assets_path("dragoman", namespace=name, subfolder=__version__) / file.parent.name
    with WeakFileLock(f"{folder}.lock"):
        if not (folder / "recipe.json").is_file():
            convert(file, load_recipe(RELEASES[name].recipe), folder)
    return folder
