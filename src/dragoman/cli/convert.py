"""`dragoman convert`: a checkpoint as its authors released it into a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dragoman.cli.console import say, silence_libraries


def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The checkpoint, such as mcat_small_9b.pt.")],
    recipe: Annotated[
        str, typer.Option("--as", help="The recipe that the model was trained with: a name, or a .toml file.")
    ],
    out: Annotated[Path, typer.Option(help="The model folder to write.")],
    tag: Annotated[
        list[str] | None,
        typer.Option(metavar="LANGUAGE=TAG", help="A language's tag in this checkpoint, such as cmn=cmn."),
    ] = None,
) -> None:
    """Write a released checkpoint as a model folder; prints the folder."""
    from dragoman.recipe import load_recipe

    tags = dict(_pair(text) for text in tag or ())
    chosen = load_recipe(recipe)
    from dragoman.model.released import convert as convert_checkpoint

    silence_libraries()
    convert_checkpoint(file, chosen, out, tags)
    say(f"{file} is a model folder now: {chosen.name}.")
    typer.echo(out)


def _pair(text: str) -> tuple[str, str]:
    language, _, tag = text.partition("=")
    if not language or not tag:
        raise typer.BadParameter(f"{text!r}: write it as cmn=zho.", param_hint="--tag")
    return language, tag
