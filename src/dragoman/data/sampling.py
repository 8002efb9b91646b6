"""What step n holds: a function of seed and step alone, so that a resumed run sees what it would have seen.

Each epoch is a new permutation, cut into batches of neighbours in length (little padding), the batches shuffled. Where
groups of items (languages, sources) have shares of their own, an epoch is as long as before, but a group's items come
round more or less often: each as often as any other of its group, in a new order every time round.

N items, G groups, B items of a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.integer]
# Batches whose rows are sorted by length together: more packs tighter, fewer keeps the neighbours more random.
_BATCHES_PER_BUCKET = 64


@dataclass(frozen=True)
class GroupQuotas:
    """`group` (N,) of each item, and how often each group comes: `quota` (G,) items an epoch, N in all."""

    group: Rows
    quota: Rows

    @classmethod
    def from_shares(cls, group: Rows, share: Sequence[float] | NDArray[Any]) -> GroupQuotas:
        """Groups by their share of the draws (any scale); every group comes at least once an epoch."""
        exact = len(group) * np.asarray(share) / np.sum(share)
        quota = np.maximum(np.floor(exact), 1).astype(np.int64)
        for _ in range(len(group) - int(quota.sum())):  # fewer than G
            quota[np.argmax(exact - quota)] += 1
        for _ in range(int(quota.sum()) - len(group)):  # tiny groups were given one each
            quota[np.argmax(quota)] -= 1
        return cls(group, quota)

    def epoch(self, seed: int, epoch: int) -> tuple[Rows, Rows]:
        """(N,) each: the items of an epoch, group by group, and how often each has come before."""
        by_group = np.argsort(self.group, kind="stable").astype(np.int32)
        items, visits = [], []
        for group, members in enumerate(np.split(by_group, np.cumsum(np.bincount(self.group))[:-1])):
            start = epoch * int(self.quota[group])
            stop = start + int(self.quota[group])
            for visit in range(start // len(members), -(-stop // len(members))):
                order = np.random.default_rng([seed, group, visit, 0]).permutation(members)
                first = visit * len(members)
                items.append(order[max(start - first, 0) : stop - first])
                visits.append(np.full(len(items[-1]), visit, np.int32))
        return np.concatenate(items), np.concatenate(visits)


def epoch_batches(
    lengths: Sequence[int] | Rows, batch: int, seed: int, epoch: int, shard: Rows | None = None, shards_at_once: int = 1
) -> list[Rows]:
    """Every row once, in batches of `batch` rows of like length (the last of the epoch may be smaller).

    With `shard` (N,), the rows of this many shards come together, shards in a random order; rows are shuffled among
    them.
    """
    random = np.random.default_rng([seed, epoch])
    length = np.asarray(lengths)
    order = np.arange(len(length), dtype=np.int32)
    random.shuffle(order)
    if shard is not None:
        names, number = np.unique(shard, return_inverse=True)
        turn = random.permutation(len(names))[number] // shards_at_once
        order = order[np.argsort(turn[order], kind="stable")]
    batches: list[Rows] = []
    for start in range(0, len(order), batch * _BATCHES_PER_BUCKET):
        bucket = order[start : start + batch * _BATCHES_PER_BUCKET]
        bucket = bucket[np.argsort(length[bucket], kind="stable")]
        cut = [bucket[at : at + batch] for at in range(0, len(bucket), batch)]
        batches += cut if shard is None else [cut[at] for at in random.permutation(len(cut))]
    return batches if shard is not None else [batches[at] for at in random.permutation(len(batches))]


class Step(NamedTuple):
    """The items of a step (B,) and how often each has come before (B,): its own epoch, so to say."""

    item: Rows
    visit: Rows

    def share(self, rank: int, world: int) -> Step:
        """One process's items; the shares are disjoint and together whole."""
        return Step(self.item[rank::world], self.visit[rank::world])

    def cut(self, size: int) -> list[Step]:
        """In micro-batches of at most `size` items; none where there are none."""
        return [Step(self.item[at : at + size], self.visit[at : at + size]) for at in range(0, len(self.item), size)]


@dataclass(frozen=True)
class StepSampler:
    """The steps of a run: B = `batch` of N items with `lengths` (N,), each item once an epoch or by `shares`; `shard`
    (N,) and `shards_at_once` as in `epoch_batches`."""

    lengths: Sequence[int] | Rows
    batch: int
    seed: int
    shares: GroupQuotas | None = None
    shard: Rows | None = None
    shards_at_once: int = 1

    def steps(self, start: int) -> Iterator[Step]:
        """The steps from `start` on, without end."""
        epoch, position = divmod(start, -(-len(self.lengths) // self.batch))
        while True:
            yield from islice(self._epoch(epoch), position, None)
            epoch, position = epoch + 1, 0

    def step(self, number: int) -> Step:
        """The step of a number, counted from 1."""
        return next(self.steps(number - 1))

    def _epoch(self, epoch: int) -> Iterator[Step]:
        if self.shares is None:
            for rows in epoch_batches(self.lengths, self.batch, self.seed, epoch, self.shard, self.shards_at_once):
                yield Step(rows, np.full(len(rows), epoch))
            return
        items, visits = self.shares.epoch(self.seed, epoch)
        shard = None if self.shard is None else self.shard[items]
        lengths = np.asarray(self.lengths)[items]
        for at in epoch_batches(lengths, self.batch, self.seed, epoch, shard, self.shards_at_once):
            yield Step(items[at], visits[at])


def row_random(seed: int, epoch: int, row: int) -> np.random.Generator:
    """The random numbers of one row in one epoch, whoever computes them and when."""
    return np.random.default_rng([seed, epoch, row])
