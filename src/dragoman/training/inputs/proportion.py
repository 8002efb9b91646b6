"""Rows that no step shall hold: more text than the LLM reads at once, or than the time of the clip allows. One of them
takes the time and the memory of hundreds."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from dragoman.data.examples import TextEncoder
from dragoman.data.index import ManifestIndex
from dragoman.data.index.selection import most_letters_in, too_much_for, usable, wanted
from dragoman.data.sampling import Rows
from dragoman.errors import DataError
from dragoman.model.bases import find_llm
from dragoman.model.bases.loading import load_tokenizer
from dragoman.model.build import context
from dragoman.model.load import model_folder
from dragoman.recipe import DataSource, Recipe, Stage
from dragoman.training.inputs.manifests import stage_indexes

_BYTES = 4
"""Of a character, at most; no tokenizer makes more pieces of it."""
_TAGS = 32
"""Tokens of a prompt beside the texts, at most."""
_NAMED = 5

_log = logging.getLogger(__name__)


def check_texts(
    recipe: Recipe, stages: Sequence[Stage], data: Path, bases: Path | None, skip_bad: bool
) -> dict[str, list[Rows]]:
    """For each of these stages the rows of each source that are left out. Raises DataError, which names them, unless
    `skip_bad`, and where none would be left."""
    left_out: dict[str, list[Rows]] = {}
    proportion = Proportion(recipe, bases)
    for stage in stages:
        left_out[stage.name] = []
        for index, source in zip(stage_indexes(stage, data), stage.data, strict=True):
            misfits = proportion.misfits(index, source, stage)
            left_out[stage.name].append(np.array(sorted(misfits), np.int32))
            if misfits:
                by_id = {index.row(row).id: reason for row, reason in misfits.items()}
                where = f"stage {stage.name}: {index.manifest}"
                report_misfits(where, by_id, len(usable(index, source, stage, recipe)), skip_bad)
    return left_out


def report_misfits(where: str, misfits: Mapping[str, str], of: int, skip_bad: bool) -> None:
    """Say which rows do not fit, by id, and why. Raises DataError, unless `skip_bad` leaves some of them."""
    if not misfits:
        return
    first = [f"{id} ({reason})" for id, reason in list(misfits.items())[:_NAMED]]
    more = f" and {len(misfits) - _NAMED} more" if len(misfits) > _NAMED else ""
    said = f"{where}: these rows have more text than fits: {', '.join(first)}{more}"
    if not skip_bad:
        raise DataError(f"{said}; correct them, or leave them out with --skip_bad.")
    if len(misfits) == of:
        raise DataError(f"{said}; nothing would be left.")
    _log.warning("%s; left out.", said)


class Proportion:
    """What fits a recipe's LLM; its config and tokenizer are read when they are needed, from `bases` if it is ours."""

    def __init__(self, recipe: Recipe, bases: Path | None) -> None:
        self.recipe = recipe
        self.bases = bases if recipe.init_from is None else model_folder(recipe.init_from)

    @cached_property
    def context(self) -> int | None:
        return context(self.recipe, self.bases)

    @cached_property
    def text(self) -> TextEncoder:
        place = find_llm(self.recipe.llm, self.bases)
        return TextEncoder(load_tokenizer(place.tokenizer, place.revision))

    def misfits(self, index: ManifestIndex, source: DataSource, stage: Stage) -> dict[int, str]:
        """Of the rows that a source's filters leave: those that do not fit, and why."""
        rows = usable(index, source, stage, self.recipe)
        letters = index.most_letters(rows)
        # an upper bound, from the index alone; few rows are then looked at
        doubted = 2 * _BYTES * letters > self._room(source, stage)
        if stage.uses_speech(source):
            doubted |= letters > most_letters_in(index.duration_s[rows])  # False where that is not known
        reasons = {int(row): self._misfit(index, int(row), source, stage) for row in rows[doubted]}
        return {row: reason for row, reason in reasons.items() if reason}

    def _room(self, source: DataSource, stage: Stage) -> float:
        """Tokens that the texts of a row may have."""
        audio = self.recipe.audio_tokens(self.recipe.audio.window_frames) if stage.uses_speech(source) else 0
        return float("inf") if self.context is None else self.context - audio - _TAGS

    def _misfit(self, index: ManifestIndex, row: int, source: DataSource, stage: Stage) -> str | None:
        translated = set(stage.tasks_of(source)) - {"asr"}
        utterance = index.utterance(row, wanted(source, self.recipe) if translated else ())
        texts = [utterance.text, *utterance.translations.values()]
        if stage.uses_speech(source) and (wrong := too_much_for(utterance.duration_s, max(map(len, texts)))):
            return wrong
        own, *others = (len(self.text.plain(text)) for text in texts)
        tokens, room = own + max(others, default=0), self._room(source, stage)
        return f"{tokens:,} tokens, where the LLM has room for {room:,.0f}" if tokens > room else None
