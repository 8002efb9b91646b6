"""Which manifests a stage uses, and which of their rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from dragoman.data.index import ManifestIndex, open_index
from dragoman.data.index.selection import Draw, Selection, most_letters_in, usable
from dragoman.data.sampling import Rows
from dragoman.errors import DataError
from dragoman.progress import OnProgress, no_progress
from dragoman.recipe import DataSource, Recipe, Stage
from dragoman.records import Utterance, read_rows

_VALIDATED = 256


def stage_indexes(stage: Stage, data: Path, on_progress: OnProgress = no_progress) -> list[ManifestIndex]:
    """Those of the stage's sources, in order. Raises DataError for one that is missing."""
    paths = [data / f"{source.name}.jsonl" for source in stage.data]
    if missing := [path for path in paths if not path.is_file()]:
        raise DataError(f"stage {stage.name}: {missing[0]} is missing; put the manifest there or fix --data.")
    return [open_index(path, on_progress) for path in paths]


def check_data(recipe: Recipe, data: Path, on_progress: OnProgress = no_progress) -> None:
    """Whether the manifests hold something for each source of each stage, and nothing that is longer than the model
    hears: reported before the first stage, since a later one would end a run of days. Raises DataError."""
    window_s = recipe.audio.window_s
    for stage in recipe.stages:
        for index, source in zip(stage_indexes(stage, data, on_progress), stage.data, strict=True):
            rows, where = usable(index, source, stage, recipe), f"stage {stage.name}: {index.manifest}"
            if not len(rows):
                spoken = ", ".join(index.languages[number] for number in np.unique(index.language)) or "nothing"
                raise DataError(
                    f"{where} has no utterance for this source (it holds {spoken}); "
                    "look at the recipe's sources and targets and the filters."
                )
            if stage.uses_speech(source) and (longer := int((index.duration_s[rows] > window_s).sum())):
                raise DataError(
                    f"{where}: {longer} utterances are longer than the {window_s:g} s that the model hears; "
                    f"set max_duration_s = {window_s:g} for this source."
                )


def manifest_texts(path: Path, languages: Collection[str]) -> Iterator[str]:
    """Transcripts and translations in these languages. Raises DataError."""
    if not path.is_file():
        raise DataError(f"llm.vocabulary.texts: {path} is missing; put the manifest there or fix --data.")
    for _, row in read_rows(path, Utterance):
        yield from (text for code, text in {**row.translations, row.language: row.text}.items() if code in languages)


def valid_index(data: Path, on_progress: OnProgress = no_progress) -> ManifestIndex | None:
    """That of the held-out utterances, if there are any."""
    path = data / "valid.jsonl"
    return open_index(path, on_progress) if path.is_file() else None


def held_out(index: ManifestIndex, stage: Stage, recipe: Recipe) -> tuple[Stage, list[Draw]]:
    """The stage on held-out speech as it is, without caps, and the utterances that validate it: the first of a fixed
    random order, since manifests are sorted by language; numbered anew. None is longer than the model hears, or has
    more text than can belong to it."""
    source = DataSource(name="valid", max_duration_s=recipe.audio.window_s)
    if not stage.tasks:  # all its sources have their own
        source = source.model_copy(update={"tasks": stage.data[0].tasks})
    plain = {"data": [source], "augment": None, "max_per_language": None, "max_per_direction": None}
    stage = stage.model_copy(update=plain)
    rows = np.arange(len(index))
    wordy = rows[index.most_letters(rows) > most_letters_in(index.duration_s)]
    selection = Selection([index], stage, recipe, [wordy])
    place = np.empty(len(index), np.int64)
    place[np.random.default_rng(0).permutation(len(index))] = np.arange(len(index))
    numbers = np.argsort(place[selection.chosen[0].row], kind="stable")[:_VALIDATED]
    return stage, [selection.draw(int(number))._replace(number=at) for at, number in enumerate(numbers)]


def used_rows(recipe: Recipe, data: Path, on_progress: OnProgress = no_progress) -> list[tuple[ManifestIndex, Rows]]:
    """Every manifest of a recipe, valid.jsonl too, and the rows that any stage hears, sorted."""
    valid = valid_index(data, on_progress)
    used: dict[Path, tuple[ManifestIndex, list[Rows]]] = {}
    for stage in (stage for stage in recipe.stages if stage.uses_audio):
        selection = Selection(stage_indexes(stage, data, on_progress), stage, recipe)
        for index, chosen, source in zip(selection.indexes, selection.chosen, stage.data, strict=True):
            if stage.uses_speech(source):
                used.setdefault(index.manifest, (index, []))[1].append(chosen.row)
        if valid is not None:
            rows = [draw.row for draw in held_out(valid, stage, recipe)[1]]
            used.setdefault(valid.manifest, (valid, []))[1].append(np.array(rows, np.int32))
    return [(index, np.unique(np.concatenate(rows))) for index, rows in used.values()]
