"""Rows are looked at one by one only where a loop may close; where one does, they always are."""

from __future__ import annotations

import random

import torch

from dragoman.inference.decoding.constraints import may_close_loop
from dragoman.text.repetition import loop_completions


def test_no_loop_is_overlooked_and_few_rows_are_looked_at_in_vain() -> None:
    draw = random.Random(0)
    closing = looked_at = 0
    for length in (*range(1, 40), 90):
        rows = [[draw.randrange(3) for _ in range(length)] for _ in range(40)]
        rows += [(row[: draw.randrange(1, 9)] * length)[:length] for row in rows]  # loops, at every place
        found = may_close_loop(torch.tensor(rows)).tolist()
        expected = [any(True for _ in loop_completions(row)) for row in rows]
        assert not [row for row, one, other in zip(rows, found, expected, strict=True) if other and not one]
        closing, looked_at = closing + sum(expected), looked_at + sum(found)
    assert closing > 100 and looked_at < 2 * closing


def test_what_stood_there_before_may_begin_a_loop_too() -> None:
    """On the left are fewer tokens of some rows: what fills them is part of no loop."""
    padded = torch.tensor([[-1, -1, 5, 5], [5, 5, 5, 5], [-1, 5, 6, 5]])
    assert may_close_loop(padded).tolist() == [False, True, False]
