"""Which manifests a stage uses, and which of their rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dragoman.data.index import ManifestIndex, open_index
from dragoman.data.selection import Draw, Selection, choose
from dragoman.errors import DataError
from dragoman.recipe import Recipe, Source, Stage

_VALIDATED = 256


def stage_indexes(stage: Stage, data: Path) -> list[ManifestIndex]:
    """Those of the stage's sources, in order. Raises DataError for one that is missing."""
    paths = [data / f"{source.name}.jsonl" for source in stage.data]
    if missing := [path for path in paths if not path.is_file()]:
        raise DataError(f"stage {stage.name}: {missing[0]} is missing; put the manifest there or fix --data.")
    return [open_index(path) for path in paths]


def valid_index(data: Path) -> ManifestIndex | None:
    """That of the held-out utterances, if there are any."""
    path = data / "valid.jsonl"
    return open_index(path) if path.is_file() else None


def held_out(index: ManifestIndex, stage: Stage, recipe: Recipe) -> tuple[Stage, list[Draw]]:
    """The stage on held-out speech as it is, and the utterances that validate it: the first of a fixed random order,
    since manifests are sorted by language; numbered anew."""
    stage = stage.model_copy(update={"data": [Source(name="valid")], "augment": None})
    selection = Selection([index], stage, recipe)
    place = np.empty(len(index), np.int64)
    place[np.random.default_rng(0).permutation(len(index))] = np.arange(len(index))
    numbers = np.argsort(place[selection.chosen[0].row], kind="stable")[:_VALIDATED]
    return stage, [selection.draw(int(number))._replace(number=at) for at, number in enumerate(numbers)]


def used_rows(recipe: Recipe, data: Path) -> list[tuple[ManifestIndex, NDArray[np.int32]]]:
    """Every manifest of a recipe, valid.jsonl too, and the rows that any stage hears, sorted."""
    valid = valid_index(data)
    used: dict[Path, tuple[ManifestIndex, list[NDArray[np.int32]]]] = {}
    for stage in (stage for stage in recipe.stages if stage.hears):
        for index, source in zip(stage_indexes(stage, data), stage.data, strict=True):
            used.setdefault(index.manifest, (index, []))[1].append(choose(index, source, stage, recipe).row)
        if valid is not None:
            rows = [draw.row for draw in held_out(valid, stage, recipe)[1]]
            used.setdefault(valid.manifest, (valid, []))[1].append(np.array(rows, np.int32))
    return [(index, np.unique(np.concatenate(rows))) for index, rows in used.values()]
