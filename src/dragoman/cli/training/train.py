"""`dragoman bases` and `dragoman train`: models from recipes. Both go on wherever they stopped."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dragoman.cli.console import say, silence_libraries
from dragoman.cli.devices import launched, set_threads
from dragoman.cli.fetch import fetch_bases
from dragoman.cli.flags import with_flags
from dragoman.cli.options import ThreadsOption
from dragoman.cli.progress import progress_bars
from dragoman.cli.training.options import BasesOption, CompiledRunFlags, DataOption, RecipeArgument, TrainFlags


class BasePart(StrEnum):
    """One base model."""

    tokenizer = "tokenizer"
    llm = "llm"
    encoder = "encoder"


@with_flags
def bases(
    recipe: RecipeArgument,
    data: DataOption,
    out: Annotated[Path, typer.Option(help="Where the base models are written.")],
    flags: CompiledRunFlags,
    part: Annotated[list[BasePart] | None, typer.Option(help="Only this one; all by default.")] = None,
    threads: ThreadsOption = None,
) -> None:
    """Train a recipe's tokenizer, language model and speech encoder from scratch."""
    from dragoman.recipe import load_recipe

    chosen = load_recipe(recipe)
    with progress_bars() as progress:
        from dragoman.pretraining.build import build_bases

        silence_libraries()
        set_threads(threads)
        build_bases(chosen, data, out, flags.read(), parts=tuple(part or BasePart), on_progress=progress)


@with_flags
def train(
    recipe: RecipeArgument,
    data: DataOption,
    out: Annotated[Path, typer.Option(help="Where the stages are written.")],
    flags: TrainFlags,
    bases: BasesOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Run the stages of a recipe, one after the other; prints the folder of the finished model."""
    from dragoman.recipe import load_recipe

    chosen = load_recipe(recipe)
    fetch_bases(chosen, shown=launched()[0] == 0)
    with progress_bars() as progress:
        from dragoman.training.curriculum import train_curriculum

        silence_libraries()
        set_threads(threads)
        from dragoman.evaluation.validation import translation_scores  # second: the extra train includes evaluate

        model = train_curriculum(
            chosen,
            data,
            out,
            flags.read(),
            bases=bases,
            translation_scores=translation_scores,
            on_progress=progress,
        )
    say(f"{chosen.name} is trained.")
    typer.echo(model)
