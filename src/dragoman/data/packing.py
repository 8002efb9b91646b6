"""A manifest and its recordings -> tar shards in WebDataset's layout and their manifest; over processes, resumable.

    OUT/train.jsonl                           the rows, in the order of the shards
    OUT/shards/train-3f2a9c1b07-000000.tar    00000000.flac, 00000000.json, 00000001.flac, …

Utterances come in a random order, so that a few neighbouring shards are a fair sample of the whole. A recording is
copied as it is; where several rows share one, each row's stretch is cut out, as 16 kHz FLAC. The `.json` beside it is
the row: other programs need the shards alone. A shard is there whole or not at all, and its name holds a digest of the
manifest's content: an interrupted run goes on, and takes over nothing that is stale.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from dragoman.data.audio import SAMPLE_RATE, load_audio
from dragoman.data.index import ManifestIndex, open_index
from dragoman.data.index.building import shared_recordings
from dragoman.data.shards import open_audio, write_shard
from dragoman.data.synthesis import write_flac
from dragoman.errors import AudioError, DataError, OutputError
from dragoman.files import atomic_file
from dragoman.parallel import counted, in_order
from dragoman.progress import OnProgress, no_progress
from dragoman.records import Utterance, to_json_line

FOLDER = "shards"
_ENDING = re.compile(r"\.[a-z0-9]{1,5}")
_ROW = ".json"


@dataclass(frozen=True, slots=True)
class _PackingTask:
    """A shard: `rows` (n,) of the index, `is_cut` (n,) those that are a stretch of a recording, `first` its number."""

    index: ManifestIndex
    path: Path
    first: int
    rows: NDArray[np.int64]
    is_cut: NDArray[np.bool_]


def pack(
    manifest: Path,
    out: Path,
    *,
    per_shard: int = 1000,
    workers: int = 1,
    on_progress: OnProgress = no_progress,
) -> int:
    """Write the shards and the manifest of `manifest` into `out`; returns the number of shards.

    Raises AudioError for a recording that is missing, empty or (where it is cut) cannot be decoded, naming it;
    ManifestError; OutputError; DragomanError where a process dies.
    """
    target = out / manifest.name
    if os.path.realpath(target) == os.path.realpath(manifest):
        raise OutputError(f"{target}: would overwrite what is packed; choose another folder.")
    index = open_index(manifest, on_progress)
    tasks = _tasks(index, out / FOLDER, per_shard, on_progress)
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    with atomic_file(target) as file:
        for lines in counted(in_order(_pack, tasks, workers), len(tasks), partial(on_progress, manifest.name)):
            file.writelines(lines)
    return len(tasks)


def _tasks(index: ManifestIndex, folder: Path, per_shard: int, on_progress: OnProgress) -> list[_PackingTask]:
    order = np.random.default_rng(0).permutation(len(index))
    is_cut = shared_recordings(index.manifest, on_progress)
    name = f"{index.manifest.name.removesuffix('.jsonl')}-{index.digest[:10]}-{per_shard}"
    parts = (order[at : at + per_shard] for at in range(0, len(order), per_shard))
    return [
        _PackingTask(index, folder / f"{name}-{number:06d}.tar", number * per_shard, rows, is_cut[rows])
        for number, rows in enumerate(parts)
    ]


def _pack(task: _PackingTask) -> list[str]:
    if not task.path.exists():
        write_shard(task.path, _members(task))
    place = f"{task.path.parent.name}/{task.path.name}#"
    return [to_json_line(row.model_copy(update={"audio": place + row.audio})) for row in _rows(task.path)]


def _members(task: _PackingTask) -> Iterator[tuple[str, bytes]]:
    for number, (row, is_cut) in enumerate(zip(task.rows.tolist(), task.is_cut.tolist(), strict=True), task.first):
        utterance = task.index.row(row)
        stretch = _stretch(utterance) if is_cut or utterance.start_s else None
        ending = PurePosixPath(utterance.audio).suffix.lower() if stretch is None else ".flac"
        ending = ending if _ENDING.fullmatch(ending) and ending != _ROW else ".audio"
        packed = utterance.model_copy(update={"audio": f"{number:08d}{ending}"})
        if stretch is None:
            yield packed.audio, _content(utterance.audio)
        else:
            content, duration_s = stretch
            packed = packed.model_copy(update={"start_s": 0.0, "duration_s": duration_s})
            yield packed.audio, content
        yield f"{number:08d}{_ROW}", to_json_line(packed).encode()


def _stretch(utterance: Utterance) -> tuple[bytes, float]:
    """The part of a recording that a row means, as the bytes of a FLAC file, and how long it is in seconds."""
    samples = load_audio(utterance.audio, utterance.start_s, utterance.duration_s, language=utterance.language)
    if not len(samples):
        raise AudioError(f"{utterance.audio}: holds no sound for {utterance.id!r}; leave the row out.")
    file = io.BytesIO()
    write_flac(file, samples)
    return file.getvalue(), len(samples) / SAMPLE_RATE


def _content(audio: str) -> bytes:
    try:
        with open_audio(audio) as file:
            content = file.read()
    except OSError as error:
        raise AudioError(
            f"{audio}: cannot be read ({error.strerror}); check the manifest with dragoman check."
        ) from error
    if not content:
        raise AudioError(f"{audio}: is empty; check the manifest with dragoman check.")
    return content


def _rows(shard: Path) -> Iterator[Utterance]:
    """Those that a shard holds, `audio` being a member of it."""
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                file = tar.extractfile(member) if member.name.endswith(_ROW) else None
                if file:
                    yield Utterance.model_validate_json(file.read())
    except (tarfile.TarError, ValueError, OSError) as error:
        raise DataError(f"{shard}: is not a shard of this manifest; delete it and call the command again.") from error
