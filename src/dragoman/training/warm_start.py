"""What a recipe begins with: frozen bases, or the model that it goes on from."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from dragoman.data.tasks import LanguageTags
from dragoman.errors import RecipeError
from dragoman.files import atomic_file
from dragoman.model.bases import VOCABULARY, find_llm
from dragoman.model.bases.loading import load_tokenizer
from dragoman.model.bases.vocabulary import choose_vocabulary
from dragoman.model.build import LoadedModel, load_encoder, new_model, no_bases
from dragoman.model.encoder import SpeechEncoder
from dragoman.model.folder import load_as, stored_recipe, stored_tensors, trainable_state
from dragoman.model.load import model_folder
from dragoman.model.speech_llm import SpeechLLM
from dragoman.recipe import Recipe
from dragoman.training.inputs.manifests import manifest_texts


def initial_model(recipe: Recipe, bases: Path | None, dtype: torch.dtype) -> LoadedModel:
    """What the first stage begins with: the model that the recipe goes on from, with fresh LoRA where only the recipe
    has one, or frozen bases and a fresh adapter. A recipe with `init_from` is one that `with_initial_revisions`
    gave."""
    return (
        new_model(recipe, bases, dtype)
        if recipe.init_from is None
        else load_as(recipe, model_folder(recipe.init_from), dtype)
    )


def trimmed_vocabulary(recipe: Recipe, data: Path, out: Path) -> Path | None:
    """Where the list of the LLM's pieces lies that the recipe keeps, chosen once by the texts of the data; None if it
    keeps all. Raises DataError."""
    settings = recipe.llm.vocabulary
    if settings is None or recipe.init_from is not None:
        return None
    if not (out / VOCABULARY).is_file():
        place = find_llm(recipe.llm.model_copy(update={"vocabulary": None}), None)
        spoken = set(recipe.languages)
        texts = (text for name in settings.texts for text in manifest_texts(data / f"{name}.jsonl", spoken))
        tags = [LanguageTags.from_prompt(recipe.prompt)(code) for code in recipe.languages]
        tokenizer = load_tokenizer(place.tokenizer, place.revision)
        with atomic_file(out / VOCABULARY) as file:
            file.write(choose_vocabulary(tokenizer, texts, tags, settings.most_frequent).to_json())
    return out


def with_initial_revisions(recipe: Recipe) -> Recipe:
    """The recipe with the revisions of its bases, where it names none, as the model has them that it goes on from.

    Raises RecipeError when it describes another model than that; LoRA it may add.
    """
    if recipe.init_from is None:
        return recipe
    start = initial_recipe(recipe)
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
                    f"The recipe {recipe.name!r} goes on from {recipe.init_from!r} but differs in [{table}] {key}: "
                    f"{own.get(key)!r}, there {other.get(key)!r}; leave it as it is."
                )
    return recipe


@torch.no_grad()
def interpolate_weights(model: SpeechLLM, recipe: Recipe, share: float) -> None:
    """Move adapter and LoRA back towards the model that the recipe goes on from, keeping `share` of the way that they
    have come: WiSE-FT (Wortsman et al. 2022). What was learnt is weaker then; what was forgotten is there again."""
    start = initial_tensors(model, recipe)
    for name, parameter in model.named_parameters():
        if name in start:
            parameter.copy_(torch.lerp(start[name].to(parameter.device).float(), parameter.float(), share))


def initial_tensors(model: SpeechLLM, recipe: Recipe) -> dict[str, Tensor]:
    """`trainable_state` of the model that the recipe goes on from. LoRA that is not there is nothing: its second factor
    is 0, its first what it is in `model`."""
    folder = model_folder(str(recipe.init_from))
    nothing = {
        name: torch.zeros_like(tensor) if ".lora_B." in name else tensor
        for name, tensor in trainable_state(model).items()
    }
    return nothing | stored_tensors(model, folder)


def initial_recipe(recipe: Recipe) -> Recipe:
    """What the model that the recipe goes on from says of itself."""
    return stored_recipe(model_folder(str(recipe.init_from)))


def initial_encoder(recipe: Recipe, bases: Path | None, dtype: torch.dtype) -> SpeechEncoder:
    """The frozen encoder of `initial_model` by itself, without LoRA."""
    folder = bases if recipe.init_from is None else model_folder(recipe.init_from)
    if folder is None and recipe.encoder.name == "base":
        raise no_bases(recipe)
    return load_encoder(recipe, folder, dtype).eval()
