"""`dragoman translate MANIFEST --engine ray`: a manifest by many workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dragoman.cli.console import say
from dragoman.cli.options import LanguageFlags, LoadOptions, resolve_model
from dragoman.cli.progress import progress_bar
from dragoman.errors import DataError

if TYPE_CHECKING:
    from dragoman.inference.translator import Translator


@dataclass(frozen=True)
class _Load:
    """Our own model, made in a worker."""

    folder: Path
    options: dict[str, Any]

    def __call__(self) -> Translator:
        from dragoman.inference.translator import Translator

        return Translator.from_pretrained(self.folder, **self.options)


def translate_manifest(
    inputs: Sequence[Path],
    model: str | None,
    languages: LanguageFlags,
    load: LoadOptions,
    out: Path | None,
    workers: int | None,
) -> int:
    """Write parquet files to `out`; returns how many utterances could not be read."""
    if len(inputs) != 1 or inputs[0].suffix != ".jsonl" or out is None:
        raise DataError("--engine ray takes one manifest (.jsonl) and an --output_dir for its parquet files.")
    if languages.source is not None:
        raise DataError("--engine ray reads from the manifest what is spoken; leave --language out.")
    from dragoman.records import read_manifest

    utterances = read_manifest(inputs[0])
    folder = resolve_model(model or "tiny", languages, load.device, load.threads)
    import torch

    from dragoman.engines.ray_jobs import BatchJob, run
    from dragoman.files import digest_of_weights
    from dragoman.recipe import read_stored_recipe

    recipe = read_stored_recipe(folder / "recipe.json")
    for code in dict.fromkeys(utterance.language for utterance in utterances):
        recipe.known_source(code)
    options = load.for_own_model()
    settings = {key: value for key, value in options.items() if key not in ("device", "batch_size")}
    identity = f"{recipe.name} {digest_of_weights(folder)} {settings}"
    targets = recipe.known_targets(languages.to)
    job = BatchJob(inputs[0], utterances, targets, out, _Load(folder, options), identity, batch_size=load.batch_size)
    gpus = torch.cuda.device_count() if load.device in (None, "cuda") else 0
    with progress_bar("translating") as progress:
        done = run(job, workers or max(1, gpus), 1.0 if gpus else 0.0, progress)
    if done.kept:
        say(f"{done.kept} of {done.total} utterances were translated before and are left as they are.")
    if done.failed:
        say(f"{done.failed} of {done.total} utterances could not be read; the column `error` of their rows says why.")
    return done.failed
