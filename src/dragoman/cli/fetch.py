"""`dragoman fetch`: base models into the user's cache, once. Other commands fetch what they lack by `fetch_bases`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dragoman.cli.console import say
from dragoman.cli.progress import progress_bars
from dragoman.errors import ModelError

if TYPE_CHECKING:
    from dragoman.recipe import Recipe


def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A base model, or a model that is made of some.")],
) -> None:
    """Download base models and keep them, so that no network is needed later; prints their folders."""
    from dragoman.model.bases.catalogue import FETCHABLE_BASES

    for folder in _fetched([name]) if name in FETCHABLE_BASES else _for_model(name):
        typer.echo(folder)


def fetch_bases(recipe: Recipe, shown: bool = True) -> None:
    """Download what a recipe's model is made of and is not here yet, with a bar. Raises ModelError, OutputError."""
    from dragoman.model.bases import fetched_bases
    from dragoman.model.bases.fetch import is_fetched

    _fetched([name for name in fetched_bases(recipe) if not is_fetched(name)], shown)


def _fetched(names: Sequence[str], shown: bool = True) -> list[Path]:
    from dragoman.model.bases.fetch import fetch_base

    with progress_bars(shown, in_bytes=True) as progress:
        return [fetch_base(name, progress) for name in names]


def _for_model(name: str) -> list[Path]:
    """The bases of a model; and its LLM where that is trimmed, since whoever runs it may not write into the cache."""
    from dragoman.model.bases import fetched_bases, find_llm
    from dragoman.recipe import read_stored_recipe

    folder = _model_folder(name)
    recipe = read_stored_recipe(folder / "recipe.json")
    names = fetched_bases(recipe)
    if not names:
        say(f"{name} is whole as it is: there is nothing to fetch.")
    found = _fetched(names)
    if recipe.llm.vocabulary is not None and recipe.llm.name in names:
        found.append(Path(find_llm(recipe.llm, folder).weights))
    return found


def _model_folder(name: str) -> Path:
    from dragoman.model.bases.catalogue import FETCHABLE_BASES
    from dragoman.model.load import model_folder

    try:
        return model_folder(name)
    except ModelError as error:
        if "/" in name:
            raise
        raise ModelError(f"{error} Base models are: {', '.join(FETCHABLE_BASES)}.") from error
