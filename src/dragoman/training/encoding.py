"""The frozen encoder run once over all that a recipe trains on; training then reads its frames from files.

Shapes: U utterances, C channels and F frames of speech features, S encoder frames, E encoder width, n rows of a file.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dragoman.data.batching import pad_features
from dragoman.data.examples import features_of
from dragoman.data.features import SpeechFeatures, speech_features
from dragoman.data.frames import Frames, FrameStore, new_frames, open_frames
from dragoman.data.index import ManifestIndex
from dragoman.data.prefetch import prefetch_map, workers_watched
from dragoman.data.sampling import Rows
from dragoman.errors import OutputError, RecipeError
from dragoman.files import only_run
from dragoman.model.encoder import SpeechEncoder
from dragoman.progress import OnProgress, no_progress
from dragoman.recipe import ENCODER_FRAMES_PER_S, Recipe
from dragoman.training.inputs.manifests import used_rows
from dragoman.training.warm_start import initial_encoder, with_initial_revisions

_SHARD_BYTES = 512 << 20
"""Of a file, at most: a process holds its frames until it is written."""
_MOST = 512
"""Utterances of a file: what is lost at most when a process is killed."""


@dataclass(frozen=True)
class StoredFrames:
    """A folder of stores, one a manifest, made by one encoder in one way."""

    folder: Path
    made_with: dict[str, str]

    @classmethod
    def for_encoder(cls, folder: Path, recipe: Recipe, encoder: SpeechEncoder) -> StoredFrames:
        made_with = {  # what kind of features they are, the encoder says
            "encoder": encoder.digest(),
            "audio setting": json.dumps(recipe.audio.model_dump(exclude={"kind"})),
            "precision": "fp32" if precision(recipe) is torch.float32 else "bf16",
        }
        return cls(folder, made_with)

    def open(self, index: ManifestIndex, rows: Rows) -> FrameStore:
        """Raises DataError where the frames of these rows are not all there, or not those of this encoder."""
        return open_frames(self._place(index), rows, self._made_with(index))

    def new(self, index: ManifestIndex, rows: Rows, per_shard: int) -> FrameStore:
        """Begun, or to be gone on with. Raises DataError for a folder that holds others."""
        return new_frames(self._place(index), rows, per_shard, self._made_with(index))

    def _place(self, index: ManifestIndex) -> Path:
        return self.folder / index.manifest.stem

    def _made_with(self, index: ManifestIndex) -> dict[str, str]:
        return {"manifest": index.digest, **self.made_with}


class FrameShard(NamedTuple):
    """`rows` (n,) of a manifest whose frames make one file."""

    source: int
    number: int
    rows: NDArray[np.int32]


@dataclass(frozen=True)
class ClipReader:
    """Reads audio; a worker process gets a copy."""

    indexes: Sequence[ManifestIndex]
    features: SpeechFeatures

    def batches(self, shard: FrameShard, size: int) -> Iterator[FrameShard]:
        """The shard in parts of at most `size` rows, those of like length together."""
        by_length = shard.rows[np.argsort(self.indexes[shard.source].duration_s[shard.rows], kind="stable")]
        return (shard._replace(rows=by_length[at : at + size]) for at in range(0, len(by_length), size))

    def padded(self, batch: FrameShard) -> tuple[Tensor, Tensor]:
        """Features (U, C, F) and the number of frames (U,)."""
        index = self.indexes[batch.source]
        return pad_features([features_of(index.utterance(int(row), ()), self.features) for row in batch.rows])


def check_storable(recipe: Recipe) -> None:
    """Raise RecipeError when an utterance does not sound the same to the encoder each time it comes."""
    if not any(stage.uses_audio for stage in recipe.stages):
        raise RecipeError(f"The recipe {recipe.name!r} has no stage that hears: there is nothing to encode.")
    if recipe.encoder.lora is not None:
        raise RecipeError(
            f"The recipe {recipe.name!r} has a LoRA in its encoder, so that its frames change in training; train it "
            "from audio, without --features."
        )
    if altered := [stage.name for stage in recipe.stages if stage.augment is not None]:
        raise RecipeError(
            f"stage {altered[0]}: augments speech, which differs each time; train from audio, without --features, "
            "or remove `augment`."
        )


def precision(recipe: Recipe) -> torch.dtype:
    """What frames are computed and stored in: bf16 where all stages run in it, and fp32 where any does not."""
    return torch.bfloat16 if recipe.trained_in_bf16 else torch.float32


def encode(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    bases: Path | None = None,
    batch_size: int = 16,
    device: str | None = None,
    workers: int = 1,
    rank: int = 0,
    processes: int = 1,
    on_progress: OnProgress = no_progress,
) -> int:
    """Store the frames of every utterance that a stage uses under `out/<manifest>/`; returns how many there are.

    Goes on where it stopped. Of several processes each encodes its own files.

    Args:
        recipe: Whose encoder, audio settings and sources these are.
        data: One manifest a source.
        out: Where the frames are stored, for `TrainOptions.features`.
        bases: Base models of our own, where the recipe has some.
        batch_size: Utterances that the encoder gets at once.
        device: Torch's name of one; by default CUDA where there is one.
        workers: Processes that read audio; 0 reads it here.
        rank: This process's number, torchrun's RANK.
        processes: How many there are, torchrun's WORLD_SIZE.
        on_progress: Called with what is being done and how far it is.

    Raises:
        OutputError: The disk has no room for what is missing, or another run is writing to `out`.
    """
    check_storable(recipe)
    recipe = with_initial_revisions(recipe)
    with only_run(out, rank), workers_watched():
        used = used_rows(recipe, data, on_progress)
        dtype = precision(recipe)
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        encoder = initial_encoder(recipe, bases, dtype).to(chosen)
        frame_bytes = encoder.width * dtype.itemsize
        per_shard = max(1, min(_MOST, _SHARD_BYTES // (recipe.audio.window_frames * frame_bytes)))
        frames = StoredFrames.for_encoder(out, recipe, encoder)
        stores = [frames.new(index, rows, per_shard) for index, rows in used]
        if processes == 1:
            _clear(stores)
        pairs = zip(stores, used, strict=True)
        _check_room(out, sum(_missing_bytes(store, index, frame_bytes, recipe) for store, (index, _) in pairs))
        shards = _shards(stores, rank, processes)
        clips = ClipReader([index for index, _ in used], speech_features(recipe.audio))
        parts = (batch for shard in shards for batch in clips.batches(shard, batch_size))
        made = prefetch_map(clips.padded, parts, workers)
        done, total = 0, sum(len(shard.rows) for shard in shards)
        for shard in shards:
            heard: dict[int, Frames] = {}
            for batch in clips.batches(shard, batch_size):
                heard.update(zip(batch.rows.tolist(), frames_of(encoder, *next(made)), strict=True))
                done += len(batch.rows)
                on_progress("encoding", done, total)
            stores[shard.source].write(shard.number, [heard[row] for row in shard.rows.tolist()])
    return sum(len(rows) for _, rows in used)


def frames_of(encoder: SpeechEncoder, features: Tensor, num_frames: Tensor) -> list[Frames]:
    """Features (U, C, F), num_frames (U,) -> (S, E) of each clip, as a training step computes them in the precision of
    the encoder's weights."""
    weights = next(encoder.parameters())
    mixed = weights.dtype is torch.bfloat16
    with torch.inference_mode(), torch.autocast(weights.device.type, torch.bfloat16, enabled=mixed):
        frames, lengths = encoder(features.to(weights.device, weights.dtype), num_frames.to(weights.device))
    # mixed precision gives fp32, and the adapter's first layer rounds it: here already, nothing is lost
    frames = frames.to(weights.dtype).cpu()
    values = frames.view(torch.int16).numpy().view(np.uint16) if mixed else frames.numpy()
    return [own[:length] for own, length in zip(values, lengths.tolist(), strict=True)]


