"""The stream of steps that every training reads from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from accelerate import Accelerator

from dragoman.data.batching import made_ahead
from dragoman.data.sampling import Order, Step
from dragoman.training.trainer import Stream, TrainingBatch


def stream_of_steps(
    order: Order,
    make: Callable[[Any], Sequence[TrainingBatch]],
    accelerator: Accelerator,
    workers: int = 0,
    draw: Callable[[Step], Any] = lambda share: share,
) -> Stream:
    """This process's share of each step, from any step on, made into micro-batches by so many processes ahead of time.

    `make` gets the share, or what `draw`, which stays in this process, makes of it.
    """
    rank, world = accelerator.process_index, accelerator.num_processes

    def stream(start: int) -> Iterator[Sequence[TrainingBatch]]:
        return made_ahead(make, (draw(step.share(rank, world)) for step in order.steps(start)), workers)

    return stream
