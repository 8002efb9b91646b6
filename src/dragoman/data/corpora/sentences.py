"""Tatoeba's sentences as text alone, for stages that teach the LLM to translate before it hears anything.

Everyday sentences are short, speech is not: a share of the rows are several sentences one after the other, whose
translations are joined likewise.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dragoman.data.corpora.parts import Corpus
from dragoman.data.corpora.tatoeba import (
    CREDITS_FILE,
    DEV_FILE,
    TRAIN_FILES,
    SeenTexts,
    Sentence,
    hold_out,
    merge,
    read_sentences,
)
from dragoman.data.synthesis import generator
from dragoman.errors import DataError
from dragoman.files import written
from dragoman.records import Utterance, write_rows

CORPUS = Corpus(
    name="sentences",
    title="Tatoeba: everyday sentences as text alone",
    citation="Tatoeba, https://tatoeba.org; the authors of the sentences are named in CREDITS.txt.",
    licence="CC BY 2.0 FR (others too with --all_licences)",
    homepage="https://tatoeba.org",
    languages=("eng", "deu", "fra", "nld", "jpn", "cmn", "ind", "kor", "yue", "vie", "tha"),
    how="dragoman prepare sentences --root tatoeba --languages eng,deu,fra --out data",
)
_MOST_JOINED = 5


def prepare(
    root: Path,
    out: Path,
    languages: Sequence[str],
    *,
    licensed_only: bool = True,
    valid_sentences: int = 300,
    joined: float = 0.3,
    seed: int = 1,
) -> dict[str, int]:
    """Write `text.jsonl` and `text.valid.jsonl` into `out`: a row for each language that a sentence has, English among
    them, with its translations into the others. Returns the number of rows of each.

    `joined`: share of the rows that hold 2 to 5 sentences. `licensed_only`: English and translations flagged `m`.
    Nothing of the corpus's dev.jsonl comes in. Raises DataError.
    """
    if "eng" not in languages or len(languages) < 2:
        raise DataError("--languages: name eng and at least one other language.")
    out.mkdir(parents=True, exist_ok=True)
    sentences = merge(row for name in TRAIN_FILES for row in read_sentences(root / name, languages, licensed_only))
    several = [sentence for sentence in sentences if len(sentence.texts) > 1]
    dev = SeenTexts(read_sentences(root / DEV_FILE, languages, licensed_only=False))
    train, valid = hold_out(dev.without(several), valid_sentences, seed)
    counts = {}
    for name, chosen in (("text", train), ("text.valid", valid)):
        rows = list(_rows(chosen, languages, joined, seed))
        write_rows(out / f"{name}.jsonl", rows)
        counts[name] = len(rows)
    with written(out / CREDITS_FILE):
        shutil.copyfile(root / CREDITS_FILE, out / CREDITS_FILE)
    return counts


def _rows(sentences: Sequence[Sentence], languages: Sequence[str], joined: float, seed: int) -> Iterator[Utterance]:
    for code in languages:
        random = generator(seed, "joined", code)
        spoken = [sentences[at] for at in random.permutation(len(sentences)) if code in sentences[at].texts]
        spoken.sort(key=lambda sentence: sorted(sentence.texts))  # neighbours have the same languages
        groups = list(_groups(spoken, joined, random))
        for number in random.permutation(len(groups)):
            yield _row(groups[number], code, random)


def _groups(sentences: Sequence[Sentence], joined: float, random: np.random.Generator) -> Iterator[list[Sentence]]:
    at = 0
    while at < len(sentences):
        # a group of n uses n sentences up, so groups are drawn less often than rows are joined
        size = int(random.integers(2, _MOST_JOINED + 1)) if random.random() < joined else 1
        group = list(sentences[at : at + size])
        at += size
        if len(_common(group)) > 1:
            yield group
        else:
            yield from ([one] for one in group)


def _common(group: Sequence[Sentence]) -> set[str]:
    return set.intersection(*(set(sentence.texts) for sentence in group))


def _row(group: Sequence[Sentence], code: str, random: np.random.Generator) -> Utterance:
    texts = {
        other: " ".join(str(random.choice(sentence.texts[other])) for sentence in group)
        for other in group[0].texts
        if other in _common(group)
    }
    text = texts.pop(code)
    return Utterance(
        id="+".join(sentence.id for sentence in group) + f"-{code}", language=code, text=text, translations=texts
    )
