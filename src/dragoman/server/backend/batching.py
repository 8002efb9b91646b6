"""Batches of many clients: what their requests ask of the model waits in a lane each, and one thread takes from all.

Lanes are served evenly, counted in seconds of audio: who has been served least comes first, and who comes anew begins
where the others are. A batch is not interrupted, so where several share the model none puts more than a little into
one: who comes next does not wait long. Each task keeps its own languages, words and beams; the result does not depend
on the batch.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any, Protocol

from dragoman.errors import DragomanError
from dragoman.server.metrics import ServerMetrics

_SHARE_S = 2.0
"""So long a lane's part of a batch may take the model, where several share it."""
_SHARED_FOR_S = 60.0
"""The model is shared when another lane had work in the last minute."""
_WEIGHT = 0.2
"""Of the last batch in the mean cost of a second of audio."""

_FIRST_ROWS, _DOUBLED = 2, 10
"""Of a lane that is alone, its first batch is no larger, and each after it twice as large: its first segments come
soon."""

_TEND_S = 5.0
"""So often a worker is looked after that has nothing to do, or cannot do anything."""

Kind = tuple[Hashable, ...]
"""What is to be done with a payload: ("decode",), ("likelihoods", beams), ("languages", codes). Only tasks of one kind
share a batch."""
DECODE: Kind = ("decode",)


class ClientGone(DragomanError):
    """Whoever asked is not there any more."""


class BatchWorker(Protocol):
    """What does the work of a batch: the model in this process, or in another."""

    def __call__(self, kind: Kind, payloads: Sequence[Any]) -> Sequence[Any]:
        """One result for each payload, in order."""

    def close(self) -> None:
        """Nothing is asked of it any more."""

    @property
    def is_alive(self) -> bool:
        """Whether it could do a batch now."""
        return True

    def tend(self) -> bool:
        """Whether it can take a batch; before that what has died is started anew."""
        return True


@dataclass(eq=False)
class QueuedTask:
    """One stretch of speech, and what is waited for."""

    lane: ClientLane
    kind: Kind
    payload: Any
    seconds: float
    future: Future[Any] = field(default_factory=Future)


class ClientLane:
    """What one client waits for, in its order."""

    def __init__(self, scheduler: BatchScheduler) -> None:
        self._scheduler = scheduler
        self.tasks: deque[QueuedTask] = deque()
        self.served_s = 0.0
        self.batches = 0
        self.closed = False

    def submit(self, kind: Kind, payloads: Sequence[Any], seconds: Sequence[float]) -> list[Future[Any]]:
        """Put these in the lane. Raises ClientGone when it is closed."""
        tasks = [QueuedTask(self, kind, payload, each) for payload, each in zip(payloads, seconds, strict=True)]
        self._scheduler.put(self, tasks)
        return [task.future for task in tasks]

    def close(self) -> None:
        """Drop what waits; who waits for it gets ClientGone."""
        self._scheduler.drop(self)


def outcome(future: Future[Any]) -> Any:
    """A result, once it is there. Raises ClientGone."""
    try:
        return future.result()
    except CancelledError:
        raise ClientGone("The client is gone.") from None


