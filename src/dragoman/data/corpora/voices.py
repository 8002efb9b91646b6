"""Sentences of Tatoeba, spoken by an engine: short clips as they are, and several sentences joined into a long one.

    OUT/pico.jsonl           training: English and translations whose licence travels with them
    OUT/pico.all.jsonl       training: the same clips and more, with all the translations there are
    OUT/pico.valid.jsonl     sentences that no training clip says, in voices that training never hears
    OUT/audio/pico/…         the shards

With the same sentences and targets every command holds out the same ones, whatever the engine and the seed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

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
    words,
)
from dragoman.data.synthesis import (
    ENGINES,
    PAUSE_S,
    RecordingShard,
    SpokenLine,
    gather,
    generator,
    into_shards,
    joined,
    record,
)
from dragoman.errors import DataError
from dragoman.progress import OnProgress, no_progress
from dragoman.records import Utterance, write_rows

CORPUS = Corpus(
    name="voices",
    title="Tatoeba: everyday sentences, spoken by an engine, singly and joined",
    citation="Tatoeba, https://tatoeba.org; the authors of the sentences are named in CREDITS.txt.",
    licence="CC BY 2.0 FR (the sentences; `.all.jsonl` holds others too)",
    homepage="https://tatoeba.org",
    languages=("eng", "deu", "fra", "spa", "ita", "por"),
    how="dragoman prepare voices --engine pico --languages eng,deu,fra --root tatoeba --noise noise --out data",
)
SPLITS = ("valid", "train")
LONGEST_S = 19.0
_LONGEST_TEXT = 250
_LONGEST_WORD = 40
_HOLD_OUT_SEED = 1
_EVERY_S = 30.0
"""Manifests are brought up to date so often while more is spoken."""


class SynthesisConfig(BaseModel):
    """What is to be spoken, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    engine: str
    languages: tuple[str, ...]
    """What is spoken, ISO 639-3."""
    targets: tuple[str, ...]
    """The languages of the texts; all that is spoken is among them."""
    clips: int = Field(ge=0)
    """Of each language."""
    valid_clips: int = Field(ge=0)
    joined: float = Field(ge=0, le=1)
    """Share of the clips that join sentences."""
    joined_s: tuple[float, float] = (6.0, 18.0)
    """About how long these last."""
    valid_sentences: int = Field(ge=0)
    """Held out of training."""
    clips_per_shard: int = Field(ge=1)
    seed: int = Field(ge=0)


@dataclass(frozen=True)
class LicensedSentences:
    """Sentences with all the translations there are, and what of them has a licence, by the English text."""

    sentences: Sequence[Sentence]
    licensed: Mapping[str, Sentence]

    def is_licensed(self, sentence: Sentence, code: str) -> bool:
        """Whether the text that is spoken, or its translation, may be passed on."""
        with_licence = self.licensed.get(sentence.texts["eng"][0])
        return with_licence is not None and sentence.texts[code][0] in with_licence.texts.get(code, ())

    def licences(self, sentence: Sentence, code: str, target: str) -> int:
        """2 where the text spoken and its translation may be passed on, 1 where the text may be, else 0."""
        return 0 if not self.is_licensed(sentence, code) else 1 + self.is_licensed(sentence, target)


def prepare(
    root: Path,
    noise_root: Path | None,
    out: Path,
    spoken: SynthesisConfig,
    workers: int,
    on_progress: OnProgress = no_progress,
) -> list[Path]:
    """Write speech and manifests into `out` and return their paths; an interrupted run goes on shard by shard.

    Manifests are there from the first shard on and grow. Raises DataError if `out` holds the same engine with other
    settings, or as `speak` does.
    """
    _check(spoken)
    out.mkdir(parents=True, exist_ok=True)
    _claim(out / f"{spoken.engine}.settings.json", spoken)
    _copy_credits(root, out)
    texts = read_texts(root, spoken)
    return [
        path
        for split in SPLITS
        for path in _speak_split(texts[split], split, noise_root, out, spoken, workers, on_progress)
    ]


