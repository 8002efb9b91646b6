"""What a stage draws from: the rows and targets of its manifests that its filters leave, as arrays.

One process holds them, its workers only the indexes. I items, W words of a bit set of an index's languages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from dragoman.data.index import ManifestIndex
from dragoman.data.index.building import NO_AUDIO, Bits, numbered
from dragoman.data.index.caps import cap_directions, cap_languages
from dragoman.data.sampling import GroupQuotas, Rows, Step, StepSampler
from dragoman.recipe import DataSource, Recipe, Stage

_LETTERS_PER_S = 15
"""Read aloud, about; so that text alone is sorted by length among speech."""
_MOST_LETTERS_PER_S = 100
"""The fastest speech has 40 (see `data/check/texts.py`); its translation may have twice as many."""
_ALWAYS_LETTERS = 100
"""That a clip may have however short it is: one that is cut off."""
_AT_ONCE = 1 << 20  # rows whose sets of targets are looked at together

Seconds = TypeVar("Seconds", float, NDArray[Any])


class Draw(NamedTuple):
    """One item of a step: which row of which source, how often it came before, and, where directions are capped, the
    set of its targets and which part of them is meant."""

    number: int
    visit: int
    source: int
    row: int
    part: int = 0
    pairs: tuple[int, ...] | None = None


@dataclass(frozen=True)
class SelectedRows:
    """Items of one source: `row` (I,); where directions are capped, `pairs` (I, W) and `part` (I,)."""

    row: Rows
    pairs: Bits | None = None
    part: NDArray[np.uint8] | None = None

    def without(self, rows: Rows) -> SelectedRows:
        """Those that are not of these rows."""
        kept = ~np.isin(self.row, rows)
        return SelectedRows(*(None if own is None else own[kept] for own in (self.row, self.pairs, self.part)))  # type: ignore[arg-type]

    @property
    def num_utterances(self) -> int:
        return len(self.row) if self.part is None else int((self.part == 0).sum())


class Selection:
    """The items of a stage, numbered source by source in the order of the manifests: an utterance each, or, where
    the stage caps directions, as many of an utterance's targets as share a pass. `left_out`: rows of each index that
    are taken out of what the filters and caps leave."""

    def __init__(
        self, indexes: Sequence[ManifestIndex], stage: Stage, recipe: Recipe, left_out: Sequence[Rows] | None = None
    ) -> None:
        self.indexes, self.stage, self.recipe = indexes, stage, recipe
        self.chosen = self._chosen()
        if left_out is not None:
            self.chosen = [own.without(rows) for own, rows in zip(self.chosen, left_out, strict=True)]
        self.starts = np.cumsum([0, *(len(chosen.row) for chosen in self.chosen)])

    def _chosen(self) -> list[SelectedRows]:
        rows = [usable(*pair, self.stage, self.recipe) for pair in zip(self.indexes, self.stage.data, strict=True)]
        random = np.random.default_rng(self.stage.schedule.seed)
        if self.stage.max_per_language is not None:
            rows = cap_languages(self.indexes, rows, self.stage.max_per_language, random)
        if self.stage.max_per_direction is None:
            return list(map(SelectedRows, rows))
        targets = [wanted(source, self.recipe) for source in self.stage.data]
        drawn = cap_directions(self.indexes, rows, targets, self.stage.max_per_direction, random)
        return [_parts(*own, self.stage.targets) for own in drawn]

    def __len__(self) -> int:
        return int(self.starts[-1])

    def draw(self, number: int, visit: int = 0) -> Draw:
        source = int(np.searchsorted(self.starts, number, side="right")) - 1
        chosen, at = self.chosen[source], number - int(self.starts[source])
        if chosen.pairs is None or chosen.part is None:
            return Draw(number, visit, source, int(chosen.row[at]))
        return Draw(number, visit, source, int(chosen.row[at]), int(chosen.part[at]), tuple(chosen.pairs[at].tolist()))

    def draws(self, step: Step) -> list[Draw]:
        return [self.draw(int(item), int(visit)) for item, visit in zip(step.item, step.visit, strict=True)]

    def ids(self, step: Step) -> list[str]:
        """Those of the utterances in a step."""
        return [self.indexes[draw.source].row(draw.row).id for draw in self.draws(step)]

    def order(self) -> StepSampler:
        """The steps of the stage: length buckets by audio, or by text where there is no audio or all of one length."""
        schedule, at_once = self.stage.schedule, self.stage.shards_at_once
        lengths = self._column(self._lengths)
        shards = self._shards() if at_once else None
        return StepSampler(lengths, schedule.batch, schedule.seed, self.shares(), shards, at_once or 1)

    def shares(self) -> GroupQuotas | None:
        """The groups of a stage with weights or a temperature: languages, of each source if sources are weighed."""
        weights = [source.weight for source in self.stage.data]
        if self.stage.temperature == 1.0 and weights[0] is None:
            return None
        numbers = numbered(sorted({code for index in self.indexes for code in index.languages}))
        group = self._column(lambda index, rows: _renumbered(index, numbers)[index.language[rows]])
        if weights[0] is not None:
            group += len(numbers) * np.repeat(np.arange(len(weights), dtype=np.int32), np.diff(self.starts))
        sizes = np.bincount(group)
        groups = np.flatnonzero(sizes)
        share = sizes[groups] ** (1 / self.stage.temperature)
        if weights[0] is not None:
            source = groups // len(numbers)
            share = share / np.bincount(source, share, len(weights))[source] * np.array(weights)[source]
        number = np.cumsum(sizes > 0) - 1
        return GroupQuotas.from_shares(number.astype(np.uint16)[group], share)

    def _lengths(self, index: ManifestIndex, rows: Rows) -> Rows:
        if self.recipe.audio.padding == "window" or not self.stage.uses_audio:
            return index.letters[rows]
        seconds = index.duration_s[rows]
        text = index.shard[rows] == NO_AUDIO
        seconds[text] = index.letters[rows][text] / _LETTERS_PER_S
        seconds[np.isnan(seconds)] = self.recipe.audio.window_s
        hundredths: Rows = np.rint(100 * seconds).clip(0, 2**16 - 1).astype(np.uint16)  # ten minutes and more
        return hundredths

    def _shards(self) -> Rows:
        """(I,) numbers of the tar files of all sources; the audio of one source that lies in no tar counts as one."""
        shards, first = [], 0
        for index, chosen in zip(self.indexes, self.chosen, strict=True):
            shards.append(np.maximum(index.shard[chosen.row], -1) + 1 + first)
            first += int(index.shard.max(initial=-1)) + 2
        return np.concatenate(shards)

    def _column(self, column: Callable[[ManifestIndex, Rows], Rows]) -> Rows:
        """(I,) a property of the items of all sources."""
        return np.concatenate(
            [column(index, chosen.row) for index, chosen in zip(self.indexes, self.chosen, strict=True)]
        )


def _renumbered(index: ManifestIndex, numbers: dict[str, int]) -> NDArray[np.int32]:
    """(L,) the numbers that an index's languages have among those of several."""
    return np.array([numbers[code] for code in index.languages], np.int32)


