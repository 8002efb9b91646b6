"""`dragoman encode`: the frozen encoder run once over the training data, so that training need not run it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dragoman.cli.console import say, silence_libraries
from dragoman.cli.fetch import fetch_bases
from dragoman.cli.options import DeviceOption, ThreadsOption
from dragoman.cli.progress import progress_bars
from dragoman.cli.training.options import BasesOption, DataOption, RecipeArgument


def encode(
    recipe: RecipeArgument,
    data: DataOption,
    out: Annotated[Path, typer.Option(help="Where the frames are written; `train --features` reads them.")],
    bases: BasesOption = None,
    batch_size: Annotated[int, typer.Option("--batch_size", min=1, help="Utterances encoded at once.")] = 16,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read audio.")] = 1,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Store what a recipe's frozen encoder hears in its training data, once; prints the folder."""
    from dragoman.recipe import load_recipe

    chosen = load_recipe(recipe)
    from dragoman.cli.devices import check_device, launched, own_device, set_threads
    from dragoman.training.encoding import encode as encode_all

    silence_libraries()
    set_threads(threads)
    check_device(device)
    rank, processes = launched()
    fetch_bases(chosen, shown=rank == 0)
    with progress_bars(shown=rank == 0 and sys.stderr.isatty()) as progress:
        total = encode_all(
            chosen,
            data,
            out,
            bases=bases,
            batch_size=batch_size,
            device=own_device(device),
            workers=workers,
            rank=rank,
            processes=processes,
            on_progress=progress,
        )
    if processes == 1:  # of several, none knows when the others are done
        say(f"{total} utterances are encoded.")
    if rank == 0:
        typer.echo(out)