def _speak_split(
    texts: LicensedSentences,
    split: str,
    noise_root: Path | None,
    out: Path,
    spoken: SynthesisConfig,
    workers: int,
    on_progress: OnProgress,
) -> list[Path]:
    plans = {planned.line.utterance.id: planned for planned in plan(texts, split, spoken)}
    folder = out / "audio" / spoken.engine / split
    shards = into_shards([planned.line for planned in plans.values()], folder, spoken.clips_per_shard)
    recorded = record(shards, noise_root, spoken.seed, workers)
    name = spoken.engine if split == "train" else f"{spoken.engine}.{split}"
    manifests: dict[Path, Callable[[Mapping[str, PlannedLine], Utterance], Utterance | None]] = {
        out / f"{name}.all.jsonl": _whole,
        out / f"{name}.jsonl": _with_licence,
    }
    done: list[RecordingShard] = []
    written_s = 0.0
    for number, shard in enumerate(recorded, 1):
        on_progress(f"{spoken.engine} {split}", number, len(shards))
        done = sorted([*done, shard], key=lambda shard: shard.folder)
        if len(done) == len(shards) or time.monotonic() - written_s > _EVERY_S:
            for path, keep in manifests.items():
                gather(done, path, partial(keep, plans))
            written_s = time.monotonic()
    return list(manifests) if done else []


def _whole(plans: Mapping[str, PlannedLine], row: Utterance) -> Utterance:
    """The row as it was spoken. Raises DataError where something else was to be spoken."""
    if row.id not in plans or plans[row.id].line.utterance.text != row.text:
        raise DataError(f"{row.id}: was spoken from other sentences; name another folder, or delete the audio.")
    return row


def _with_licence(plans: Mapping[str, PlannedLine], row: Utterance) -> Utterance | None:
    kept = plans[row.id].licensed
    return None if kept is None else row.model_copy(update={"translations": kept.translations})


# -------------------------------------------------------------------------------------------- the texts


def read_texts(root: Path, spoken: SynthesisConfig) -> dict[str, LicensedSentences]:
    """The sentences of each split, free of leaks."""
    everything, licensed = (
        merge(row for name in TRAIN_FILES for row in read_sentences(root / name, spoken.targets, licensed_only))
        for licensed_only in (False, True)
    )
    of_dev = SeenTexts(read_sentences(root / DEV_FILE, spoken.targets, licensed_only=False))
    train, valid = hold_out(of_dev.without(everything), spoken.valid_sentences, _HOLD_OUT_SEED)
    by_english = {sentence.texts["eng"][0]: sentence for sentence in licensed}
    return {"train": LicensedSentences(train, by_english), "valid": LicensedSentences(valid, by_english)}


def _can_be_said(text: str) -> bool:
    found = words(text)
    return bool(found) and len(text) <= _LONGEST_TEXT and max(map(len, found)) <= _LONGEST_WORD


# --------------------------------------------------------------------------------------------- the plan


@dataclass(frozen=True, slots=True)
class PlannedLine:
    """A line with all the translations there are; and the row with what has a licence, or None."""

    line: SpokenLine
    licensed: Utterance | None


def plan(texts: LicensedSentences, split: str, spoken: SynthesisConfig) -> list[PlannedLine]:
    """Say what is spoken in which voice, one language after the other in turn: any first part of it is balanced."""
    columns = [list(_plan_language(texts, split, code, spoken)) for code in spoken.languages]
    return [planned for planned in chain.from_iterable(zip_longest(*columns)) if planned is not None]


def _plan_language(texts: LicensedSentences, split: str, code: str, spoken: SynthesisConfig) -> Iterator[PlannedLine]:
    engine = ENGINES[spoken.engine]
    rng = generator(spoken.seed, "plan", split, code)
    pool = SentencePool.from_sentences(texts, code, rng)
    for number in range(spoken.clips if split == "train" else spoken.valid_clips):
        name = f"{spoken.engine}-{split}-{code}-{number:05d}"
        voice = engine.draw(code, generator(spoken.seed, "voice", name), held_out=split != "train")
        goal_s = rng.uniform(*spoken.joined_s) if rng.random() < spoken.joined else 0.0
        if not (chosen := pool.take(goal_s, voice.characters_per_s, rng)):
            return
        said = [{other: variants[0] for other, variants in sentence.texts.items()} for sentence in chosen]
        row = joined(name, code, said, sentence=chosen[0].id if len(chosen) == 1 else None)
        yield PlannedLine(SpokenLine(row, voice, tuple(text[code] for text in said)), _licensed(row, chosen, texts))


