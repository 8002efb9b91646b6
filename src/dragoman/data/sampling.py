"""Which rows make up step n: a function of seed and step alone, so that a resumed run sees what it would have seen.

Each epoch is a new permutation, cut into batches of neighbours in length (little padding), the batches shuffled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
# Batches whose rows are sorted by length together: more packs tighter, fewer keeps the neighbours more random.
_BATCHES_PER_BUCKET = 64


def epoch_batches(lengths: Sequence[int], batch: int, seed: int, epoch: int) -> list[Rows]:
    """Every row once, in batches of `batch` rows of like length (the last of the epoch may be smaller)."""
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    length = np.asarray(lengths)
    batches: list[Rows] = []
    for start in range(0, len(order), batch * _BATCHES_PER_BUCKET):
        bucket = order[start : start + batch * _BATCHES_PER_BUCKET]
        bucket = bucket[np.argsort(length[bucket], kind="stable")]
        batches += [bucket[at : at + batch] for at in range(0, len(bucket), batch)]
    return [batches[at] for at in random.permutation(len(batches))]


def steps_from(start: int, lengths: Sequence[int], batch: int, seed: int) -> Iterator[tuple[int, Rows]]:
    """Yield (epoch, rows) of the steps from `start` on, without end."""
    per_epoch = -(-len(lengths) // batch)
    epoch, position = divmod(start, per_epoch)
    while True:
        for rows in epoch_batches(lengths, batch, seed, epoch)[position:]:
            yield epoch, rows
        epoch, position = epoch + 1, 0


def of_rank(rows: Rows, rank: int, world: int, micro_batch: int) -> list[Rows]:
    """This process's share of a step, cut into micro-batches; the shares are disjoint and together whole."""
    share = rows[rank::world]
    return [share[at : at + micro_batch] for at in range(0, len(share), micro_batch)]


def row_random(seed: int, epoch: int, row: int) -> np.random.Generator:
    """The random numbers of one row in one epoch, whoever computes them and when."""
    return np.random.default_rng([seed, epoch, row])
