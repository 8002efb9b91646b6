"""`dragoman export`: a model in the form that an engine loads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dragoman.cli.console import say, silence_libraries

app = typer.Typer(help="Write a model for an engine to serve.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _engines() -> None:
    """Write a model for an engine to serve."""


@app.command()
def vllm(
    model: Annotated[str, typer.Argument(help="A model folder, a built-in model, or a name on the Hugging Face hub.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    compute_type: Annotated[
        str, typer.Option("--compute_type", help="float32, bfloat16, float16; auto: as the LLM's own checkpoint.")
    ] = "auto",
) -> None:
    """Write one folder for `vllm serve`: config, tokenizer, and all weights with LoRA merged; prints the folder."""
    from dragoman.cli.fetch import fetch_bases
    from dragoman.model.load import model_folder
    from dragoman.recipe import read_stored_recipe

    silence_libraries()
    folder = model_folder(model)
    fetch_bases(read_stored_recipe(folder / "recipe.json"))
    from dragoman.engines.vllm.export import export_vllm

    export_vllm(folder, out, compute_type)
    say(f"{model} is ready for vLLM, which needs this package beside it: vllm serve {out}")
    typer.echo(out)