def _shards(stores: Sequence[FrameStore], rank: int, processes: int) -> list[FrameShard]:
    """What one process has left to do; which shards are its own does not depend on what is done."""
    missing = [set(store.missing()) for store in stores]
    every = [FrameShard(source, *shard) for source, store in enumerate(stores) for shard in enumerate(store.shards())]
    return [shard for shard in every[rank::processes] if shard.number in missing[shard.source]]


def _missing_bytes(store: FrameStore, index: ManifestIndex, frame_bytes: int, recipe: Recipe) -> int:
    """What the frames that are not yet stored will take, 50 a second: of each clip, or of the window where it is padded
    to it or nobody knows how long it is; less what is being written already."""
    shards = store.shards()
    rows = np.concatenate([shards[number] for number in store.missing()] or [np.empty(0, np.int32)])
    longest_s = recipe.audio.window_s
    heard_s = np.full(len(rows), longest_s) if recipe.audio.padding == "window" else index.duration_s[rows]
    begun = sum(path.stat().st_size for path in store.folder.glob(".dragoman-*"))
    return int(np.fmin(heard_s, longest_s).sum() * ENCODER_FRAMES_PER_S) * frame_bytes - begun


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"{folder}: the frames that are missing take about {needed / 1e9:,.1f} GB and {free / 1e9:,.1f} GB are "
            "free; make room, choose another --out, or train from audio, without --features."
        )


def _clear(stores: Sequence[FrameStore]) -> None:
    """Remove half-written files that a killed process left."""
    for store in stores:
        for path in store.folder.glob(".dragoman-*"):
            path.unlink()
