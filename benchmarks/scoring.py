"""BLEU and chrF of many directions on several processes, against a plain loop over sacreBLEU."""

from __future__ import annotations

import argparse
import itertools
import math
import sys

import numpy as np

# What is imported here, the processes that score import as well: so no torch, which `common` needs for models.
from dragoman.evaluation.metrics import METRICS
from dragoman.evaluation.score import score
from dragoman.parallel import cores
from dragoman.records import Hypothesis
from dragoman.text.languages import LANGUAGES, SETS


def main() -> None:
    from common import compare

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--languages", type=int, default=15, help="15 are 210 directions")
    parser.add_argument("--sentences", type=int, default=1000, help="in each direction")
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    rows = hypotheses(options.languages, options.sentences)
    directions = len({(row.source, row.target) for row in rows})
    print(f"{len(rows)} hypotheses, {options.workers} processes", file=sys.stderr)
    chosen = {name: METRICS[name] for name in ("BLEU", "chrF")}
    compare(
        f"{directions} directions of {options.sentences} hypotheses",
        lambda: score(rows, chosen, workers=options.workers),
        {"a plain loop over sacreBLEU": lambda: plain(rows)},
        options.repeats,
        warm_ups=0,  # minutes, of which starting is nothing
    )


def hypotheses(languages: int, sentences: int) -> list[Hypothesis]:
    """N-way: about 22 words a sentence, as in FLEURS; one word in four is another, one in twelve left out."""
    random = np.random.default_rng(0)
    codes = list(SETS["fleurs-102"])[:languages]
    texts = {code: [_sentence(random, LANGUAGES[code].uses_spaces) for _ in range(sentences)] for code in codes}
    return [
        Hypothesis(
            id=f"{source}-{number}",
            source=source,
            target=target,
            translation=_spoilt(random, words, LANGUAGES[target].uses_spaces),
            reference=_joined(words, LANGUAGES[target].uses_spaces),
        )
        for source, target in itertools.permutations(codes, 2)
        for number, words in enumerate(texts[target])
    ]


def plain(rows: list[Hypothesis]) -> list[float]:
    import sacrebleu

    groups: dict[tuple[str, str], list[Hypothesis]] = {}
    for row in rows:
        groups.setdefault((row.source, row.target), []).append(row)
    values = []
    for (_, target), group in groups.items():
        texts, references = [row.translation for row in group], [[row.reference or "" for row in group]]
        tokenizer = LANGUAGES[target].bleu_tokenizer
        values.append(sacrebleu.corpus_bleu(texts, references, tokenize=tokenizer).score)
        values.append(sacrebleu.corpus_chrf(texts, references).score)
    return values


def _sentence(random: np.random.Generator, spaced: bool) -> list[str]:
    """Words by their rank in a language of 20,000, drawn by Zipf's law; a comma or two, and a full stop."""
    ranks = 20_000 ** random.random(max(3, round(random.normal(22, 7))))
    words = [_word(int(rank), spaced) for rank in ranks]
    for at in random.integers(0, len(words) - 1, size=2):
        words[at] = words[at].rstrip(",") + ","
    return [*words[:-1], words[-1] + "."]


def _word(rank: int, spaced: bool) -> str:
    """Rarer words are longer."""
    alphabet = "etaonirshldcumfpgwybvkxjqz" if spaced else "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
    length = 2 + min(8, round(1.5 * math.log10(rank) + 1)) if spaced else 1 + (rank > 20)
    number = rank * 2654435761 % 2**32
    return "".join(alphabet[(number >> 3 * place) % len(alphabet)] for place in range(length))


def _spoilt(random: np.random.Generator, words: list[str], spaced: bool) -> str:
    chance = random.random(len(words))
    others = _sentence(random, spaced)
    wrong = (
        others[at % len(others)] if p < 1 / 3 else word for at, (word, p) in enumerate(zip(words, chance, strict=True))
    )
    return _joined([word for word, p in zip(wrong, chance, strict=True) if p > 1 / 12], spaced)


def _joined(words: list[str], spaced: bool) -> str:
    return (" " if spaced else "").join(words)


if __name__ == "__main__":
    main()
