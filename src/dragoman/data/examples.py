"""Utterance + task -> example: features, prompt ids, answer ids. Which task and which targets an utterance gets in an
epoch follows from seed, epoch and its number alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from dragoman.data.audio import load_audio
from dragoman.data.augment import AugmentedMel
from dragoman.data.batching import Batch, Example, Mel, Row, collate
from dragoman.data.features import LogMel
from dragoman.data.sampling import Rows, row_random
from dragoman.data.tasks import Item, Tags, build, escape
from dragoman.errors import AudioError, DataError
from dragoman.recipe import Recipe, Source, Stage
from dragoman.records import Utterance


@dataclass(frozen=True)
class TextEncoder:
    """Text -> ids. Prompt and answer are tokenised apart: joined, byte pairs can merge across the border."""

    tokenizer: PreTrainedTokenizerBase

    def prompt(self, text: str) -> tuple[int, ...]:
        """Begins with the tokenizer's <bos> where it has one (the papers' Gemma rows: audio, then <bos>)."""
        return tuple(self.tokenizer(text).input_ids)

    def answer(self, text: str) -> tuple[int, ...]:
        """Ends with the end token."""
        return (*self.plain(text), self.tokenizer.eos_token_id)

    def plain(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)


class StageExamples:
    """The utterances of a stage (selected, with their translations) as examples and batches; picklable, for worker
    processes."""

    def __init__(
        self, utterances: Sequence[Utterance], stage: Stage, recipe: Recipe, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        self.stage = stage
        self.tags = Tags(recipe.prompt.tags)
        self.text = TextEncoder(tokenizer)
        self.pad_id = int(tokenizer.pad_token_id)
        features = LogMel(recipe.audio.mel_bins, recipe.audio.window_s, padded=recipe.audio.padding == "window")
        self.features = AugmentedMel(features, stage.augment)
        self.utterances = usable(utterances, stage)
        if not self.utterances:
            raise DataError(f"stage {stage.name}: no utterance is left for its tasks; check data and filters.")
        self.lengths = [round(100 * (utterance.duration_s or recipe.audio.window_s)) for utterance in self.utterances]

    def batch(self, epoch: int, numbers: Sequence[int]) -> Batch:
        return collate([self.example(epoch, int(number)) for number in numbers], self.pad_id)

    def micro_batches(self, key: tuple[int, list[Rows]]) -> list[Batch]:
        """One step of one process: its epoch and the shares of its micro-batches."""
        epoch, shares = key
        return [self.batch(epoch, share.tolist()) for share in shares]

    def example(self, epoch: int, number: int) -> Example:
        utterance = self.utterances[number]
        random = row_random(self.stage.schedule.seed, epoch, number)
        rows = tuple(self._rows(utterance, random))
        transcript = self.text.plain(escape(utterance.text)) if self.stage.ctc_weight else ()
        return Example(self._mel(utterance, random), rows, transcript)

    def _mel(self, utterance: Utterance, random: np.random.Generator) -> Mel:
        try:
            return self.features(load_audio(utterance.audio, utterance.start_s, utterance.duration_s), random)
        except AudioError as error:
            raise AudioError(f"utterance {utterance.id} ({utterance.audio}): {error}") from error

    def _rows(self, utterance: Utterance, random: np.random.Generator) -> list[Row]:
        shared = self.stage.tasks if utterance.translations else {"asr": 1.0}
        tasks, shares = list(shared), np.array(list(shared.values()))
        task = tasks[random.choice(len(tasks), p=shares / shares.sum())]
        targets = sorted(utterance.translations)
        if task == "asr":
            targets = [utterance.language]
        elif len(targets) > self.stage.targets:
            targets = sorted(random.choice(targets, self.stage.targets, replace=False).tolist())
        return [self._row(task, utterance, target) for target in targets]

    def _row(self, task: str, utterance: Utterance, target: str) -> Row:
        translation = utterance.translations.get(target, "")
        prompt, answer = build(task, Item(utterance.language, target, utterance.text, translation), self.tags)
        return Row(self.text.prompt(prompt), self.text.answer(answer))


def usable(utterances: Sequence[Utterance], stage: Stage) -> list[Utterance]:
    """Those that a task of the stage can use: without a translation, an utterance can only be transcribed."""
    return [utterance for utterance in utterances if utterance.translations or "asr" in stage.tasks]


def with_translations(utterances: Sequence[Utterance], targets: Sequence[str]) -> list[Utterance]:
    """Give each utterance the texts of the others that say the same sentence; keep only wanted targets."""
    texts: dict[str, dict[str, str]] = defaultdict(dict)
    for utterance in utterances:
        if utterance.sentence is not None:
            texts[utterance.sentence].setdefault(utterance.language, utterance.text)
    return [_with_texts(utterance, texts.get(utterance.sentence or "", {}), targets) for utterance in utterances]


def _with_texts(utterance: Utterance, texts: Mapping[str, str], targets: Sequence[str]) -> Utterance:
    merged = {**texts, **utterance.translations}
    kept = {code: merged[code] for code in targets if merged.get(code) and code != utterance.language}
    return utterance if kept == utterance.translations else utterance.model_copy(update={"translations": kept})


def select(utterances: Sequence[Utterance], source: Source, seed: int) -> list[Utterance]:
    """Apply a source's filters to utterances that have their translations (`with_translations` looks for them among
    all, before any is filtered out); `max_per_language` draws by seed."""
    chosen = [
        utterance
        for utterance in utterances
        if (not source.sources or utterance.language in source.sources)
        and (source.max_duration_s is None or (utterance.duration_s or 0.0) <= source.max_duration_s)
    ]
    if source.targets:
        wanted = source.targets
        chosen = [
            u.model_copy(update={"translations": {c: t for c, t in u.translations.items() if c in wanted}})
            for u in chosen
        ]
    return chosen if source.max_per_language is None else _capped(chosen, source.max_per_language, seed)


def _capped(utterances: Sequence[Utterance], most: int, seed: int) -> list[Utterance]:
    by_language: dict[str, list[int]] = defaultdict(list)
    for number, utterance in enumerate(utterances):
        by_language[utterance.language].append(number)
    random = np.random.default_rng(seed)
    kept = [random.permutation(by_language[code])[:most].tolist() for code in sorted(by_language)]
    return [utterances[number] for number in sorted(number for numbers in kept for number in numbers)]
