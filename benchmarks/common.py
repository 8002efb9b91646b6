"""What the benchmarks share: a model of a recipe's shapes, clips of noise, a clock."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from dragoman.data.features import Features
from dragoman.model.build import LoadedModel, new_model
from dragoman.model.load import load_for_inference
from dragoman.pretraining.encoder import new_whisper_encoder
from dragoman.pretraining.llm import new_llm
from dragoman.pretraining.tokenizer import train_tokenizer
from dragoman.recipe import Recipe, load_recipe
from dragoman.text.languages import SETS

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def arguments(about: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--model", help="a model folder, or a name on the hub; without it, one of the recipe's shapes")
    parser.add_argument("--recipe", default="tiny", help="untrained: random weights, or the bases it names on the hub")
    parser.add_argument("--device", default="cpu", help="in bf16 except on a CPU")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: what was computed, on a busy machine")
    return parser


def load(options: argparse.Namespace) -> LoadedModel:
    """The model that was asked for, and a line on standard error that says what and where."""
    torch.set_num_threads(options.threads)
    loaded = (
        load_for_inference(options.model, options.device)
        if options.model
        else untrained(options.recipe, options.device)
    )
    what = options.model or f"untrained {options.recipe}"
    size = sum(parameter.numel() for parameter in loaded.model.parameters()) / 1e6
    where = f"{loaded.model.llm.dtype}, {options.device}, {options.threads} threads, torch {torch.__version__}"
    print(f"{what} ({size:.1f} M), {where}", file=sys.stderr)
    return loaded


def untrained(name: str, device: str) -> LoadedModel:
    """A recipe's shapes with random weights; the bases themselves where it names them on the hub."""
    recipe, dtype = load_recipe(name), torch.float32 if device == "cpu" else torch.bfloat16
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        bases = Path(folder) if recipe.bases else None
        if bases is not None:
            random_bases(recipe, bases)
        loaded = new_model(recipe, bases, dtype)
    loaded.model.to(device)
    return loaded


def random_bases(recipe: Recipe, folder: Path) -> None:
    """The tokenizer has a tag for every language there is."""
    assert recipe.bases is not None
    random = np.random.default_rng(0)
    words = ["".join(random.choice(list("abcdefghijklmnopqrstuvwxyz"), random.integers(2, 9))) for _ in range(3000)]
    tokenizer = train_tokenizer(words, list(SETS["fleurs-102"]), recipe.bases.tokenizer.pieces)
    tokenizer.save_pretrained(folder / "tokenizer")
    new_llm(recipe.bases.llm, tokenizer).save_pretrained(folder / "llm")
    new_whisper_encoder(recipe.bases.encoder, recipe).save_pretrained(folder / "encoder")


def clips(loaded: LoadedModel, durations_s: list[float]) -> list[Features]:
    """Noise; as long as the window where the model pads to it."""
    audio, random = loaded.recipe.audio, np.random.default_rng(0)
    assert audio.kind == "log-mel"
    whole = 2 * audio.window_frames
    frames = [whole if audio.padding == "window" else min(whole, 2 * round(50 * seconds)) for seconds in durations_s]
    return [random.normal(size=(audio.mel_bins, size)).astype(np.float32) for size in frames]


def in_turns(
    ways: Mapping[str, Callable[[], object]], repeats: int, clock: str = "wall", warm_ups: int = 1
) -> dict[str, list[float]]:
    """Seconds that each way took, in turns, so that a busy machine slows them all; `warm_ups` rounds go uncounted."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(warm_ups + repeats):
        for name, run in ways.items():
            start = CLOCKS[clock]()
            run()
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
            if turn >= warm_ups:
                times[name].append(CLOCKS[clock]() - start)
    return times


def ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    """How many times faster, the median of the turns."""
    return statistics.median(theirs / own for own, theirs in zip(ours, others, strict=True))


def compare(
    what: str,
    ours: Callable[[], object],
    others: dict[str, Callable[[], object]],
    repeats: int,
    clock: str = "wall",
    warm_ups: int = 1,
) -> None:
    """Print how many times faster `ours` is than the others, with median times."""
    times = in_turns({"": ours, **others}, repeats, clock, warm_ups)
    middle = {name: 1000 * statistics.median(values) for name, values in times.items()}
    for name in others:
        print(
            f"{what}: {ratio(times[''], times[name]):.2f} x as fast as {name} "
            f"({middle['']:.0f} ms against {middle[name]:.0f} ms)"
        )