def most_letters_in(seconds: Seconds) -> Seconds:
    """Of a text that can belong to so much speech: beyond that it is something else."""
    return _ALWAYS_LETTERS + _MOST_LETTERS_PER_S * seconds


def too_much_for(seconds: float | None, letters: int) -> str | None:
    """What is wrong with so much text in so much speech, if anything is known to be."""
    if seconds is None or not letters > most_letters_in(seconds):
        return None
    return f"{letters:,} characters in {seconds:g} s"


def wanted(source: DataSource, recipe: Recipe) -> list[str]:
    """The target languages that a source may give."""
    return [code for code in recipe.targets if not source.targets or code in source.targets]


def usable(index: ManifestIndex, source: DataSource, stage: Stage, recipe: Recipe) -> Rows:
    """The rows that a source's filters leave, without those that no task of the stage can use: a row without a
    translation can only be transcribed, one without a transcript only be translated directly (st). A source that names
    targets has no row without any of them."""
    heard = [code for code in recipe.sources if not source.sources or code in source.sources]
    kept = np.isin(index.language, [index.numbers[code] for code in heard if code in index.numbers])
    if source.max_duration_s is not None:
        kept &= ~(index.duration_s > source.max_duration_s)  # an unknown duration is kept
    if source.max_hours is not None:
        kept &= _within_hours(index.duration_s, source.max_hours)
    tasks = set(stage.tasks_of(source))
    if tasks != {"st"}:
        kept &= index.letters > 0
    if stage.uses_speech(source):
        kept &= index.shard != NO_AUDIO
    rows = np.flatnonzero(kept).astype(np.int32)
    if (tasks and "asr" not in tasks) or source.targets:
        rows = rows[_any_target(index, rows, index.bit_set(wanted(source, recipe)))]
    return rows


def _within_hours(duration_s: NDArray[Any], hours: float) -> NDArray[np.bool_]:
    """Rows in an order that is always the same, until their speech has lasted so long; an unknown duration is none."""
    order = np.random.default_rng(0).permutation(len(duration_s))
    kept = np.zeros(len(duration_s), np.bool_)
    kept[order] = np.nan_to_num(duration_s[order]).cumsum(dtype=np.float64) <= 3600 * hours
    return kept


def _any_target(index: ManifestIndex, rows: Rows, targets: Bits) -> NDArray[np.bool_]:
    parts = [rows[at : at + _AT_ONCE] for at in range(0, len(rows), _AT_ONCE)]
    return np.concatenate([np.zeros(0, np.bool_), *((index.targets(part) & targets).any(1) for part in parts)])


def _parts(row: Rows, pairs: Bits, together: int) -> SelectedRows:
    """Rows (n,) and the targets drawn for each (n, W) -> items of as many targets as share a pass."""
    parts = np.maximum(-(-np.bitwise_count(pairs).sum(1, dtype=np.int64) // together), 1)
    item = np.repeat(np.arange(len(row)), parts)
    part = np.arange(len(item)) - np.repeat(np.cumsum(parts) - parts, parts)
    return SelectedRows(row[item], pairs[item], part.astype(np.uint8))
