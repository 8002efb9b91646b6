"""Processes change nothing but the time that it takes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from dragoman.errors import DragomanError
from dragoman.parallel import as_finished, counted, in_order, single_threaded

NUMBERS = range(-20, 20)


@pytest.mark.parametrize("workers", [1, 2])
def test_each_job_is_done_once(workers: int) -> None:
    expected = [abs(number) for number in NUMBERS]
    assert list(in_order(abs, NUMBERS, workers, start=single_threaded)) == expected
    assert sorted(as_finished(abs, NUMBERS, workers)) == sorted(expected)


def test_a_long_queue_is_not_read_before_it_is_needed() -> None:
    read: list[int] = []
    jobs = (read.append(number) or number for number in range(1000))  # type: ignore[func-returns-value]
    results = in_order(abs, jobs, 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2] and len(read) < 20
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("each", [in_order, as_finished])
def test_a_process_that_dies_is_one_sentence(each: Callable[..., Iterator[None]]) -> None:
    with pytest.raises(DragomanError, match="fewer --workers"):
        list(each(os._exit, [1, 1], 2))
    with pytest.raises(DragomanError, match=r"^It died\.$"):
        list(each(os._exit, [1, 1], 2, lost="It died."))


def test_results_are_counted_as_they_come() -> None:
    told: list[tuple[int, int]] = []
    results = counted(iter("ab"), 2, lambda *numbers: told.append(numbers))
    assert next(results) == "a" and told == [(1, 2)]
    assert list(results) == ["b"] and told == [(1, 2), (2, 2)]
