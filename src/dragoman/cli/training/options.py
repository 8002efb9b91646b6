"""What several trainings ask for: recipe, data, and how the machine is used."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from dragoman.training.options import RunOptions, TrainOptions

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A .toml file, or a recipe that Dragoman ships.")]
DataOption = Annotated[Path, typer.Option(help="The folder of manifests that the recipe's sources name.")]
BasesOption = Annotated[Path | None, typer.Option(help="Our own base models, where the recipe has some.")]
WorkersOption = Annotated[int, typer.Option(min=0, help="Processes that prepare batches.")]
SkipBadOption = Annotated[
    bool, typer.Option("--skip_bad", help="Leave out rows that have more text than fits, instead of an error.")
]
CompileOption = Annotated[
    bool, typer.Option("--compile", help="Compile the model first: slower to start, faster after.")
]
SaveEveryOption = Annotated[
    int, typer.Option("--save_every", min=1, help="Steps between checkpoints, which are written beside training.")
]
ProfileOption = Annotated[bool, typer.Option("--profile", help="Write a trace of three steps, for Perfetto.")]
MicroBatchOption = Annotated[int, typer.Option("--micro_batch", min=1, help="Utterances that fit at once.")]
MicroTokensOption = Annotated[
    int | None, typer.Option("--micro_tokens", min=1, help="Tokens, audio and text, that the LLM takes at once.")
]
CheckpointActivationsOption = Annotated[
    bool,
    typer.Option("--checkpoint_activations", help="Compute each layer twice and keep less of it: slower, less memory."),
]
FeaturesOption = Annotated[
    Path | None, typer.Option(help="What `dragoman encode` stored, to be read in the place of audio.")
]


@dataclass(frozen=True)
class RunFlags:
    """RunOptions, flag by flag, without --compile: other systems' models are not compiled."""

    workers: WorkersOption = RunOptions.workers
    skip_bad: SkipBadOption = RunOptions.skip_bad
    save_every: SaveEveryOption = RunOptions.save_every
    profile: ProfileOption = RunOptions.profile

    def read(self) -> RunOptions:
        return RunOptions(**asdict(self))


@dataclass(frozen=True)
class CompiledRunFlags(RunFlags):
    """RunOptions, flag by flag."""

    compiled: CompileOption = RunOptions.compiled


@dataclass(frozen=True)
class TrainFlags(CompiledRunFlags):
    """TrainOptions, flag by flag."""

    micro_batch: MicroBatchOption = TrainOptions.micro_batch
    micro_tokens: MicroTokensOption = TrainOptions.micro_tokens
    checkpoint_activations: CheckpointActivationsOption = TrainOptions.checkpoint_activations
    features: FeaturesOption = TrainOptions.features

    def read(self) -> TrainOptions:
        return TrainOptions(**asdict(self))
