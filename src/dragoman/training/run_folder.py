"""A run's folder belongs to its recipe, data and settings: going on with others is an error that names what differs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from dragoman.errors import DataError, ModelError, RecipeError
from dragoman.files import whole_file
from dragoman.recipe import Recipe, dump_recipe, read_stored_recipe


def remember_recipe(recipe: Recipe, out: Path) -> None:
    """A run folder belongs to one recipe, once a stage has left something in it: going on with another one is an error
    that names what changed."""
    stored = out / "recipe.json"
    if stored.is_file() and _begun(out):
        before = read_stored_recipe(stored)
        changed = [key for key in Recipe.model_fields if getattr(before, key) != getattr(recipe, key)]
        if changed:
            raise RecipeError(f"{out} was started with another recipe ({changed[0]} differs); choose another --out.")
        return
    out.mkdir(parents=True, exist_ok=True)
    with whole_file(stored) as file:
        file.write(dump_recipe(recipe))


def remember_data(digests: Mapping[Path, str], out: Path) -> None:
    """A run folder belongs to its data too, and to the model that it goes on from: going on with an edited manifest or
    another model is an error that names it."""
    stored = out / "data.json"
    known = stored.is_file() and _begun(out)
    before: dict[str, str] = json.loads(stored.read_text(encoding="utf-8")) if known else {}
    now = {path.name: digest for path, digest in digests.items()}
    for path in digests:
        if before.get(path.name, now[path.name]) != now[path.name]:
            raise DataError(f"{path} is not what {out} was started with; restore it, or choose another --out.")
    if not now.keys() <= before.keys():
        with whole_file(stored) as file:
            json.dump({**before, **now}, file, indent=2)


def remember_settings(out: Path, settings: Mapping[str, object]) -> None:
    """A run's folder belongs to its settings: going on with others is an error that names what differs."""
    stored, now = out / "settings.json", json.loads(json.dumps(settings))
    if stored.is_file():
        before = json.loads(stored.read_text(encoding="utf-8"))
        for key in now:
            if before.get(key) != now[key]:
                had = f"{out} belongs to a run with {key} {before.get(key)}, not {now[key]}"
                raise ModelError(f"{had}; choose another --out, or what it had.")
        return
    out.mkdir(parents=True, exist_ok=True)
    with whole_file(stored) as file:
        json.dump(now, file, indent=2)


def _begun(out: Path) -> bool:
    """Whether a stage has left something in a run folder."""
    return any(out.glob("*-*/checkpoints")) or any(out.glob("*-*/model"))
