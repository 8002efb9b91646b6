"""The tokens that would close a loop, against the definition written out; the text's definition is tested with the
metric."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import example, given

from dragoman.text.repetition import TIMES, has_loop, loop_completions


@given(st.lists(st.integers(0, 2), max_size=24))
@example([1, 2, 1, 2, 1, 2, 1])
def test_what_would_stand_four_times_with_one_token_more(ids: list[int]) -> None:
    found = {
        tuple(tail)
        for token in range(3)
        for size in range(1, len(ids) + 1)
        if len(tail := [*ids, token][-TIMES * size :]) == TIMES * size and tail == tail[:size] * TIMES
    }
    assert {tuple(run) for run in loop_completions(ids)} == found


def test_people_repeat_themselves_without_looping() -> None:
    for text in ("No, no, no, no.", "Tom, Tom, Tom!", "ha ha ha ha ha", "I know, I know, I know.", "1000000000"):
        assert not has_loop(text)
    for text in ("no no no no no no no no", "I know, I know, I know, I know,", "谢谢你的谢谢你的" * 4, "ha" * 12):
        assert has_loop(text)
