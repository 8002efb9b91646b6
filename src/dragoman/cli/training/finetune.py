"""`dragoman finetune`: another system learns from a manifest, to compare with. Goes on wherever it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from dragoman.cli.console import say
from dragoman.cli.devices import launched, own_device
from dragoman.cli.options import DeviceOption, ThreadsOption, prepare_device, read_targets
from dragoman.cli.progress import progress_bars
from dragoman.errors import ModelError
from dragoman.files import only_run

_SYSTEM = "seamless-m4t-v2-large"


def finetune(
    system: Annotated[str, typer.Argument(metavar="SYSTEM", help=f"{_SYSTEM}, the one that is fine-tuned here.")],
    manifest: Annotated[Path, typer.Argument(help="Utterances with translations.")],
    to: Annotated[list[str], typer.Option("--to", help="Target: de, deu or German; several with commas; or all.")],
    out: Annotated[Path, typer.Option(help="Where the run and the finished LoRA are written.")],
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")],
    model: Annotated[str | None, typer.Option(help="A checkpoint by folder or name; the system's own.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Utterances with a target each, over all processes.")] = 16,
    micro_batch: Annotated[int, typer.Option("--micro_batch", min=1, help="Of these, this many at once.")] = 16,
    learning_rate: Annotated[float, typer.Option("--learning_rate", min=0, help="At its highest.")] = 1e-4,
    seed: Annotated[int, typer.Option(help="Decides the order and the dropout.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare batches.")] = 1,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Fine-tune SeamlessM4T-v2 by LoRA, as LLM-SRT's Table 13 does; prints the folder that --model then takes."""
    if system != _SYSTEM:
        raise ModelError(
            f"{system} is not fine-tuned here; {_SYSTEM} is, and `dragoman train` trains Dragoman's own models."
        )
    wanted = read_targets(to)
    if wanted.only_transcripts:
        raise ModelError(f"{system} is taught to translate here; name a target instead of none.")
    prepare_device(device, threads)
    plan = {"steps": steps, "batch": batch, "learning_rate": learning_rate, "warmup_steps": steps // 10, "seed": seed}
    with only_run(out, launched()[0]):
        _learn(manifest, wanted.to, out, model, own_device(device), micro_batch, workers, plan)


def _learn(
    manifest: Path,
    to: Sequence[str] | None,
    out: Path,
    model: str | None,
    device: str | None,
    micro_batch: int,
    workers: int,
    plan: dict[str, Any],
) -> None:
    from dragoman.data.index import open_index
    from dragoman.data.sampling import StepSampler
    from dragoman.recipe import Schedule
    from dragoman.systems.seamless import Seamless
    from dragoman.systems.seamless_lora import SeamlessLora, TranslatedSpeech
    from dragoman.text.languages import known_targets
    from dragoman.training.run_folder import remember_settings
    from dragoman.training.steps import stream_of_steps
    from dragoman.training.trainer import TrainingJob, fit, make_accelerator

    base = Seamless.from_pretrained(model, device=device)
    targets = known_targets(to, base.targets, _SYSTEM)
    precision: Literal["fp32", "bf16"] = "fp32" if base.part.model.device.type == "cpu" else "bf16"
    schedule = Schedule(precision=precision, **plan)
    accelerator = make_accelerator(precision)
    with accelerator.main_process_first():  # one makes the index and the folder, the others find them
        with progress_bars() as progress:
            index = open_index(manifest, progress)
        remember_settings(
            out, {"model": base.identity, "data": index.digest, "targets": targets, **schedule.model_dump()}
        )
    speech = TranslatedSpeech(base, index, targets, micro_batch)
    epochs = schedule.steps * schedule.batch / len(speech.rows)
    if accelerator.is_main_process:
        say(f"{len(speech.rows)} pairs of an utterance and a target, {epochs:.1f} epochs of them.")
        if speech.unheard:
            say(f"{speech.unheard} utterances are left out: {_SYSTEM} does not hear their languages.")
    learner = SeamlessLora(base, schedule.seed)
    order = StepSampler(speech.lengths, schedule.batch, schedule.seed)
    stream = stream_of_steps(order, speech.micro_batches, accelerator, workers)
    with progress_bars() as progress:
        job = TrainingJob(
            f"{_SYSTEM} by LoRA",
            learner,
            stream,
            schedule,
            out,
            on_progress=progress,
            ids=lambda step: speech.ids(order.step(step)),
        )
        fit(job, accelerator)
    if accelerator.is_main_process:
        learner.save(out / "model")
        typer.echo(out / "model")
