"""`dragoman prepare`: corpora into manifests and speech."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from dragoman.errors import RecipeError

app = typer.Typer(help="Make training data out of a corpus.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _corpora() -> None:
    """Make training data out of a corpus."""


@app.command("tatoeba")
def tatoeba(
    root: Annotated[Path, typer.Option(help="The corpus: train.multi.jsonl.gz and what lies beside it.")],
    noise: Annotated[Path, typer.Option(help="Backgrounds and room responses.")],
    out: Annotated[Path, typer.Option(help="Where texts, speech and manifests are written.")],
    recipe: Annotated[str, typer.Option(help="The recipe whose [bases.corpus] decides the data.")] = "tiny",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one a core by default.")] = None,
) -> None:
    """Everyday sentences, spoken by espeak-ng. An interrupted run goes on where it stopped."""
    from dragoman.data.corpora.tatoeba import prepare
    from dragoman.recipe import load_recipe

    chosen = load_recipe(recipe)
    if chosen.bases is None:
        raise RecipeError(f"The recipe {chosen.name!r} has no [bases.corpus] table: it is trained on other data.")
    prepare(root, noise, out, chosen.bases.corpus, workers or os.cpu_count() or 1)
