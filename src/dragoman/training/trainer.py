"""The one training loop, for bases and stages alike: a module that maps a batch to a summed loss, a stream of batches
that is a function of the step, a schedule, a folder. What comes out is a trained module and a folder to resume from."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from dragoman.data.prefetch import workers_watched
from dragoman.errors import DataError
from dragoman.progress import OnProgress, no_progress
from dragoman.recipe import Schedule
from dragoman.training.optim import make_optimizer, make_scheduler
from dragoman.training.runlog import RunLog
from dragoman.training.state import load_state, random_state, restore_random_state, save_state


class TrainingBatch(Protocol):
    """What the loop needs to know of a batch."""

    @property
    def num_targets(self) -> int:
        """How many terms the summed loss has (label tokens, or utterances for CTC)."""

    @property
    def num_rows(self) -> int:
        """How many samples it holds, for samples per second."""

    def to(self, device: torch.device) -> Any: ...


# From the number of steps done to the steps that follow; each step is a list of micro-batches of this rank.
Stream = Callable[[int], Iterator[Sequence[TrainingBatch]]]


@dataclass(frozen=True)
class TrainingJob:
    """One training run. `module(batch)` returns {"loss": summed loss, ...other sums to be logged}; `ids` names what
    the step of a number, counted from 1, held."""

    label: str
    module: nn.Module
    stream: Stream
    schedule: Schedule
    folder: Path
    validate: Callable[[], dict[str, float]] | None = None
    save_every: int = 200
    validate_every: int = 1000
    compiled: bool = False
    on_progress: OnProgress = no_progress
    ids: Callable[[int], Sequence[str]] = lambda step: ()


def make_accelerator(precision: str) -> Accelerator:
    """DDP under torchrun, FSDP2 under `accelerate launch --use_fsdp --fsdp_version 2`, one process otherwise."""
    # Without cpu=True, processes on machines that have no accelerator would not know of each other.
    cpu = "LOCAL_RANK" in os.environ and not torch.accelerator.is_available()
    mixed = "bf16" if precision == "bf16" else "no"
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != mixed:
        AcceleratorState._reset_state()  # it is one per process, and the stage before had another precision
    # the others wait while one downloads a model or indexes a manifest
    patience = InitProcessGroupKwargs(timeout=timedelta(hours=2))
    return Accelerator(mixed_precision=mixed, cpu=cpu, kwargs_handlers=[patience])


def fit(job: TrainingJob, accelerator: Accelerator) -> nn.Module:
    """Run the job to its last step from wherever it stood; returns the module without wrappers."""
    torch.manual_seed(job.schedule.seed + accelerator.process_index)
    if job.compiled:
        job.module.compile(dynamic=True)
    optimizer = make_optimizer(job.module.parameters(), job.schedule)
    module, optimizer = accelerator.prepare(job.module, optimizer)
    scheduler = make_scheduler(optimizer, job.schedule)
    checkpoints = job.folder / "checkpoints"
    done = load_state(checkpoints, accelerator, module, optimizer, scheduler)
    if len(set(accelerator.gather(torch.tensor([done], device=accelerator.device)).tolist())) > 1:
        raise DataError(f"{checkpoints}: is not the same for all processes; let all machines share one --out.")
    log = RunLog(job.folder, first_step=done, active=accelerator.is_main_process)
    tell = job.on_progress if accelerator.is_main_process else no_progress
    tell(job.label, done, job.schedule.steps)
    # what a process takes part with where it has nothing and another one waits for its gradients; made once, and the
    # same whenever a run goes on
    spare = cache(lambda: next(share for share in job.stream(0) if share)[0])
    with log, workers_watched():
        # the steps come first: zip must not ask for a batch after the last one
        for step, micro_batches in zip(range(done + 1, job.schedule.steps + 1), job.stream(done), strict=False):
            values = _update(accelerator, module, optimizer, micro_batches, spare, job.schedule.clip_norm)
            if not all(map(math.isfinite, values.values())):
                raise _not_finite(job, step, values)
            scheduler.step()
            log.row(step, values)
            rate = log.rate(accelerator.num_processes * sum(batch.num_rows for batch in micro_batches))
            tell(job.label, step, job.schedule.steps, f"loss {values['loss']:.3f}  {rate:.0f} samples/s")
            last = step == job.schedule.steps
            if job.validate and (last or step % job.validate_every == 0):
                log.row(step, _validated(job))
            if last or step % job.save_every == 0:
                save_state(checkpoints, step, accelerator, module, optimizer, scheduler)
    return accelerator.unwrap_model(module)


def _update(
    accelerator: Accelerator,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    micro_batches: Sequence[TrainingBatch],
    spare: Callable[[], TrainingBatch],
    clip_norm: float | None,
) -> dict[str, float]:
    """One optimiser step. The loss is the mean over all targets of the step, over micro-batches and processes, so that
    neither the micro-batch nor the number of processes changes it."""
    module.train()
    own = torch.tensor([[_count(micro_batches), len(micro_batches)]], device=accelerator.device)
    shares = accelerator.gather(own)
    targets, rounds = shares[:, 0].sum(), int(shares[:, 1].max())
    scale = accelerator.num_processes / float(targets)  # DDP and FSDP average over processes
    totals: dict[str, Tensor] = {}
    for number in range(1, rounds + 1):
        idle = number > len(micro_batches)
        batch = micro_batches[min(number, len(micro_batches)) - 1] if micro_batches else spare()
        # gradients are exchanged once, after the last micro-batch
        with accelerator.no_sync(module) if number < rounds else nullcontext():
            sums = module(batch.to(accelerator.device))
            accelerator.backward(sums["loss"] * (0.0 if idle else scale))
        for name, value in sums.items():
            total = totals.get(name, torch.zeros((), device=accelerator.device))
            totals[name] = total + value.detach().float() * (0.0 if idle else 1.0)
    if clip_norm is not None:
        norm = accelerator.clip_grad_norm_([p for p in module.parameters() if p.requires_grad], clip_norm)
        whole = norm.full_tensor() if isinstance(norm, DTensor) else torch.as_tensor(norm)  # FSDP has it in parts
        totals["gradient_norm"] = whole.detach().to(accelerator.device) * targets
    rate = optimizer.param_groups[0]["lr"]
    optimizer.step()
    optimizer.zero_grad()
    values = {name: float(accelerator.reduce(total)) / float(targets) for name, total in totals.items()}
    if "gradient_norm" in values:
        values["gradient_norm"] /= accelerator.num_processes
    return {**values, "learning_rate": rate}


def _not_finite(job: TrainingJob, step: int, values: dict[str, float]) -> DataError:
    what = next(name for name, value in values.items() if not math.isfinite(value)).replace("_", " ")
    ids = ", ".join(job.ids(step))
    held = f"seed {job.schedule.seed}; " + (f"it held {ids}" if ids else "its rows have no ids")
    return DataError(
        f"{job.label}: the {what} of step {step} is not finite ({held}); look at these, or lower the learning rate."
    )


def _count(micro_batches: Sequence[TrainingBatch]) -> int:
    return sum(batch.num_targets for batch in micro_batches)


def _validated(job: TrainingJob) -> dict[str, float]:
    """Validation must not move the random numbers of training, nor leave dropout off."""
    assert job.validate is not None
    device = next(job.module.parameters()).device
    state = random_state(device)
    job.module.eval()
    with torch.no_grad():
        values = job.validate()
    job.module.train()
    restore_random_state(state, device)
    return {f"valid/{name}": value for name, value in values.items()}
