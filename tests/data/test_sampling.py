"""Every row once an epoch, in an order of its own; any step is where an earlier start would have come."""

from __future__ import annotations

from itertools import islice

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.data.sampling import GroupQuotas, Step, StepSampler, epoch_batches, row_random

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=60)
BATCH = st.integers(1, 9)
SEED = st.integers(0, 5)


@given(LENGTHS, BATCH, SEED, st.integers(0, 9))
def test_every_row_once_an_epoch(lengths: list[int], batch: int, seed: int, epoch: int) -> None:
    batches = epoch_batches(lengths, batch, seed, epoch)
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    assert sorted(map(len, batches), reverse=True)[:-1] == [batch] * (len(batches) - 1)
    assert len(batches) == -(-len(lengths) // batch)


def test_no_epoch_repeats_an_order_and_neighbours_are_alike_in_length() -> None:
    lengths = list(np.random.default_rng(0).integers(100, 1000, 400))
    orders = {tuple(np.concatenate(epoch_batches(lengths, 8, 0, epoch))) for epoch in range(20)}
    assert len(orders) == 20
    spreads = [np.ptp(np.array(lengths)[rows]) for rows in epoch_batches(lengths, 8, 0, 0)]
    assert np.mean(spreads) < 50  # 700 where the rows of a batch are drawn at random


@given(LENGTHS, BATCH, SEED, st.integers(0, 40))
def test_a_later_start_continues_an_earlier_one(lengths: list[int], batch: int, seed: int, start: int) -> None:
    order = StepSampler(lengths, batch, seed)
    whole = list(islice(order.steps(0), start + 5))
    for step, again in zip(whole[start:], islice(order.steps(start), 5), strict=True):
        assert step.item.tolist() == again.item.tolist() and step.visit.tolist() == again.visit.tolist()


@given(st.integers(0, 40), st.integers(1, 8), st.integers(1, 5))
def test_ranks_share_a_step_and_lose_nothing(size: int, world: int, micro_batch: int) -> None:
    rows = np.random.default_rng(size).permutation(size)
    step = Step(rows, rows + 100)
    shares = [step.share(rank, world).cut(micro_batch) for rank in range(world)]
    assert sorted(int(row) for share in shares for part in share for row in part.item) == list(range(size))
    assert all(1 <= len(part.item) <= micro_batch for share in shares for part in share)
    assert all((part.visit == part.item + 100).all() for share in shares for part in share)
    sizes = [sum(len(part.item) for part in share) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    (one,) = step.share(0, 1).cut(64) or [step]
    assert one.item.tolist() == rows.tolist()


def test_one_process_of_eight_is_eight_of_one() -> None:
    lengths = [100 + number % 37 for number in range(200)]
    order = StepSampler(lengths, 16, 1)
    alone = [step.item for step in islice(order.steps(3), 20)]
    for number, rows in enumerate(alone):
        ranks = [list(islice(order.steps(3), 20))[number] for _ in range(2)]
        shares = [ranks[rank % 2].share(rank, 8).item for rank in range(8)]
        together = np.stack([np.pad(share, (0, 2 - len(share)), constant_values=-1) for share in shares], 1)
        assert [row for row in together.flatten().tolist() if row >= 0] == rows.tolist()


def test_a_rows_random_numbers_are_its_own() -> None:
    drawn = {
        tuple(row_random(seed, epoch, row).integers(1000, size=4))
        for seed in (0, 1)
        for epoch in (0, 1)
        for row in (0, 1)
    }
    assert len(drawn) == 8
    assert row_random(1, 2, 3).random() == row_random(1, 2, 3).random()


GROUPS = st.lists(st.integers(1, 12), min_size=1, max_size=5)


@given(GROUPS, st.data(), SEED)
def test_shares_hold_in_every_epoch_and_items_of_a_group_come_equally_often(
    sizes: list[int], data: st.DataObject, seed: int
) -> None:
    share = data.draw(st.lists(st.floats(0.01, 9), min_size=len(sizes), max_size=len(sizes)))
    group = np.repeat(np.arange(len(sizes)), sizes)
    shares = GroupQuotas.from_shares(group, share)
    count = len(group)
    assert shares.quota.sum() == count and (shares.quota >= 1).all()
    exact = count * np.array(share) / np.sum(share)
    if (exact >= 1).all():
        assert (abs(shares.quota - exact) < 1).all()
    times = np.zeros(count, int)
    for epoch in range(4):
        items, visits = shares.epoch(seed, epoch)
        assert np.bincount(group[items], minlength=len(sizes)).tolist() == shares.quota.tolist()
        for item, visit in zip(items.tolist(), visits.tolist(), strict=True):
            assert times[item] == visit  # nothing comes again before all of its group have come
            times[item] += 1
    for number in range(len(sizes)):
        assert np.ptp(times[group == number]) <= 1


def test_shares_as_they_are_give_every_item_once_an_epoch() -> None:
    group = np.array([0, 1, 1, 2, 0, 1])
    shares = GroupQuotas.from_shares(group, [2, 3, 1])
    for epoch in range(3):
        items, visits = shares.epoch(1, epoch)
        assert sorted(items) == list(range(6)) and set(visits) == {epoch}


@settings(max_examples=40)
@given(GROUPS, BATCH, SEED, st.integers(0, 30), st.booleans(), st.integers(1, 8))
def test_with_shares_and_shards_too_a_later_start_continues_an_earlier_one_and_ranks_share(
    sizes: list[int], batch: int, seed: int, start: int, in_shards: bool, world: int
) -> None:
    group = np.repeat(np.arange(len(sizes)), sizes)
    lengths = np.random.default_rng(seed).integers(1, 300, len(group))
    shares = GroupQuotas.from_shares(group, np.array(sizes) ** 0.5)
    order = StepSampler(lengths, batch, seed, shares, np.arange(len(group)) // 3 if in_shards else None, 2)
    whole, later = list(islice(order.steps(0), start + 5)), list(islice(order.steps(start), 5))
    for one, other in zip(whole[start:], later, strict=True):
        assert one.item.tolist() == other.item.tolist() and one.visit.tolist() == other.visit.tolist()
        parts = [one.share(rank, world) for rank in range(world)]
        pairs = sorted((int(i), int(v)) for part in parts for i, v in zip(part.item, part.visit, strict=True))
        assert pairs == sorted(zip(one.item.tolist(), one.visit.tolist(), strict=True))
        assert len(set(pairs)) == len(pairs)
