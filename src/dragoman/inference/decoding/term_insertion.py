"""How terms of a glossary are brought into translations that would do without them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from dragoman.inference.decoding.constraints import Wish
from dragoman.inference.decoding.generate import Output
from dragoman.inference.decoding.phrases import occurs

_PLACES = 4
"""So many places are tried for a term."""


def with_terms(
    write: Callable[[Sequence[int], Sequence[Sequence[Wish]]], list[Output]],
    wishes: Sequence[Sequence[Wish]],
    terms: Sequence[tuple[str, ...]],
    codes: Sequence[str],
) -> list[Output]:
    """Rows written with their terms in them; `write` searches rows (by number, with wishes), `wishes` has one for each
    of `terms`, `codes` the language of each row.

    A term that a translation lacks is put in at one place after the other, those where its beginning loses least
    against what stands there; what is likeliest as a whole is kept. A further term can only come behind.
    """
    wished = list(wishes)
    found = write(range(len(wished)), wished)
    for _ in range(max(map(len, terms), default=0)):
        tries = [
            (at, tried)
            for at, output in enumerate(found)
            for lacking in missed(terms[at], output.text, codes[at])
            for tried in _placed(wished[at], terms[at].index(lacking), output)
        ]
        again = write([at for at, _ in tries], [tried for _, tried in tries])
        best: dict[int, tuple[tuple[int, float], int]] = {}
        for number, ((at, _), output) in enumerate(zip(tries, again, strict=True)):
            rank = (-len(missed(terms[at], output.text, codes[at])), output.told.log_prob)
            if not output.truncated and not output.told.looped:
                best[at] = max(best.get(at, (rank, number)), (rank, number))
        for at, (rank, number) in best.items():
            if -rank[0] < len(missed(terms[at], found[at].text, codes[at])):
                found[at], wished[at] = again[number], tries[number][1]
    return found


def missed(terms: tuple[str, ...], text: str, code: str) -> tuple[str, ...]:
    """Those that are not in the text, which is in the language `code`."""
    return tuple(term for term in terms if not occurs(term, text, code))


def _placed(wishes: Sequence[Wish], number: int, output: Output) -> Iterator[list[Wish]]:
    """The wishes, one of them set to a place: each of the _PLACES best, which are behind those that have theirs."""
    free = 1 + max((wish.at for wish in wishes if wish.at is not None), default=-1)
    losses = output.told.losses[number][:-1]  # the end stays the end
    places = sorted((loss, at) for at, loss in enumerate(losses) if at >= free and loss < math.inf)
    for _, at in places[:_PLACES]:
        yield [replace(wish, at=at) if one == number else wish for one, wish in enumerate(wishes)]
