"""What the benchmarks share: a model of the tiny recipe's shapes, clips of noise, a clock."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dragoman.bases.encoder import new_whisper_encoder
from dragoman.bases.llm import new_llm
from dragoman.bases.tokenizer import train_tokenizer
from dragoman.data.batching import Mel
from dragoman.model.checkpoint import LoadedModel, load_on, new_model
from dragoman.recipe import load_recipe


def arguments(about: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--model", help="a model folder; without it, random weights of the tiny recipe's shapes")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--repeats", type=int, default=5)
    return parser


def load(name: str | None, threads: int) -> LoadedModel:
    """The model, and a line on standard error that says what and where."""
    torch.set_num_threads(threads)
    loaded = load_on(name, "cpu") if name else random_model()
    what = name or "random weights of the tiny recipe"
    size = sum(parameter.numel() for parameter in loaded.model.parameters()) / 1e6
    print(f"{what} ({size:.1f} M), fp32, {threads} threads, torch {torch.__version__}", file=sys.stderr)
    return loaded


def random_model() -> LoadedModel:
    recipe = load_recipe("tiny")
    assert recipe.bases is not None
    random = np.random.default_rng(0)
    words = ["".join(random.choice(list("abcdefghijklmnopqrstuvwxyz"), random.integers(2, 9))) for _ in range(3000)]
    tokenizer = train_tokenizer(words, recipe.languages, recipe.bases.tokenizer.pieces)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        bases = Path(folder)
        tokenizer.save_pretrained(bases / "tokenizer")
        new_llm(recipe.bases.llm, tokenizer).save_pretrained(bases / "llm")
        new_whisper_encoder(recipe.bases.encoder, recipe).save_pretrained(bases / "encoder")
        return new_model(recipe, bases, torch.float32)


def clips(loaded: LoadedModel, durations_s: list[float]) -> list[Mel]:
    """Noise; as long as the window where the model pads to it."""
    audio, random = loaded.recipe.audio, np.random.default_rng(0)
    whole = loaded.recipe.window_frames
    frames = [whole if audio.padding == "window" else min(whole, 2 * round(50 * seconds)) for seconds in durations_s]
    return [random.normal(size=(audio.mel_bins, size)).astype(np.float32) for size in frames]


def compare(what: str, ours: Callable[[], object], others: dict[str, Callable[[], object]], repeats: int) -> None:
    """Print how many times faster `ours` is than the others: median times, in turns, after one round unmeasured."""
    ways = {"": ours, **others}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            if turn:
                times[name].append(time.perf_counter() - start)
    middle = {name: statistics.median(values) for name, values in times.items()}
    for name in others:
        print(
            f"{what}: {middle[name] / middle['']:.2f} x as fast as {name} "
            f"({1000 * middle['']:.0f} ms against {1000 * middle[name]:.0f} ms)"
        )
