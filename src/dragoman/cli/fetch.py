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

    for folder in _fetched([name] if name in FETCHABLE_BASES else _bases_of(name)):
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


def _bases_of(model: str) -> list[str]:
    from dragoman.model.bases import fetched_bases
    from dragoman.model.bases.catalogue import FETCHABLE_BASES
    from dragoman.model.load import model_folder
    from dragoman.recipe import read_stored_recipe

    try:
        folder = model_folder(model)
    except ModelError as error:
        if "/" in model:
            raise
        raise ModelError(f"{error} Base models are: {', '.join(FETCHABLE_BASES)}.") from error
    names = fetched_bases(read_stored_recipe(folder / "recipe.json"))
    if not names:
        say(f"{model} is whole as it is: there is nothing to fetch.")
    return names
