"""`dragoman bases` and `dragoman train`: models from recipes. Both go on wherever they stopped."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dragoman.cli.console import say, silence_libraries
from dragoman.cli.devices import launched, set_threads
from dragoman.cli.fetch import fetch_bases
from dragoman.cli.options import ThreadsOption
from dragoman.cli.progress import progress_bars


class BasePart(StrEnum):
    """One base model."""

    tokenizer = "tokenizer"
    llm = "llm"
    encoder = "encoder"


RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A .toml file, or a recipe that Dragoman ships.")]
DataOption = Annotated[Path, typer.Option(help="The folder of manifests that the recipe's sources name.")]
BasesOption = Annotated[Path | None, typer.Option(help="Our own base models, where the recipe has some.")]
CheckpointActivationsOption = Annotated[
    bool,
    typer.Option("--checkpoint_activations", help="Compute each layer twice and keep less of it: slower, less memory."),
]
WorkersOption = Annotated[int, typer.Option(min=0, help="Processes that prepare batches.")]
SkipBadOption = Annotated[
    bool, typer.Option("--skip_bad", help="Leave out rows that have more text than fits, instead of an error.")
]
CompileOption = Annotated[
    bool, typer.Option("--compile", help="Compile the model first: slower to start, faster after.")
]


def bases(
    recipe: RecipeArgument,
    data: DataOption,
    out: Annotated[Path, typer.Option(help="Where the base models are written.")],
    part: Annotated[list[BasePart] | None, typer.Option(help="Only this one; all by default.")] = None,
    workers: WorkersOption = 1,
    skip_bad: SkipBadOption = False,
    compiled: CompileOption = False,
    threads: ThreadsOption = None,
) -> None:
    """Train a recipe's tokenizer, language model and speech encoder from scratch."""
    from dragoman.recipe import load_recipe

    chosen = load_recipe(recipe)
    with progress_bars() as progress:
        from dragoman.pretraining.build import build_bases

        silence_libraries()
        set_threads(threads)
        build_bases(chosen, data, out, tuple(part or BasePart), workers, compiled, skip_bad, progress)


def train(
    recipe: RecipeArgument,
    data: DataOption,
    out: Annotated[Path, typer.Option(help="Where the stages are written.")],
    bases: BasesOption = None,
    micro_batch: Annotated[int, typer.Option("--micro_batch", min=1, help="Utterances that fit at once.")] = 64,
    micro_tokens: Annotated[
        int | None, typer.Option("--micro_tokens", min=1, help="Tokens, audio and text, that the LLM takes at once.")
    ] = None,
    workers: WorkersOption = 1,
    features: Annotated[
        Path | None, typer.Option(help="What `dragoman encode` stored, to be read in the place of audio.")
    ] = None,
    skip_bad: SkipBadOption = False,
    compiled: CompileOption = False,
    checkpoint_activations: CheckpointActivationsOption = False,
    save_every: Annotated[
        int, typer.Option("--save_every", min=1, help="Steps between checkpoints, which are written beside training.")
    ] = 200,
    profile: Annotated[
        bool, typer.Option("--profile", help="Write a trace of three steps of each stage, for Perfetto.")
    ] = False,
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
            bases=bases,
            micro_batch=micro_batch,
            micro_tokens=micro_tokens,
            workers=workers,
            compiled=compiled,
            checkpointed=checkpoint_activations,
            save_every=save_every,
            profile=profile,
            features=features,
            skip_bad=skip_bad,
            translation_scores=translation_scores,
            on_progress=progress,
        )
    say(f"{chosen.name} is trained.")
    typer.echo(model)
