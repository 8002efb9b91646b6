"""The stream of steps that every training reads from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from accelerate import Accelerator

from dragoman.data.prefetch import prefetch_map
from dragoman.data.sampling import Step, StepSampler
from dragoman.errors import DataError
from dragoman.training.trainer import Stream, TrainingBatch


def stream_of_steps(
    order: StepSampler,
    make: Callable[[Any], Sequence[TrainingBatch]],
    accelerator: Accelerator,
    workers: int = 0,
    draw: Callable[[Step], Any] = lambda share: share,
) -> Stream:
    """This process's share of each step, from any step on, made into micro-batches by this many processes ahead of
    time.

    `make` gets the share, or what `draw`, which stays in this process, makes of it. Raises DataError where a process
    would never have a share.
    """
    rank, world = accelerator.process_index, accelerator.num_processes
    check_processes(world, min(order.batch, len(order.lengths)), "this run")

    def stream(start: int) -> Iterator[Sequence[TrainingBatch]]:
        return prefetch_map(make, (draw(step.share(rank, world)) for step in order.steps(start)), workers)

    return stream


def check_processes(world: int, items: int, what: str) -> None:
    """Raise DataError where there are more processes than items in a step: some would wait for work for ever."""
    if world > items:
        raise DataError(
            f"{what}: a step holds {items} utterances, which {world} processes cannot share; start {items} at most, or "
            "give the recipe a larger batch."
        )
