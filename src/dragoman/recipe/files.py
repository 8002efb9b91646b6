"""Recipes as files: TOML as people write it, JSON as it is stored with every model."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dragoman.errors import RecipeError
from dragoman.recipe.recipe import Recipe

RECIPES = Path(__file__).parent.parent / "recipes"
_LENGTH = {"steps", "epochs"}
_RENAMED = {"start": "init_from", "brought_back": "weight_interpolation"}
"""Keys as earlier versions called them."""


def load_recipe(name: str | Path) -> Recipe:
    """Read a recipe.

    Args:
        name: A .toml file, or the name of a recipe that Dragoman ships (`names`).

    Raises:
        RecipeError: There is none, or an unknown key, wrong type or contradiction; the message names file and key.
    """
    path = _locate(name)
    return parse_recipe(_table(path), str(path))


def parse_recipe(table: dict[str, Any], origin: str) -> Recipe:
    """Validate a recipe's table; `origin` names it in errors."""
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        kind = "unknown key" if first["type"] == "extra_forbidden" else first["msg"]
        raise RecipeError(f"{origin}: {key + ': ' if key else ''}{kind}.") from error


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as JSON, as it is stored with every model."""
    return json.dumps(recipe.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


def read_stored_recipe(path: Path) -> Recipe:
    """The recipe that lies in a model folder."""
    try:
        return Recipe.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror}); is this a model folder?") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "json_invalid":
            raise RecipeError(f"{path}: is damaged ({first['msg']}); get the folder again.") from error
        raise RecipeError(f"{path}: {key}: {first['msg']}; the folder was written by another version.") from error


def names() -> list[str]:
    """Names of the recipes that Dragoman ships."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def _locate(name: str | Path) -> Path:
    path = Path(name)
    if path.suffix == ".toml":
        return path
    shipped = RECIPES / f"{name}.toml"
    if not shipped.is_file():
        raise RecipeError(f"There is no recipe {str(name)!r}; give a .toml file or one of: {', '.join(names())}.")
    return shipped


def _locate_parent(child: Path, parent: str) -> Path:
    beside = child.parent / f"{parent}.toml"
    return beside if beside.is_file() and not beside.samefile(child) else _locate(parent)


def _table(path: Path, children: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A recipe's table over that of the one that it extends; `children` extend this one."""
    table = _with_new_keys(_read_toml(path))
    parent = table.pop("extends", None)
    if parent is None:
        return table
    if not isinstance(parent, str):
        raise RecipeError(f'{path}: extends: name one recipe, as in extends = "llm-srt-3b".')
    base, children = _locate_parent(path, parent), (*children, path)
    if any(base.resolve() == child.resolve() for child in children):
        raise RecipeError(f"{path}: extends: {parent!r} extends this recipe too; one of them must not.")
    return _merge(_table(base, children), table)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror}); check the path.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: is not valid TOML ({error}).") from error


def _with_new_keys(table: dict[str, Any]) -> dict[str, Any]:
    """Before recipes are merged: one that extends another may use the old name of a key and the other the new one."""
    renamed = {_RENAMED.get(key, key): value for key, value in table.items()}
    if _are_tables(renamed.get("stages")):
        renamed["stages"] = [_with_new_keys(stage) for stage in renamed["stages"]]
    return renamed


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    given = _LENGTH if over.keys() & _LENGTH else set()  # a schedule has one of them
    merged = {key: value for key, value in base.items() if key not in given}
    for key, value in over.items():
        if key != "tasks" and _are_tables([value, merged.get(key)]) and not _other_kind(merged[key], value):
            merged[key] = _merge(merged[key], value)
        elif key == "stages" and _are_tables(value) and _are_tables(base.get(key)):
            stages = {str(stage.get("name")): stage for stage in base[key]}
            merged[key] = [_merge(stages.get(str(stage.get("name")), {}), stage) for stage in value]
        else:
            merged[key] = value
    return merged


def _other_kind(base: dict[str, Any], over: dict[str, Any]) -> bool:
    """A table of another kind has other keys."""
    return "kind" in over and over["kind"] != base.get("kind")


def _are_tables(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)
