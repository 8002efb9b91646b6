"""`dragoman translate MANIFEST --engine ray`: a manifest by many workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dragoman.cli.console import say
from dragoman.cli.options import BatchedLoadFlags, resolve_model
from dragoman.cli.progress import progress_bar
from dragoman.errors import DataError

if TYPE_CHECKING:
    from dragoman.inference.options import LoadOptions, TranslateOptions
    from dragoman.inference.translator import Translator

BatchJobOption = Annotated[
    Literal["torch", "ray"],
    typer.Option("--engine", help="ray: a manifest (.jsonl) by many workers, into parquet files."),
]
ActorsOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Ray's actors, one model each; all GPUs, or 1.")
]


@dataclass(frozen=True)
class BatchJobFlags:
    """Whether many workers translate a manifest."""

    engine: BatchJobOption = "torch"
    workers: ActorsOption = None

    def check(self, others: Sequence[str]) -> None:
        """`others` are the flags given that say what is wanted of recordings and files. Raises DataError."""
        if self.engine != "ray" and self.workers is not None:
            raise DataError("--workers are Ray's; add --engine ray, or leave it out.")
        if self.engine == "ray" and "--language" in others:
            raise DataError("--engine ray reads from the manifest what is spoken; leave --language out.")
        if self.engine == "ray" and others:
            raise DataError(f"--engine ray writes parquet files of what a manifest names; leave {others[0]} out.")


@dataclass(frozen=True)
class _Load:
    """Our own model, made in a worker."""

    folder: Path
    options: LoadOptions

    def __call__(self) -> Translator:
        from dragoman.inference.translator import Translator

        return Translator.from_pretrained(self.folder, self.options)


def translate_manifest(
    inputs: Sequence[Path],
    model: str | None,
    options: TranslateOptions,
    flags: BatchedLoadFlags,
    out: Path | None,
    workers: int | None,
) -> int:
    """Write parquet files to `out`; returns how many utterances could not be read."""
    if len(inputs) != 1 or inputs[0].suffix != ".jsonl" or out is None:
        raise DataError("--engine ray takes one manifest (.jsonl) and an --output_dir for its parquet files.")
    from dragoman.engines.ray_jobs import BatchJob, run
    from dragoman.records import read_manifest

    utterances = read_manifest(inputs[0])
    folder = resolve_model(model, options, flags.device, flags.threads)
    import torch

    from dragoman.files import digest_of_weights
    from dragoman.recipe import read_stored_recipe

    recipe = read_stored_recipe(folder / "recipe.json")
    for code in dict.fromkeys(utterance.language for utterance in utterances):
        recipe.known_source(code)
    load = flags.read()
    settings = {name: value for name, value in asdict(load).items() if name not in ("device", "batch_size")}
    identity = f"{recipe.name} {digest_of_weights(folder)} {settings}"
    targets = recipe.known_targets(options.to)
    job = BatchJob(inputs[0], utterances, targets, out, _Load(folder, load), identity, batch_size=load.batch_size)
    gpus = torch.cuda.device_count() if load.device in (None, "cuda") else 0
    with progress_bar("translating") as progress:
        done = run(job, workers or max(1, gpus), 1.0 if gpus else 0.0, progress)
    if done.kept:
        say(f"{done.kept} of {done.total} utterances were translated before and are left as they are.")
    if done.failed:
        say(f"{done.failed} of {done.total} utterances could not be read; the column `error` of their rows says why.")
    return done.failed
