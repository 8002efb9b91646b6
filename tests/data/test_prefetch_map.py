"""Batches made ahead are those made here and now; what stops a worker is one sentence, not an endless wait."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from dragoman.data.prefetch import prefetch_map, workers_watched
from dragoman.errors import DataError, DragomanError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="workers inherit a limit of this process")


@pytest.mark.parametrize("workers", [0, 2])
def test_made_ahead_keeps_the_order_and_leaves_random_numbers_alone(workers: int) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    made = list(prefetch_map(_made, iter(range(9)), workers))
    assert [(number, tensor.tolist()) for number, tensor in made] == [(n, [n, n * n]) for n in range(9)]
    assert torch.equal(torch.rand(3), expected)


def test_a_worker_that_is_killed_is_one_sentence() -> None:
    with (
        pytest.raises(DragomanError, match="perhaps because memory ran out; go on with fewer --workers"),
        workers_watched(),
    ):
        list(prefetch_map(_killed_at_3, iter(range(9)), 1))


def test_too_little_shared_memory_is_one_sentence(full_disk: None) -> None:
    with pytest.raises(DragomanError, match=r"/dev/shm.*--shm-size=8g.*--workers 0"), workers_watched():
        list(prefetch_map(torch.zeros, iter([10, 100_000]), 1))


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_arrive_as_they_are(workers: int) -> None:
    with pytest.raises(DataError, match=r"^row 2 is wrong$"):
        list(prefetch_map(_wrong_at_2, iter(range(4)), workers))
    with pytest.raises(FileNotFoundError) as error:
        list(prefetch_map(os.stat, iter(["nowhere"]), workers))
    assert error.value.filename == "nowhere" and "Traceback" not in str(error.value)


def _made(number: int) -> tuple[int, torch.Tensor]:
    return number, torch.tensor([number, number**2])


def _killed_at_3(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def _wrong_at_2(number: int) -> int:
    if number == 2:
        raise DataError("row 2 is wrong")
    return number
