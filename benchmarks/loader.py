"""Loading: what 10 million utterances cost in time and memory, and batches a second against a plain PyTorch loader.

The manifest is synthetic: 70 languages that all say the same sentences, 4,830 directions. Memory is PSS: a page that
several processes share is counted once. The clips for the second part are noise of 1 to 5 seconds.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from common import compare
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerBase

from dragoman.data.audio import load_audio
from dragoman.data.batching import Example, TextRow, collate
from dragoman.data.examples import Examples
from dragoman.data.features import LogMel
from dragoman.data.index import open_index
from dragoman.data.index.selection import Draw, Selection
from dragoman.data.prefetch import prefetch_map
from dragoman.data.synthesis import write_flac
from dragoman.data.tasks import LanguageTags, TaskItem, build
from dragoman.pretraining.tokenizer import train_tokenizer
from dragoman.recipe import DataSource, Recipe, load_recipe
from dragoman.records import Utterance, read_manifest, write_rows
from dragoman.text.languages import SETS

MB = 1e6
LANGUAGES = SETS["mcat-70"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--utterances", type=int, default=10_000_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16], help="of the part on memory")
    parser.add_argument("--clips", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", help="where the synthetic data is written for the time being")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        throughput(Path(folder), options.clips, options.repeats)
        scale(Path(folder), options.utterances, options.workers)


def n_way_recipe(**caps: Any) -> Recipe:
    """Translation by temperature between all languages, four targets an utterance."""
    recipe = load_recipe("mcat-small-9b")
    changes = {"data": [DataSource(name="fleurs")], "targets": 4, "temperature": 2.0, "max_per_direction": None, **caps}
    stage = recipe.stages[-1].model_copy(update=changes)
    return recipe.model_copy(update={"sources": list(LANGUAGES), "targets": list(LANGUAGES), "stages": [stage]})


def write_n_way(path: Path, utterances: int) -> None:
    row = (
        '{{"id": "{0}-{1}", "audio": "audio/{0}/{1}.flac", "language": "{0}", "duration_s": {2}, "sentence": "{1}",'
        ' "text": "sentence {1} as it is said in the language {0}, of some eighty letters in all"}}\n'
    )
    with open(path, "w", encoding="utf-8") as file:
        for number in range(-(-utterances // len(LANGUAGES))):
            file.writelines(row.format(code, number, 1 + number * 7919 % 2900 / 100) for code in LANGUAGES)


class Texts:
    """Rows as utterances with their translations, as a worker reads them, without the audio."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __call__(self, draws: Sequence[Draw]) -> list[Utterance]:
        found = []
        for draw in draws:
            _, targets = self.examples.asked(draw, self.examples.random(draw))
            found.append(self.examples.indexes[draw.source].utterance(draw.row, targets))
        return found


def scale(folder: Path, utterances: int, workers: Sequence[int]) -> None:
    """Print the seconds of indexing and starting, and the memory of a loader and its workers."""
    manifest = folder / "fleurs.jsonl"
    write_n_way(manifest, utterances)
    print(f"{utterances:,} utterances, {manifest.stat().st_size / 1e9:.2f} GB of manifest, 70 languages n-way")
    before = own_peak()
    with timed("index, the first time"):
        index = open_index(manifest)
    print(
        f"  {index.place.stat().st_size / MB:.0f} MB on disk; {own_peak() - before:.0f} MB of memory at most meanwhile"
    )
    with timed("index, any other time"):
        index = open_index(manifest)
    for name, caps in (("all", {}), ("100 pairs of each direction", {"max_per_direction": 100})):
        recipe = n_way_recipe(**caps)
        stage = recipe.stages[0]
        with timed(f"a stage over {name}, up to its first step"):
            selection = Selection([index], stage, recipe)
            steps = selection.order().steps(0)
            next(steps)
        print(f"  {len(selection):,} items")
        if not caps:
            memory(selection, Texts(Examples([index], stage, recipe, tokenizer())), workers)