@dataclass
class SentencePool:
    """The sentences of a language that were not taken yet, by a language that they have a translation in."""

    code: str
    streams: dict[str, deque[Sentence]]
    taken: set[str] = field(default_factory=set)

    @classmethod
    def from_sentences(cls, texts: LicensedSentences, code: str, rng: np.random.Generator) -> SentencePool:
        """In a random order; first where both texts have a licence, then where the spoken one has."""
        inside = [row for row in texts.sentences if code in row.texts and _can_be_said(row.texts[code][0])]
        order = [inside[index] for index in rng.permutation(len(inside))]
        targets = dict.fromkeys(target for row in order for target in row.texts if target != code)
        streams = {}
        for target in sorted(targets):
            rows = [row for row in order if target in row.texts]
            licences = [texts.licences(row, code, target) for row in rows]
            streams[target] = deque(rows[index] for index in np.argsort(np.negative(licences), kind="stable"))
        return cls(code, streams)

    def take(self, goal_s: float, characters_per_s: float, rng: np.random.Generator) -> list[Sentence]:
        """Sentences that last about `goal_s` and have a translation in common; one where it is 0, none when all are
        taken."""
        while self.streams:
            target = list(self.streams)[int(rng.integers(len(self.streams)))]
            if chosen := self._next(target, goal_s, characters_per_s):
                return chosen
            del self.streams[target]
        return []

    def _next(self, target: str, goal_s: float, characters_per_s: float) -> list[Sentence]:
        chosen: list[Sentence] = []
        lasts_s = 0.0
        stream = self.streams[target]
        while stream and (not chosen or lasts_s < goal_s):
            sentence = stream[0]
            takes_s = len(sentence.texts[self.code][0]) / characters_per_s + sum(PAUSE_S) / 2
            if sentence.id not in self.taken:
                if chosen and lasts_s + takes_s > LONGEST_S:
                    break
                self.taken.add(sentence.id)
                chosen.append(sentence)
                lasts_s += takes_s
            stream.popleft()
        return chosen


def _licensed(row: Utterance, sentences: Sequence[Sentence], texts: LicensedSentences) -> Utterance | None:
    allowed = {
        code
        for code in (row.language, *row.translations)
        if all(texts.is_licensed(sentence, code) for sentence in sentences)
    }
    if row.language not in allowed:
        return None
    kept = {code: text for code, text in row.translations.items() if code in allowed}
    return row.model_copy(update={"translations": kept})


# ---------------------------------------------------------------------------------------------- settings


def _check(spoken: SynthesisConfig) -> None:
    if spoken.engine not in ENGINES:
        raise DataError(f"There is no engine {spoken.engine!r}; choose one of {', '.join(ENGINES)}.")
    speaks = ENGINES[spoken.engine].speaks()
    for code in spoken.languages:
        if code not in speaks:
            raise DataError(f"{spoken.engine} does not speak {code!r}; it speaks {', '.join(speaks)}.")
        if code not in spoken.targets:
            raise DataError(f"{code!r} is spoken and is not among the languages of the texts; add it to --targets.")


def _claim(note: Path, spoken: SynthesisConfig) -> None:
    """Note the settings, so that two kinds of data are never mixed."""
    if not note.exists():
        write_rows(note, [spoken])
    elif SynthesisConfig.model_validate_json(note.read_text(encoding="utf-8")) != spoken:
        raise DataError(f"{note.parent}: was begun with other settings ({note.name}); name another folder.")


def _copy_credits(root: Path, out: Path) -> None:
    source = root / CREDITS_FILE
    if not source.exists():
        raise DataError(f"{source}: is missing; the licence asks for it to travel with the data.")
    (out / CREDITS_FILE).write_bytes(source.read_bytes())