class BatchScheduler:
    """Lanes -> batches of at most `max_rows` tasks -> workers, each of which has a thread. A batch waits `wait_s` for
    company while it is not full."""

    def __init__(
        self, workers: Sequence[BatchWorker], max_rows: int, metrics: ServerMetrics, wait_s: float = 0.005
    ) -> None:
        self._max_rows, self._wait_s, self._metrics = max_rows, wait_s, metrics
        self._lanes: set[ClientLane] = set()
        self._cost = 0.0  # seconds of the model's for a second of audio
        self._last: ClientLane | None = None
        self._shared_until = 0.0
        self._reached_s = 0.0  # how much a lane has been served that was always there
        self._changed = threading.Condition()
        self._ended = False
        self._threads = [
            threading.Thread(target=self._run, args=(worker,), name=f"dragoman-batches-{number}", daemon=True)
            for number, worker in enumerate(workers)
        ]
        for thread in self._threads:
            thread.start()

    def lane(self) -> ClientLane:
        """A new client's."""
        return ClientLane(self)

    def put(self, lane: ClientLane, tasks: Sequence[QueuedTask]) -> None:
        """See ClientLane.submit."""
        if not tasks:
            return
        with self._changed:
            if lane.closed or self._ended:
                raise ClientGone("The client is gone.")
            if self._last not in (lane, None):
                self._shared_until = time.monotonic() + _SHARED_FOR_S
            self._last = lane
            if lane not in self._lanes:
                lane.served_s = max(lane.served_s, self._reached_s)
                self._lanes.add(lane)
            lane.tasks.extend(tasks)
            self._changed.notify_all()
        self._count()

    def drop(self, lane: ClientLane) -> None:
        """See ClientLane.close."""
        with self._changed:
            lane.closed = True
            dropped = list(lane.tasks)
            lane.tasks.clear()
            self._lanes.discard(lane)
        for task in dropped:
            task.future.cancel()
        self._count()

    def end(self) -> None:
        """Take no more; what waits is dropped."""
        with self._changed:
            self._ended = True
            lanes = list(self._lanes)
            self._changed.notify_all()
        for lane in lanes:
            self.drop(lane)
        for thread in self._threads:
            thread.join(timeout=60)

    def _run(self, worker: BatchWorker) -> None:
        while not self._ended:
            if not worker.tend():
                self._wait_for_the_end(_TEND_S)
                continue
            if not (batch := self._next()):
                continue
            started = time.perf_counter()
            self._do(worker, batch)
            seconds = time.perf_counter() - started
            self._metrics.batch(len(batch), seconds)
            cost = seconds / max(0.1, sum(task.seconds for task in batch))
            self._cost = cost if not self._cost else (1 - _WEIGHT) * self._cost + _WEIGHT * cost

    def _do(self, worker: BatchWorker, batch: Sequence[QueuedTask]) -> None:
        """What fails in company is tried alone: nobody fails for what another asked."""
        try:
            results = worker(batch[0].kind, [task.payload for task in batch])
        except Exception as error:
            if len(batch) > 1:
                for task in batch:
                    if task.lane.closed:  # meanwhile nobody waits for it any more
                        task.future.cancel()
                    else:
                        self._do(worker, [task])
                return
            _settle(batch[0].future.set_exception, error)
            return
        for task, result in zip(batch, results, strict=True):
            _settle(task.future.set_result, result)

    def _next(self) -> list[QueuedTask]:
        """The next batch, in order of length; none at the end, and where nothing comes for a while."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._lanes or self._ended, _TEND_S):
                return []
            if self._waiting < self._max_rows:
                self._changed.wait_for(lambda: self._ended or self._waiting >= self._max_rows, self._wait_s)
            batch = self._taken()
        self._count()
        return sorted(batch, key=lambda task: task.seconds)

    def _wait_for_the_end(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._ended, seconds)

    def _taken(self) -> list[QueuedTask]:
        """The tasks whose lanes were served least, all of one kind. Where this is all that a lane waits for, no other
        lane gets more of the batch: a long recording does not make the batch of a short one long."""
        batch: list[QueuedTask] = []
        shares: dict[ClientLane, float] = {}
        is_shared = bool(self._cost) and time.monotonic() < self._shared_until
        most = longest = _SHARE_S / self._cost if is_shared else float("inf")
        dry, rows = 0.0, self._rows()
        while len(batch) < rows:
            ready = [
                lane
                for lane in self._lanes
                if shares.get(lane, 0.0) < most and (not batch or lane.tasks[0].kind == batch[0].kind)
            ]
            if not ready:
                break
            lane = min(ready, key=lambda one: one.served_s)
            task = lane.tasks.popleft()
            batch.append(task)
            self._reached_s = max(self._reached_s, lane.served_s)
            lane.served_s += task.seconds
            shares[lane] = shares.get(lane, 0.0) + task.seconds
            if not lane.tasks:
                self._lanes.discard(lane)
                dry = max(dry, shares[lane])
                most = min(longest, dry)
        for lane in shares:
            lane.batches += batch[0].kind == DECODE
        return batch

    def _rows(self) -> int:
        """At most this many."""
        alone = next(iter(self._lanes)) if len(self._lanes) == 1 else None
        if alone is None or alone.tasks[0].kind != DECODE:
            return self._max_rows
        return min(self._max_rows, _FIRST_ROWS << min(alone.batches, _DOUBLED))

    @property
    def _waiting(self) -> int:
        return sum(len(lane.tasks) for lane in self._lanes)

    def _count(self) -> None:
        with self._changed:
            self._metrics.waiting(self._waiting)


def _settle(settle: Callable[[Any], None], value: Any) -> None:
    try:
        settle(value)
    except InvalidStateError:  # cancelled meanwhile
        return