def memory(selection: Selection, read: Texts, workers: Sequence[int]) -> None:
    for count in workers:
        order = selection.order()
        batches = prefetch_map(read, map(selection.draws, order.steps(0)), count)
        start = time.perf_counter()
        for _ in islice(batches, 200):
            pass
        speed = 200 * order.batch / (time.perf_counter() - start)
        main = psutil.Process()
        sizes = [process.memory_full_info().pss / MB for process in (main, *main.children())]
        print(
            f"  {count} workers: {sum(sizes):.0f} MB for all processes (main {sizes[0]:.0f}, a worker"
            f" {np.mean(sizes[1:]):.0f}); {speed:.0f} utterances/s with their translations, without audio"
        )
        del batches


def own_peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


class timed:
    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def __exit__(self, *error: object) -> None:
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        print(f"{self.what}: {wall:.1f} s ({cpu:.1f} s of one core)")


def tokenizer() -> PreTrainedTokenizerBase:
    words = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "lmnrst"]
    return train_tokenizer(words, list(LANGUAGES), 200)


class PlainRows(Dataset[Example]):
    """What a PyTorch user writes first: a list of rows, features and ids in `__getitem__`."""

    def __init__(self, utterances: Sequence[Utterance], features: LogMel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.utterances, self.features, self.tokenizer = utterances, features, tokenizer

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, number: int) -> Example:
        utterance = self.utterances[number]
        item = TaskItem(utterance.language, utterance.language, utterance.text, "")
        prompt, answer = (self.tokenizer(text).input_ids for text in build("asr", item, LanguageTags()))
        mel = self.features(load_audio(utterance.audio))
        return Example(mel, (TextRow(tuple(prompt), (*answer, self.tokenizer.eos_token_id)),))


def throughput(folder: Path, clips: int, repeats: int) -> None:
    """Print utterances a second through one worker, ours against plain, and how much of the batches is padding."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(clips):
        seconds = random.uniform(1, 4.9)
        write_flac(folder / f"{number}.flac", random.normal(0, 0.05, int(16000 * seconds)).astype(np.float32))
        text = " ".join(["said"] * int(2 * seconds))
        rows.append(Utterance(id=str(number), audio=f"{number}.flac", language="eng", text=text, duration_s=seconds))
    write_rows(folder / "clips.jsonl", rows)
    recipe = load_recipe("tiny")
    stage = recipe.stages[0].model_copy(update={"ctc_weight": 0.0, "augment": None})
    pieces, index = tokenizer(), open_index(folder / "clips.jsonl")
    selection, examples = Selection([index], stage, recipe), Examples([index], stage, recipe, pieces)
    plain = PlainRows(read_manifest(folder / "clips.jsonl"), examples.features.features, pieces)
    size, pad = stage.schedule.batch, int(pieces.pad_token_id)
    steps = -(-clips // size)

    def ours() -> Iterator[Any]:
        draws = islice(map(selection.draws, selection.order().steps(0)), steps)
        return (batch for batches in prefetch_map(examples.micro_batches, draws, 1) for batch in batches)

    def theirs() -> Iterator[Any]:
        joined = partial(collate, pad_id=pad)
        return iter(DataLoader(plain, size, shuffle=True, num_workers=1, prefetch_factor=4, collate_fn=joined))

    def padding(batches: Iterator[Any]) -> float:
        sizes = [(int(batch.num_frames.sum()), batch.features.shape[0] * batch.features.shape[2]) for batch in batches]
        return 1 - sum(full for full, _ in sizes) / sum(whole for _, whole in sizes)

    compare(
        f"{clips} clips in batches of {size}, one worker",
        lambda: sum(1 for _ in ours()),
        {"a plain Dataset in a DataLoader": lambda: sum(1 for _ in theirs())},
        repeats,
    )
    print(f"padding: {padding(ours()):.0%} of the frames against {padding(theirs()):.0%}")


if __name__ == "__main__":
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}", file=sys.stderr)
    main()
