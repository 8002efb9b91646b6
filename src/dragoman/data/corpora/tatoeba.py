"""Tatoeba: everyday sentences in many languages, narrowed to a domain and spoken by espeak-ng.

Layout of the root (written by others; see the README beside it): `train.multi.jsonl.gz`,
`extra.bitext.jsonl.gz` and `dev.jsonl`, one JSON object a line: `id`, `eng` (a string), each other language
(a list of variants) and `src`, which says where each translation came from. English and the translations
flagged `m` come under CC-BY 2.0 FR; the others are left out. `CREDITS.txt` names the authors.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice, product
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from dragoman.data.corpora.parts import Corpus
from dragoman.data.synthesis import (
    EspeakVoice,
    SpokenLine,
    gather,
    generator,
    into_shards,
    record,
)
from dragoman.errors import DataError
from dragoman.files import written
from dragoman.progress import OnProgress, no_progress
from dragoman.recipe import TatoebaConfig
from dragoman.records import Utterance, read_rows, write_rows

CORPUS = Corpus(
    name="tatoeba",
    title="Tatoeba: everyday sentences, spoken by espeak-ng",
    citation="Tatoeba, https://tatoeba.org; the authors of the sentences are named in CREDITS.txt.",
    licence="CC BY 2.0 FR (the sentences)",
    homepage="https://tatoeba.org",
    languages=("eng", "deu", "fra", "nld"),
    how="dragoman prepare tatoeba --root tatoeba --noise noise --out data/tiny",
)
TRAIN_FILES = ("train.multi.jsonl.gz", "extra.bitext.jsonl.gz")
DEV_FILE = "dev.jsonl"
CREDITS_FILE = "CREDITS.txt"
SPLITS = ("train", "valid", "dev")
LICENSED = "m"
"""The flag of translations whose CC-BY 2.0 FR licence travels with them."""
MAX_CLIPS_PER_TEXT = 4
CLIPS_PER_SHARD = 500

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
_TYPOGRAPHY = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "\u200b": None, "\ufeff": None, "\u00ad": None})


class Sentence(BaseModel):
    """One sentence in several languages: ISO 639-3 code -> variants, English first."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: str = Field(min_length=1)
    texts: dict[str, tuple[str, ...]]


# ---------------------------------------------------------------------------------------------- reading


def normalize(text: str) -> str:
    """NFC, every run of Unicode spaces one space, trimmed, typographic apostrophes plain."""
    return " ".join(unicodedata.normalize("NFC", text).translate(_TYPOGRAPHY).split())


def words(text: str) -> list[str]:
    """The lower-cased words: letters with apostrophes inside; a hyphen parts two words."""
    return _WORD.findall(text.lower())


def read_sentences(path: Path, languages: Collection[str], licensed_only: bool = True) -> Iterator[Sentence]:
    """Yield the rows of one file of the root, normalised, in these languages.

    Raises DataError for a file that is missing and for a line that is not such a row.
    """
    opener = cast("Callable[..., IO[str]]", gzip.open if path.suffix == ".gz" else open)
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                yield _to_sentence(f"{path}:{number}", line, languages, licensed_only)
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read ({error}); name the folder that holds it.") from error


def _to_sentence(where: str, line: str, languages: Collection[str], licensed_only: bool) -> Sentence:
    try:
        row: dict[str, Any] = json.loads(line)
        texts: dict[str, tuple[str, ...]] = {"eng": (normalize(row["eng"]),)}
        for code in languages:
            if code != "eng" and code in row and (LICENSED in row["src"].get(code, "") or not licensed_only):
                texts[code] = _unique(normalize(text) for text in row[code])
        return Sentence(id=row["id"], texts=texts)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{where}: not a Tatoeba row ({error!r}); see the module's description.") from error


def merge(sentences: Iterable[Sentence]) -> list[Sentence]:
    """Unite sentences whose English is the same; the first one's id stays."""
    merged: dict[str, Sentence] = {}
    for sentence in sentences:
        english = sentence.texts["eng"][0]
        merged[english] = _unite(merged[english], sentence) if english in merged else sentence
    return list(merged.values())


def _unite(first: Sentence, second: Sentence) -> Sentence:
    codes = [*first.texts, *(code for code in second.texts if code not in first.texts)]
    both = {code: _unique((*first.texts.get(code, ()), *second.texts.get(code, ()))) for code in codes}
    return Sentence(id=first.id, texts=both)


