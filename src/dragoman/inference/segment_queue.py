"""Segments of many recordings in one queue: batches of neighbours in length, results in the order of the segments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

WorkT = TypeVar("WorkT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class ToDo(Generic[WorkT]):
    work: WorkT


@dataclass(frozen=True)
class Done(Generic[ResultT]):
    result: ResultT


class SegmentQueue(Generic[WorkT, ResultT]):
    """`work` makes results of at most `batch_size` items that are near each other in `length`, one by one if it can. At
    most `ahead` items are read and not yet given out, so memory is bounded."""

    def __init__(
        self,
        work: Callable[[Sequence[WorkT]], Iterable[ResultT]],
        length: Callable[[WorkT], int],
        batch_size: int,
        ahead: int,
    ) -> None:
        self.work, self.length, self.batch_size, self.ahead = work, length, batch_size, ahead

    def __call__(self, items: Iterable[ToDo[WorkT] | Done[ResultT]]) -> Iterator[ResultT]:
        """What is done passes as it is, in its place. Results come in order."""
        source, is_over = iter(items), False
        waiting: dict[int, WorkT] = {}
        found: dict[int, ResultT] = {}
        read = given = 0
        while not is_over or read > given:
            while not is_over and read - given < self.ahead:
                item = next(source, None)
                if item is None:
                    is_over = True
                    break
                if isinstance(item, ToDo):
                    waiting[read] = item.work
                else:
                    found[read] = item.result
                read += 1
            if given in found:
                yield found.pop(given)
                given += 1
            elif waiting:
                chosen = self._batch(waiting)
                results = self.work([waiting.pop(number) for number in chosen])
                for number, result in zip(chosen, results, strict=True):
                    found[number] = result
                    while given in found:  # as soon as it is there
                        yield found.pop(given)
                        given += 1

    def _batch(self, waiting: dict[int, WorkT]) -> list[int]:
        """The oldest, so that nothing waits for ever, and those that are nearest to it in length, in their order."""
        order = sorted(waiting, key=lambda number: (self.length(waiting[number]), number))
        lengths = [self.length(waiting[number]) for number in order]
        size, oldest = min(self.batch_size, len(order)), order.index(min(order))
        starts = range(max(0, oldest - size + 1), min(oldest, len(order) - size) + 1)
        start = min(starts, key=lambda start: lengths[start + size - 1] - lengths[start])
        return sorted(order[start : start + size])
