"""How much of what the LLM reads in training is padding: steps as a run would draw them, cut into micro-batches as the
trainer cuts them. Audio is as long as the manifest says; none is read.

    python benchmarks/padding.py llm-srt-3b --data data --tokenizer Qwen/Qwen2.5-3B
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer

from dragoman.batch import Batch
from dragoman.data.examples import Examples
from dragoman.data.frames import Frames
from dragoman.data.index import ManifestIndex
from dragoman.data.index.selection import Selection
from dragoman.recipe import ENCODER_FRAMES_PER_S, DataSource, Recipe, Stage, load_recipe, read_stored_recipe
from dragoman.training.inputs.manifests import stage_indexes


@dataclass(frozen=True)
class SilentFrames:
    """In the place of a FrameStore: of each clip as many encoder frames as it would have, of nothing."""

    index: ManifestIndex
    recipe: Recipe

    def __getitem__(self, row: int) -> Frames:
        audio = self.recipe.audio
        if audio.padding == "window":
            return np.zeros((audio.window_frames, 1), np.float32)
        seconds = float(self.index.duration_s[row]) + getattr(audio, "silence_s", 0.0)
        return np.zeros((min(round(ENCODER_FRAMES_PER_S * seconds), audio.window_frames), 1), np.float32)


def positions(batch: Batch, recipe: Recipe) -> tuple[int, int]:
    """Of all rows, those that the LLM reads and those of them that hold something."""
    audio = torch.tensor([recipe.audio_tokens(count) if count else 0 for count in batch.num_frames.tolist()])
    rows = batch.text.num_rows * (int(audio.max()) + batch.text.input_ids.shape[1])
    return rows, int(audio[batch.utterance_of].sum() + batch.text.attention_mask.sum())


def share(stage: Stage, recipe: Recipe, micro: tuple[int, int | None], options: argparse.Namespace) -> str:
    """A row of the table."""
    indexes = stage_indexes(stage, options.data)
    sources = zip(indexes, stage.data, strict=True)
    frames: Any = [SilentFrames(index, recipe) if stage.uses_speech(source) else None for index, source in sources]
    selection = Selection(indexes, stage, recipe)
    examples = Examples(indexes, stage, recipe, AutoTokenizer.from_pretrained(options.tokenizer), *micro, frames)
    steps = map(selection.draws, islice(selection.order().steps(0), options.steps))
    found = [positions(batch, recipe) for step in steps for batch in examples.micro_batches(step)]
    read, held = (sum(column) for column in zip(*found, strict=True))
    cells = [recipe.name, stage.name, stage.schedule.batch, micro[0], micro[1] or "-", round(read / options.steps)]
    return f"| {' | '.join(map(str, cells))} | {1 - held / read:.1%} |"


def stages_of(recipe: Recipe, options: argparse.Namespace) -> Iterator[Stage]:
    for stage in recipe.stages:
        if stage.name in (options.stages or [recipe.stages[-1].name]):
            sources = {"data": [DataSource(name=name) for name in options.sources]} if options.sources else {}
            yield stage.model_copy(update={**sources, **({"targets": options.targets} if options.targets else {})})


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a name, a .toml file or a run's recipe.json")
    parser.add_argument("--data", type=Path, required=True, help="folder of the manifests")
    parser.add_argument("--tokenizer", required=True, help="a folder or a name on the hub")
    parser.add_argument("--stages", nargs="+", help="the last one, otherwise")
    parser.add_argument("--sources", nargs="+", help="manifests in the place of the recipe's")
    parser.add_argument("--targets", type=int, help="of an utterance, in the place of the recipe's")
    parser.add_argument("--micro_batch", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--micro_tokens", type=int, nargs="+", default=[])
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args(given)
    stored = options.recipe.endswith(".json")
    recipe = read_stored_recipe(Path(options.recipe)) if stored else load_recipe(options.recipe)
    print("| recipe | stage | batch | micro_batch | micro_tokens | positions a step | padding |")
    print("|---|---|---|---|---|---|---|")
    for stage in stages_of(recipe, options):
        for size in options.micro_batch:
            for most in (None, *options.micro_tokens):
                print(share(stage, recipe, (size, most), options), flush=True)


if __name__ == "__main__":
    main()
