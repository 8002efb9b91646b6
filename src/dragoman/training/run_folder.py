"""A run's folder belongs to its recipe, data and settings: going on with others is an error that names what differs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from dragoman.errors import DataError, ModelError, RecipeError
from dragoman.files import atomic_file, read_record
from dragoman.recipe import Recipe, dump_recipe, read_stored_recipe


def remember_recipe(recipe: Recipe, out: Path) -> None:
    """A run folder belongs to one recipe, once a stage has left something in it: going on with another one is an error
    that names what changed. Stages that were not begun may be others, or more."""
    stored = out / "recipe.json"
    if stored.is_file() and _begun(out):
        before = read_stored_recipe(stored)
        if changed := _changed(before, recipe, out):
            raise RecipeError(f"{out} was started with another recipe ({changed} differs); choose another --out.")
        if before == recipe:
            return
    out.mkdir(parents=True, exist_ok=True)
    with atomic_file(stored) as file:
        file.write(dump_recipe(recipe))


def as_recorded(recipe: Recipe, out: Path) -> Recipe:
    """With the revisions of the bases that the run in `out` began with, where the recipe names none."""
    stored = out / "recipe.json"
    before = read_stored_recipe(stored) if stored.is_file() else recipe
    for part in ("encoder", "llm"):
        own, other = getattr(recipe, part), getattr(before, part)
        if own.revision is None and own.name == other.name:
            recipe = recipe.model_copy(update={part: own.model_copy(update={"revision": other.revision})})
    return recipe


def remember_data(digests: Mapping[Path, str], out: Path) -> None:
    """A run folder belongs to its data too, and to the model that it goes on from: going on with an edited manifest or
    another model is an error that names it."""
    stored = out / "data.json"
    known = stored.is_file() and _begun(out)
    before: dict[str, str] = read_record(stored) if known else {}
    now = {path.name: digest for path, digest in digests.items()}
    for path in digests:
        if before.get(path.name, now[path.name]) != now[path.name]:
            raise DataError(f"{path} is not what {out} was started with; restore it, or choose another --out.")
    if not now.keys() <= before.keys():
        with atomic_file(stored) as file:
            json.dump({**before, **now}, file, indent=2)


def remember_settings(out: Path, settings: Mapping[str, object]) -> None:
    """A run's folder belongs to its settings: going on with others is an error that names what differs."""
    stored, now = out / "settings.json", json.loads(json.dumps(settings))
    if stored.is_file():
        before = read_record(stored)
        for key in now:
            if before.get(key) != now[key]:
                had = f"{out} belongs to a run with {key} {before.get(key)}, not {now[key]}"
                raise ModelError(f"{had}; choose another --out, or what it had.")
        return
    out.mkdir(parents=True, exist_ok=True)
    with atomic_file(stored) as file:
        json.dump(now, file, indent=2)


def _changed(before: Recipe, now: Recipe, out: Path) -> str | None:
    """What of a recipe differs that the stages in `out` were begun with."""
    for key in Recipe.model_fields:
        if key not in ("stages", "about", "decoding") and getattr(before, key) != getattr(now, key):
            return key
    for number, stage in enumerate(before.stages, 1):
        folder = out / f"{number}-{stage.name}"
        begun = (folder / "checkpoints").is_dir() or (folder / "model").is_dir()
        if begun and (len(now.stages) < number or now.stages[number - 1] != stage):
            return f"stage {stage.name}"
    return None


def _begun(out: Path) -> bool:
    """Whether a stage has left something in a run folder."""
    return any(out.glob("*-*/checkpoints")) or any(out.glob("*-*/model"))