def _unique(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


# ------------------------------------------------------------------------------------------- the domain


class TextDomain:
    """Short texts of frequent words; `in` tells whether (language, text) is one of them."""

    def __init__(self, sentences: Iterable[Sentence], max_words: int, vocabulary: int) -> None:
        """Count the words of the texts of at most `max_words` words; keep the `vocabulary` most frequent."""
        self.max_words = max_words
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for code, text in ((code, text) for sentence in sentences for code, text in _texts(sentence)):
            if len(found := words(text)) <= max_words:
                counts[code].update(found)
        self.vocabulary = {code: _most_frequent(count, vocabulary) for code, count in counts.items()}

    def __contains__(self, item: tuple[str, str]) -> bool:
        code, text = item
        found = words(text)
        known = self.vocabulary.get(code, frozenset())
        return 1 <= len(found) <= self.max_words and known.issuperset(found) and not _has_signs(text)

    def narrow(self, sentence: Sentence) -> Sentence | None:
        """Drop the texts outside the domain; None unless English and one more language are left."""
        inside = {
            code: kept
            for code, variants in sentence.texts.items()
            if (kept := tuple(text for text in variants if (code, text) in self))
        }
        return Sentence(id=sentence.id, texts=inside) if "eng" in inside and len(inside) > 1 else None

    def narrow_all(self, sentences: Iterable[Sentence]) -> list[Sentence]:
        """Narrow each sentence and leave out those of which too little is left."""
        return [kept for sentence in sentences if (kept := self.narrow(sentence))]


def _most_frequent(counts: Counter[str], size: int) -> frozenset[str]:
    return frozenset(sorted(counts, key=lambda word: (-counts[word], word))[:size])


def _has_signs(text: str) -> bool:
    """Whether a digit or a symbol (currency, arithmetic) stands in the text: it is read out as a word."""
    return any(unicodedata.category(character)[0] in "NS" for character in text)


# --------------------------------------------------------------------------------------------- no leaks


class SeenTexts:
    """The texts that must not come again, compared without case, punctuation and spaces."""

    def __init__(self, sentences: Iterable[Sentence]) -> None:
        self._keys = {_key(code, text) for sentence in sentences for code, text in _texts(sentence)}

    def __contains__(self, sentence: Sentence) -> bool:
        return any(_key(code, text) in self._keys for code, text in _texts(sentence))

    def without(self, sentences: Iterable[Sentence]) -> list[Sentence]:
        """The sentences of which no text was seen."""
        return [sentence for sentence in sentences if sentence not in self]


def _key(code: str, text: str) -> tuple[str, str]:
    kept = (character for character in text.casefold() if unicodedata.category(character)[0] not in "CPSZ")
    return code, "".join(kept)


def _texts(sentence: Sentence) -> Iterator[tuple[str, str]]:
    return ((code, text) for code, variants in sentence.texts.items() for text in variants)


def hold_out(sentences: Sequence[Sentence], count: int, seed: int) -> tuple[list[Sentence], list[Sentence]]:
    """Split into (training, validation): a seeded choice of `count` among those with the most languages.

    Training sentences that share a text with validation are dropped.
    """
    order = np.random.default_rng(seed).permutation(len(sentences))
    by_richness = sorted(order, key=lambda index: -len(sentences[index].texts))
    chosen = set(by_richness[:count])
    valid = [sentence for index, sentence in enumerate(sentences) if index in chosen]
    rest = [sentence for index, sentence in enumerate(sentences) if index not in chosen]
    return SeenTexts(valid).without(rest), valid


def read_splits(root: Path, settings: TatoebaConfig) -> dict[str, list[Sentence]]:
    """Read the root; return the sentences of train, valid and dev, inside the domain and free of leaks."""
    languages = settings.languages
    training = merge(row for name in TRAIN_FILES for row in read_sentences(root / name, languages))
    domain = TextDomain(training, settings.max_words, settings.vocabulary)
    all_of_dev = SeenTexts(read_sentences(root / DEV_FILE, languages, licensed_only=False))
    inside = domain.narrow_all(all_of_dev.without(training))
    train, valid = hold_out(inside, settings.valid_sentences, settings.seed)
    dev = domain.narrow_all(merge(read_sentences(root / DEV_FILE, languages)))
    return dict(zip(SPLITS, (train, valid, dev), strict=True))


def prepare_text(root: Path, out: Path, settings: TatoebaConfig) -> dict[str, list[Sentence]]:
    """Write `text.<split>.jsonl` into `out` unless all are there; return the sentences of each split."""
    paths = {split: out / f"text.{split}.jsonl" for split in SPLITS}
    if not all(path.exists() for path in paths.values()):
        for split, sentences in read_splits(root, settings).items():
            write_rows(paths[split], sentences)
    return {split: [row for _, row in read_rows(path, Sentence)] for split, path in paths.items()}


def count_sentences(sentences: Iterable[Sentence]) -> dict[str, int]:
    """Language -> number of sentences that have a text in it."""
    return dict(Counter(code for sentence in sentences for code in sentence.texts))


# ------------------------------------------------------------------------------------------- the speech


def prepare(
    root: Path,
    noise_root: Path,
    out: Path,
    settings: TatoebaConfig,
    workers: int,
    on_progress: OnProgress = no_progress,
) -> None:
    """Write texts, speech and manifests of train, valid and dev into `out`.

    An interrupted run continues where it was; every file and shard is complete or absent. Clips depend on
    the settings alone. Raises DataError if `out` was begun with other settings, or as `speak` does.
    """
    out.mkdir(parents=True, exist_ok=True)
    _claim(out, settings)
    sentences = prepare_text(root, out, settings)
    _copy_credits(root, noise_root, out)
    for split in reversed(SPLITS):
        if not (out / f"{split}.jsonl").exists():
            lines = list(plan(sentences[split], split, settings))
            _speak_split(lines, split, noise_root, out, settings.seed, workers, on_progress)


def plan(sentences: Sequence[Sentence], split: str, settings: TatoebaConfig) -> Iterator[SpokenLine]:
    """Say which texts are spoken, and in which voices: held-out ones except in training."""
    training = split == "train"
    for code in settings.languages:
        spoken = [sentence for sentence in sentences if code in sentence.texts]
        takes = _training_takes(spoken, code, settings) if training else [(row, 0) for row in spoken]
        for sentence, take in takes:
            utterance = _to_utterance(sentence, code, take)
            rng = generator(settings.seed, "voice", utterance.id)
            yield SpokenLine(utterance, EspeakVoice.draw(code, rng, held_out=not training))


def _training_takes(
    sentences: Sequence[Sentence], code: str, settings: TatoebaConfig
) -> Iterable[tuple[Sentence, int]]:
    """Sentences and the number of the take, as many as there are to be clips."""
    order = [sentences[index] for index in generator(settings.seed, "order", code).permutation(len(sentences))]
    order.sort(key=lambda sentence: sentence.texts.keys().isdisjoint(settings.spoken_first))
    return islice(_go_round(order, code), settings.clips_of.get(code, settings.clips_per_language))


def _go_round(sentences: Sequence[Sentence], code: str) -> Iterator[tuple[Sentence, int]]:
    """Go round the sentences, each time to the next variant, until every text had its takes."""
    rounds = MAX_CLIPS_PER_TEXT * max((len(sentence.texts[code]) for sentence in sentences), default=0)
    times_spoken: Counter[str] = Counter()
    for take, sentence in product(range(rounds), sentences):
        text = _variant(sentence, code, take)
        if times_spoken[text] < MAX_CLIPS_PER_TEXT:
            times_spoken[text] += 1
            yield sentence, take


def _to_utterance(sentence: Sentence, code: str, take: int) -> Utterance:
    name = f"{sentence.id}-{code}-{take}"
    return Utterance(
        id=name,
        audio=f"{name}.flac",
        language=code,
        text=_variant(sentence, code, take),
        sentence=sentence.id,
        translations={other: _variant(sentence, other, take) for other in sentence.texts if other != code},
    )


def _variant(sentence: Sentence, code: str, take: int) -> str:
    variants = sentence.texts[code]
    return variants[take % len(variants)]


def _speak_split(
    lines: Sequence[SpokenLine],
    split: str,
    noise_root: Path,
    out: Path,
    seed: int,
    workers: int,
    on_progress: OnProgress,
) -> None:
    shards = into_shards(lines, out / "audio" / split, CLIPS_PER_SHARD)
    for done, _ in enumerate(record(shards, noise_root, seed, workers), 1):
        on_progress(f"speaking {split}", done, len(shards))
    gather(shards, out / f"{split}.jsonl")


def _claim(out: Path, settings: TatoebaConfig) -> None:
    """Note the settings in `out`, so that two kinds of data are never mixed."""
    note = out / "settings.json"
    if not note.exists():
        if (out / "valid.jsonl").exists():
            raise DataError(f"{out}: holds another corpus (valid.jsonl); name another folder.")
        write_rows(note, [settings])
    elif TatoebaConfig.model_validate_json(note.read_text(encoding="utf-8")) != settings:
        raise DataError(f"{out}: was begun with other settings ({note.name}); name another folder.")


def _copy_credits(root: Path, noise_root: Path, out: Path) -> None:
    credit_files = {CREDITS_FILE: root / CREDITS_FILE, "CREDITS.noise.tsv": noise_root / "MANIFEST.tsv"}
    for name, source in credit_files.items():
        if not source.exists():
            raise DataError(f"{source}: is missing; the licence asks for it to travel with the data.")
        with written(out / name):
            shutil.copyfile(source, out / name)
