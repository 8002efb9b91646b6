"""What a loop is, in what a model wrote: one definition for the guard in decoding and for the metric."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

TIMES = 4
"""So often a piece stands back to back in a loop."""

# Five characters or more, four times back to back. A loop of a shorter unit (ha ha ha) is one of its multiples.
_LOOP = re.compile(rf"(.{{5,200}}?)\1{{{TIMES - 1}}}", re.DOTALL)


def has_loop(text: str) -> bool:
    """Whether a text holds a loop: a piece of 5 to 200 characters that stands four times or more back to back, case
    and width of white space aside."""
    # The space at the end makes the last word of a loop equal to the others.
    return _LOOP.search(" ".join(text.casefold().split()) + " ") is not None


def loop_completions(ids: Sequence[int]) -> Iterator[list[int]]:
    """The pieces that stand at the end of a sequence four times but for the last token: each as it would be with that
    token, four times over. Whether it is a loop, its text says."""
    for size in range(1, (len(ids) + 1) // TIMES + 1):
        whole = TIMES * size - 1
        if ids[len(ids) - whole + size :] == ids[len(ids) - whole : len(ids) - size]:
            yield [*ids[len(ids) - whole :], ids[-size]]
