"""The one training loop, for bases and stages alike: a module that maps a batch to a summed loss, a stream of batches
that is a function of the step, a schedule, a folder. What comes out is a trained module and a folder to resume from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator, DistributedType
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor

from dragoman.data.prefetch import workers_watched
from dragoman.errors import DataError
from dragoman.progress import OnProgress, no_progress
from dragoman.recipe import Schedule
from dragoman.training.monitoring.metrics import StepMetrics, not_finite
from dragoman.training.monitoring.profiling import profiled
from dragoman.training.monitoring.runlog import RunLog
from dragoman.training.monitoring.throughput import Throughput, Work, described
from dragoman.training.optim import make_optimizer, make_scheduler
from dragoman.training.options import RunOptions
from dragoman.training.state import CheckpointWriter, load_state, load_weights, random_state, restore_random_state
from dragoman.training.zero import check_zero, set_up_zero

_SPEED_EVERY_S = 10.0


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
    """One training run. `module(batch)` returns {"loss": summed loss, ...other sums to be logged}; `stream` has made
    its batches already, so that of the `options` it wants no more than how to compile, save and profile. `ids` names
    what the step of a number, counted from 1, held; `work` is what a batch costs. Losses are read every `log_every`
    steps, by default every 10, and on a CPU after each."""

    label: str
    module: nn.Module
    stream: Stream
    schedule: Schedule
    folder: Path
    options: RunOptions = RunOptions()
    validate: Callable[[], dict[str, float]] | None = None
    validate_every: int = 1000
    on_progress: OnProgress = no_progress
    ids: Callable[[int], Sequence[str]] = lambda step: ()
    log_every: int | None = None
    work: Callable[[Any], Work] = lambda batch: Work()


def make_accelerator(precision: str) -> Accelerator:
    """DDP under torchrun, FSDP2 and DeepSpeed under `accelerate launch --config_file`, one process otherwise."""
    # Without cpu=True, processes on machines that have no accelerator would not know of each other.
    cpu = "LOCAL_RANK" in os.environ and not torch.accelerator.is_available()
    zero = os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"
    # see `set_up_zero`
    mixed = "bf16" if precision == "bf16" and not zero else "no"
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != mixed:
        AcceleratorState._reset_state()  # it is one per process, and the stage before had another precision
    # the others wait while one downloads a model or indexes a manifest
    patience = InitProcessGroupKwargs(timeout=timedelta(hours=2))
    accelerator = Accelerator(mixed_precision=mixed, cpu=cpu, kwargs_handlers=[patience])
    if zero:
        check_zero(accelerator)
    return accelerator


def fit(job: TrainingJob, accelerator: Accelerator) -> nn.Module:
    """Run the job to its last step from wherever it stood; returns the module without wrappers."""
    torch.manual_seed(job.schedule.seed + accelerator.process_index)
    if job.options.compiled:
        job.module.compile(dynamic=True)
    optimizer = make_optimizer(job.module.parameters(), job.schedule, accelerator.device.type)
    accelerator.sync_gradients = True  # one interrupted in this process may have left it False
    checkpoints = job.folder / "checkpoints"
    found = load_weights(checkpoints, accelerator, job.module)
    if accelerator.distributed_type is DistributedType.DEEPSPEED:
        set_up_zero(accelerator, job.module, job.schedule)
    module, optimizer = accelerator.prepare(job.module, optimizer)
    scheduler = make_scheduler(optimizer, job.schedule)
    done = 0 if found is None else load_state(found, accelerator, job.module, optimizer, scheduler)
    if len(set(accelerator.gather(torch.tensor([done], device=accelerator.device)).tolist())) > 1:
        raise DataError(f"{checkpoints}: is not the same for all processes; let all machines share one --out.")
    step_of = _Stepper(accelerator, module, optimizer, job)
    with (
        RunLog(job.folder, first_step=done, active=accelerator.is_main_process) as log,
        CheckpointWriter(checkpoints, accelerator) as writer,
        profiled(job.folder / "profile", accelerator.process_index, active=job.options.profile) as profile_step,
        workers_watched(),
    ):
        report = _Report(job, accelerator, log, done)
        module.train()
        # the steps come first: zip must not ask for a batch after the last one
        for step, micro_batches in zip(range(done + 1, job.schedule.steps + 1), job.stream(done), strict=False):
            report.add(step, micro_batches, *step_of(micro_batches))
            scheduler.step()
            profile_step()
            last = step == job.schedule.steps
            validates = job.validate is not None and (last or step % job.validate_every == 0)
            saves = last or step % job.options.save_every == 0
            if validates or saves or step % report.every == 0:
                report.tell(step)
            if validates:
                log.row(step, _validated(job))
            if saves:
                writer.save(step, job.module, optimizer, scheduler)
    accelerator.wait_for_everyone()  # until the last checkpoint is written
    return accelerator.unwrap_model(module)


class _Report:
    """What steps came to, read from the device every few of them: on a CPU, which is waited for anyway, after each."""

    def __init__(self, job: TrainingJob, accelerator: Accelerator, log: RunLog, done: int) -> None:
        self.job, self.accelerator, self.log = job, accelerator, log
        self.every = job.log_every or (1 if accelerator.device.type == "cpu" else 10)
        self._metrics = StepMetrics()
        self._speed = Throughput(accelerator.device, accelerator.num_processes)
        self._said = ""
        self._show = job.on_progress if accelerator.is_main_process else no_progress
        self._show(job.label, done, job.schedule.steps)

    def add(
        self,
        step: int,
        micro_batches: Sequence[TrainingBatch],
        sums: dict[str, Tensor],
        targets: int,
        known: dict[str, float],
    ) -> None:
        """A step that was begun on the device."""
        self._metrics.add(step, sums, targets, known)
        self._speed.add(sum(batch.num_rows for batch in micro_batches), [self.job.work(own) for own in micro_batches])

    def tell(self, step: int) -> None:
        """Write the rows of the steps since the last time. Raises DataError where one is not finite."""
        values: dict[str, float] = {}
        for number, values in self._metrics.collect(self.accelerator):
            if what := not_finite(values):
                raise _not_finite(self.job, number, what)
            self.log.row(number, values)
        if self._speed.seconds > _SPEED_EVERY_S or not self._said or step == self.job.schedule.steps:
            rates = self._speed.look()
            self._said = described(rates)
            self.log.speed(step, rates)
        self._show(self.job.label, step, self.job.schedule.steps, f"loss {values['loss']:.3f}  {self._said}")


class _Stepper:
    """One optimiser step. The loss is the mean over all targets of the step, over micro-batches and processes, so that
    neither the micro-batch nor the number of processes changes it. Nothing here waits for the device."""

    def __init__(
        self, accelerator: Accelerator, module: nn.Module, optimizer: torch.optim.Optimizer, job: TrainingJob
    ) -> None:
        self.accelerator, self.module, self.optimizer = accelerator, module, optimizer
        self.clip_norm = job.schedule.clip_norm
        self.trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        # what a process takes part with where it has nothing and another one waits for its gradients; made once, and
        # the same whenever a run goes on
        self.spare = cache(lambda: next(share for share in job.stream(0) if share)[0])
        self._hosts = _host_group(accelerator)

    def __call__(self, micro_batches: Sequence[TrainingBatch]) -> tuple[dict[str, Tensor], int, dict[str, float]]:
        """Sums over this process's share, the targets that they are divided by, and what is known without them."""
        accelerator = self.accelerator
        targets, rounds = self._agreed(_count(micro_batches), len(micro_batches))
        scale = accelerator.num_processes / targets  # DDP, FSDP and ZeRO average over processes
        totals: dict[str, Tensor] = {}
        for number in range(1, rounds + 1):
            idle = number > len(micro_batches)
            batch = micro_batches[min(number, len(micro_batches)) - 1] if micro_batches else self.spare()
            # gradients are exchanged once, after the last micro-batch; DeepSpeed updates the weights there and then
            accelerator.sync_gradients = number == rounds
            with accelerator.no_sync(self.module) if number < rounds else nullcontext():
                sums = self.module(batch.to(accelerator.device))
                accelerator.backward(sums["loss"] * (0.0 if idle else scale))
            for name, value in sums.items():
                own = value.detach().float() * (0.0 if idle else 1.0)
                totals[name] = totals[name] + own if name in totals else own
        if self.clip_norm is not None:
            norm = accelerator.clip_grad_norm_(self.trained, self.clip_norm)
            whole = norm.full_tensor() if isinstance(norm, DTensor) else torch.as_tensor(norm)  # FSDP has it in parts
            # every process has it whole, and they are summed
            totals["gradient_norm"] = whole.detach().float().to(accelerator.device) / scale
        rate = self.optimizer.param_groups[0]["lr"]
        self.optimizer.step()
        self.optimizer.zero_grad()
        return totals, targets, {"learning_rate": rate}

    def _agreed(self, targets: int, rounds: int) -> tuple[int, int]:
        """All processes' targets, and the most micro-batches that one of them has."""
        if self._hosts is None:
            return targets, rounds
        own = torch.tensor([targets, rounds])
        shares = [torch.empty_like(own) for _ in range(self.accelerator.num_processes)]
        distributed.all_gather(shares, own, group=self._hosts)
        return sum(int(share[0]) for share in shares), max(int(share[1]) for share in shares)


def _host_group(accelerator: Accelerator) -> Any:
    """Through which the processes tell one another small numbers from CPU to CPU, so that no card is waited for."""
    if accelerator.num_processes == 1:
        return None
    return distributed.group.WORLD if distributed.get_backend() == "gloo" else distributed.new_group(backend="gloo")


def _not_finite(job: TrainingJob, step: int, what: str) -> DataError:
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
