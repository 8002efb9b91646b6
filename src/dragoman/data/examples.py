"""Utterance + task -> example: features, prompt ids, answer ids. Which task and which targets an utterance gets each
time it comes follows from seed, number and how often it came before."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from dragoman.batch import Batch
from dragoman.data.audio import Waveform, load_audio
from dragoman.data.augment import AugmentedFeatures
from dragoman.data.batching import Example, TextRow, collate
from dragoman.data.features import Features, speech_features
from dragoman.data.frames import FrameStore
from dragoman.data.index import ManifestIndex
from dragoman.data.index.selection import Draw, wanted
from dragoman.data.sampling import row_random
from dragoman.data.tasks import TASKS, LanguageTags, TaskItem, answer_parts, escape
from dragoman.errors import AudioError
from dragoman.recipe import Recipe, Stage
from dragoman.records import Utterance


@dataclass(frozen=True)
class TextEncoder:
    """Text -> ids. Prompt and answer are tokenised apart: joined, byte pairs can merge across the border.
    `continues_text`: there is text in front of the audio, and <bos> in front of that."""

    tokenizer: PreTrainedTokenizerBase
    continues_text: bool = False

    def prompt(self, text: str) -> tuple[int, ...]:
        """Begins with the tokenizer's <bos> where it has one (the papers' Gemma rows: audio, then <bos>)."""
        return self.plain(text) if self.continues_text else tuple(self.tokenizer(text).input_ids)

    def answer(self, *parts: str) -> tuple[int, ...]:
        """Parts one after the other, tokenised apart; ends with the end token."""
        return (*(id_ for part in parts for id_ in self.plain(part)), self.tokenizer.eos_token_id)

    def plain(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)


class Examples:
    """The items of a stage as examples and batches. Small, whatever the data: worker processes get a copy.

    `micro_batch` utterances and `micro_tokens` tokens (what the LLM reads: audio and text, padding included) are what
    the machine takes at once; a single example is never cut, even if it has more. With `frames`, a store for each
    index, no audio is read. `rehearsed` is what the model could do before training began, see
    `Recipe.abilities`.
    """

    def __init__(
        self,
        indexes: Sequence[ManifestIndex],
        stage: Stage,
        recipe: Recipe,
        tokenizer: PreTrainedTokenizerBase,
        micro_batch: int = 64,
        micro_tokens: int | None = None,
        frames: Sequence[FrameStore | None] | None = None,
        rehearsed: frozenset[tuple[str, str, str]] = frozenset(),
    ) -> None:
        self.indexes, self.stage, self.recipe = indexes, stage, recipe
        self.wanted = [sorted(wanted(source, recipe)) for source in stage.data]
        self.tags = LanguageTags.from_prompt(recipe.prompt)
        self.text = TextEncoder(tokenizer, continues_text=bool(recipe.prompt.before_audio))
        self.pad_id = int(tokenizer.pad_token_id)
        self.features = AugmentedFeatures(speech_features(recipe.audio), stage.augment)
        self.micro_batch, self.micro_tokens = micro_batch, micro_tokens
        self.frames = frames
        self.rehearsed = rehearsed

    def micro_batches(self, draws: Sequence[Draw]) -> list[Batch]:
        """One step of one process."""
        examples = [self.example(draw) for draw in draws]
        alike = ([one for one in examples if one.uses_speech is heard] for heard in (True, False))
        return [collate(part, self.pad_id) for own in alike for part in self._cut(own)]

    def _cut(self, examples: Sequence[Example]) -> list[Sequence[Example]]:
        """Parts of at most `micro_batch` examples and `micro_tokens` tokens, those of like length together."""
        most = math.inf if self.micro_tokens is None else self.micro_tokens
        parts: list[list[Example]] = []
        for example in sorted(examples, key=self._positions):
            grown = [*parts[-1], example] if parts else [example]
            rows = sum(len(member.rows) for member in grown)
            if len(grown) == 1 or len(grown) > self.micro_batch or rows * self._widest(grown) > most:
                parts.append([example])
            else:
                parts[-1] = grown
        return list(parts)

    def _positions(self, example: Example) -> int:
        return self._widest([example])

    def _widest(self, examples: Sequence[Example]) -> int:
        """Positions of a row of the batch that the LLM reads: [audio][text], each padded to the longest."""
        heard = [self._encoder_frames(example) for example in examples if example.uses_speech]
        texts = [len(row.prompt) + len(row.answer) for example in examples for row in example.rows]
        return max(map(self.recipe.audio_tokens, heard), default=0) + max(texts, default=0)

    def _encoder_frames(self, example: Example) -> int:
        """S of an example that has speech."""
        if example.features is not None:
            return self.recipe.audio.encoder_frames(example.features.shape[1])
        return 0 if example.frames is None else len(example.frames)

    def utterance(self, draw: Draw) -> Utterance:
        """With all the translations that the stage may ask for."""
        return self.indexes[draw.source].utterance(draw.row, self._targets(draw))

    def example(self, draw: Draw) -> Example:
        random = self.random(draw)
        task, targets = self.asked(draw, random)
        utterance = self.indexes[draw.source].utterance(draw.row, targets)
        transcript = self.text.plain(escape(utterance.text)) if self.stage.ctc_weight else ()
        asked = (targets or [utterance.language]) if task else []
        rows = tuple(self._row(task, utterance, target) for target in asked)
        if task == "mt":
            return Example(None, rows)
        stored = None if self.frames is None else self.frames[draw.source]
        if stored is not None:
            return Example(None, rows, transcript, stored[draw.row])
        return Example(features_of(utterance, lambda waveform: self.features(waveform, random)), rows, transcript)

    def _targets(self, draw: Draw) -> list[str]:
        """The targets an item may ask for, sorted."""
        if draw.pairs is not None:
            return self.indexes[draw.source].named(np.array(draw.pairs, np.uint64))
        had = set(self.indexes[draw.source].target_codes(draw.row))
        return [code for code in self.wanted[draw.source] if code in had]

    def random(self, draw: Draw) -> np.random.Generator:
        """An item's own random numbers this time."""
        return row_random(self.stage.schedule.seed, draw.visit, draw.number)

    def asked(self, draw: Draw, random: np.random.Generator) -> tuple[str, list[str]]:
        """The task of an item, "" in a stage without, and, except in transcription, its target languages."""
        targets = self._targets(draw)
        mixture = self.stage.tasks_of(self.stage.data[draw.source])
        if not mixture:
            return "", []
        mixture = mixture if targets else {"asr": 1.0}
        tasks, shares = list(mixture), np.array(list(mixture.values()))
        task = tasks[random.choice(len(tasks), p=shares / shares.sum())]
        most = self.stage.targets
        if task == "asr":
            targets = []
        elif draw.pairs is not None:
            # every part of an utterance comes once a visit: together they ask for each of its targets once
            turn = np.random.default_rng([self.stage.schedule.seed, draw.visit, draw.number - draw.part, 1])
            targets = sorted(turn.permutation(targets)[draw.part * most : (draw.part + 1) * most].tolist())
        elif len(targets) > most:
            targets = sorted(random.choice(targets, most, replace=False).tolist())
        return task, targets

    def _row(self, task: str, utterance: Utterance, target: str) -> TextRow:
        translation = utterance.translations.get(target, "")
        item = TaskItem(utterance.language, target, utterance.text, translation)
        prompt, answer = TASKS[task].prompt(item, self.tags), answer_parts(task, item, self.tags)
        if self.recipe.prompt.joint_answer:
            answer = ("".join(answer),)
        rehearsed = (task, utterance.language, target) in self.rehearsed
        return TextRow(self.text.prompt(prompt), self.text.answer(*answer), rehearsed)


def features_of(utterance: Utterance, features: Callable[[Waveform], Features]) -> Features:
    """(C, F) of an utterance; what is wrong with its audio names it. Raises AudioError."""
    try:
        return features(
            load_audio(utterance.audio, utterance.start_s, utterance.duration_s, language=utterance.language)
        )
    except AudioError as error:
        raise AudioError(f"utterance {utterance.id} ({utterance.audio}): {error}") from error
