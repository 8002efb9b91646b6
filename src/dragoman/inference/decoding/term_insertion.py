"""How terms of a glossary are brought into translations that would do without them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from dragoman.inference.decoding.constraints import PhraseBias
from dragoman.inference.decoding.generate import GeneratedText
from dragoman.inference.decoding.phrases import occurs

_PLACES = 4
"""This many places are tried for a term."""


def insert_terms(
    write: Callable[[Sequence[int], Sequence[Sequence[PhraseBias]]], list[GeneratedText]],
    phrase_biases: Sequence[Sequence[PhraseBias]],
    terms: Sequence[tuple[str, ...]],
    codes: Sequence[str],
) -> list[GeneratedText]:
    """Rows written with their terms in them; `write` searches rows (by number, with phrase biases), `phrase_biases` has
    one for each of `terms`, `codes` the language of each row.

    A term that a translation lacks is put in at one place after the other, those where its beginning loses least
    against what stands there; what is likeliest as a whole is kept. A further term can only come behind.
    """
    biases = list(phrase_biases)
    found = write(range(len(biases)), biases)
    for _ in range(max(map(len, terms), default=0)):
        tries = [
            (at, tried)
            for at, output in enumerate(found)
            for lacking in missing_terms(terms[at], output.text, codes[at])
            for tried in _placements(biases[at], terms[at].index(lacking), output)
        ]
        again = write([at for at, _ in tries], [tried for _, tried in tries])
        best: dict[int, tuple[tuple[int, float], int]] = {}
        for number, ((at, _), output) in enumerate(zip(tries, again, strict=True)):
            rank = (-len(missing_terms(terms[at], output.text, codes[at])), output.stats.log_prob)
            if not output.truncated and not output.stats.looped:
                best[at] = max(best.get(at, (rank, number)), (rank, number))
        for at, (rank, number) in best.items():
            if -rank[0] < len(missing_terms(terms[at], found[at].text, codes[at])):
                found[at], biases[at] = again[number], tries[number][1]
    return found


def missing_terms(terms: tuple[str, ...], text: str, code: str) -> tuple[str, ...]:
    """Those that are not in the text, which is in the language `code`."""
    return tuple(term for term in terms if not occurs(term, text, code))


def _placements(phrase_biases: Sequence[PhraseBias], number: int, output: GeneratedText) -> Iterator[list[PhraseBias]]:
    """The phrase biases, one of them set to a place: each of the _PLACES best, which are behind those that have
    theirs."""
    free = 1 + max((phrase_bias.at for phrase_bias in phrase_biases if phrase_bias.at is not None), default=-1)
    losses = output.stats.losses[number][:-1]  # the end stays the end
    places = sorted((loss, at) for at, loss in enumerate(losses) if at >= free and loss < math.inf)
    for _, at in places[:_PLACES]:
        yield [
            replace(phrase_bias, at=at) if one == number else phrase_bias
            for one, phrase_bias in enumerate(phrase_biases)
        ]
