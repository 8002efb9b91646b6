"""What a thread makes ahead is what would have been made here."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from dragoman.inference.prefetch import THREAD, Prefetcher


def test_the_same_items_then_the_end_for_good() -> None:
    items = Prefetcher(iter(range(100)), 3)
    assert list(items) == list(range(100))
    assert next(items, None) is None


def test_an_error_comes_where_the_item_would_have_and_stays() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    made = Prefetcher(items(), 3)
    assert next(made) == 1
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            next(made)


def test_it_works_before_it_is_asked_and_no_further_than_it_may() -> None:
    started: list[int] = []
    made = Prefetcher((started.append(number) or number for number in range(100)), 3)
    wait_for(lambda: len(started) == 4)  # three in the queue, one in the hand
    time.sleep(0.05)
    assert len(started) == 4 and next(made) == 0


def test_the_thread_ends_when_nobody_listens() -> None:
    wait_for(lambda: num_threads() == 0)  # those of the tests before
    made = Prefetcher(iter(range(100)), 1)
    assert num_threads() == 1
    del made
    wait_for(lambda: num_threads() == 0)


def num_threads() -> int:
    return sum(thread.name == THREAD for thread in threading.enumerate())


def wait_for(condition: object) -> None:
    assert callable(condition)
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)
