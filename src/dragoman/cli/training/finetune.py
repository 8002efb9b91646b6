"""`dragoman finetune`: another system learns from a manifest, to compare with. Goes on wherever it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dragoman.cli.console import say
from dragoman.cli.devices import launched, own_device
from dragoman.cli.flags import with_flags
from dragoman.cli.options import DeviceOption, ThreadsOption, prepare_device, read_targets
from dragoman.cli.progress import progress_bars
from dragoman.cli.training.options import MicroBatchOption, RunFlags
from dragoman.errors import DragomanError, ModelError
from dragoman.files import only_run

if TYPE_CHECKING:
    from dragoman.recipe import Schedule

_SYSTEM = "seamless-m4t-v2-large"


@dataclass(frozen=True)
class ScheduleFlags:
    """How the LoRA learns, flag by flag."""

    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")]
    batch: Annotated[int, typer.Option(min=1, help="Utterances with a target each, over all processes.")] = 16
    learning_rate: Annotated[float, typer.Option("--learning_rate", min=0, help="At its highest.")] = 1e-4
    seed: Annotated[int, typer.Option(help="Decides the order and the dropout.")] = 0

    def read(self, precision: Literal["fp32", "bf16"]) -> Schedule:
        from dragoman.recipe import Schedule

        return Schedule(precision=precision, warmup_steps=self.steps // 10, **asdict(self))


@with_flags
def finetune(
    system: Annotated[str, typer.Argument(metavar="SYSTEM", help=f"{_SYSTEM}, the one that is fine-tuned here.")],
    manifest: Annotated[Path, typer.Argument(help="Utterances with translations.")],
    to: Annotated[list[str], typer.Option("--to", help="Target: de, deu or German; several with commas; or all.")],
    out: Annotated[Path, typer.Option(help="Where the run and the finished LoRA are written.")],
    plan: ScheduleFlags,
    flags: RunFlags,
    micro_batch: MicroBatchOption = 16,
    model: Annotated[str | None, typer.Option(help="A checkpoint by folder or name; the system's own.")] = None,
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
        raise ModelError(f"{system} is trained to translate here; name a target instead of none.")
    prepare_device(device, threads)
    with only_run(out, launched()[0]):
        _learn(model, own_device(device), manifest, wanted.to, out, plan, flags, micro_batch)


def _learn(
    model: str | None,
    device: str | None,
    manifest: Path,
    to: Sequence[str] | None,
    out: Path,
    plan: ScheduleFlags,
    flags: RunFlags,
    micro_batch: int,
) -> None:
    from accelerate import DistributedType

    from dragoman.data.index import open_index
    from dragoman.data.sampling import StepSampler
    from dragoman.systems.seamless import Seamless
    from dragoman.systems.seamless_lora import SeamlessLora, TranslatedSpeech
    from dragoman.text.languages import known_targets
    from dragoman.training.inputs.proportion import report_misfits
    from dragoman.training.inputs.steps import stream_of_steps
    from dragoman.training.run_folder import remember_settings
    from dragoman.training.trainer import TrainingJob, fit, make_accelerator

    base = Seamless.from_pretrained(model, device=device)
    targets = known_targets(to, base.targets, _SYSTEM)
    schedule = plan.read("fp32" if base.part.model.device.type == "cpu" else "bf16")
    accelerator = make_accelerator(schedule.precision)
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        raise DragomanError(f"{_SYSTEM} is saved from one process, which has to hold it whole; train it with torchrun.")
    with accelerator.main_process_first(), progress_bars() as progress:  # one makes the index, the others find it
        index = open_index(manifest, progress)
    speech = TranslatedSpeech(base, index, targets, micro_batch)
    misfits = speech.misfits()
    by_name = {speech.name(number): reason for number, reason in misfits.items()}
    report_misfits(str(manifest), by_name, len(speech.rows), flags.skip_bad)
    speech.leave_out(misfits)
    settings = {"model": base.identity, "data": index.digest, "targets": targets, **schedule.model_dump()}
    with accelerator.main_process_first():
        remember_settings(out, {**settings, "left_out": len(misfits)} if misfits else settings)
    epochs = schedule.steps * schedule.batch / len(speech.rows)
    if accelerator.is_main_process:
        say(f"{len(speech.rows)} pairs of an utterance and a target, {epochs:.1f} epochs of them.")
        if speech.unheard:
            say(f"{speech.unheard} utterances are left out: {_SYSTEM} does not hear their languages.")
    learner = SeamlessLora(base, schedule.seed)
    order = StepSampler(speech.lengths, schedule.batch, schedule.seed)
    with progress_bars() as progress:
        job = TrainingJob(
            f"{_SYSTEM} by LoRA",
            learner,
            stream_of_steps(order, speech.micro_batches, accelerator, flags.workers),
            schedule,
            out,
            flags.read(),
            on_progress=progress,
            ids=lambda step: speech.ids(order.step(step)),
        )
        fit(job, accelerator)
    if accelerator.is_main_process:
        learner.save(out / "model")
        typer.echo(out / "model")
