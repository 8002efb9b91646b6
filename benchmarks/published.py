"""Samples a second and peak memory of the published systems, and their ratio to Qwen2-Audio on the same card in the
same run, from log-mels of 10 s to tokens. Weights are random: what is written is noise, but always `--tokens` long.

All systems are given the same log-mels, made beforehand. They take turns, and a ratio is the median of the turns': on a
CPU a turn goes from system to system with each batch and number of beams; on a GPU, which has room for one of them, a
turn measures all of one system, then builds the next in its place.

At toy width, layers are few and narrow; windows, audio tokens, prompts and outputs are as long as at full size.

`--protocol llm-srt` measures what LLM-SRT's Table 7 does, fp16 on CUDA: seconds for 1,000 samples, greedily in batches
of 4 to 64 and with 5 beams in batches of 4 to 12, beside the paper's own on four RTX 4090. There no cell ends by the
clock unless `--seconds` says so.
"""

from __future__ import annotations

import argparse
import functools
import gc
import itertools
import math
import statistics
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from common import CLOCKS
from shapes import TOY_ADAPTER, TOY_LLM, TOY_WHISPER, WHISPER_LARGE, encoder_of, llm_of, qwen2_audio
from transformers import GenerationConfig

from dragoman.data.audio import SAMPLE_RATE
from dragoman.data.batching import TextRow
from dragoman.data.features import FRAMES_PER_SECOND, Features, LogMel
from dragoman.inference.decoding.generate import TextSearch
from dragoman.inference.decoding.prefix_cache import encode_audio_prefix
from dragoman.model.build import LoadedModel, assemble
from dragoman.model.folder import merge_lora
from dragoman.pretraining.tokenizer import train_tokenizer
from dragoman.recipe import load_recipe

REFERENCE = "qwen2-audio-7b"
NAMES = (REFERENCE, "llm-srt-7b", "mcat-small-9b", "mcat-large-27b")
CLIP_S, WINDOW_S, MEL_BINS = 10, 30.0, 128
SAMPLES = 1000
TABLE_7: dict[tuple[str, int, int], int | None] = {
    (REFERENCE, 4, 1): 59, (REFERENCE, 8, 1): None, (REFERENCE, 4, 5): None, ("llm-srt-7b", 4, 1): 74,
    ("llm-srt-7b", 8, 1): 39, ("llm-srt-7b", 16, 1): 28, ("llm-srt-7b", 32, 1): 22, ("llm-srt-7b", 64, 1): 19,
    ("llm-srt-7b", 4, 5): 93, ("llm-srt-7b", 8, 5): 64, ("llm-srt-7b", 12, 5): 56,
}  # fmt: skip
"""LLM-SRT (arXiv 2409.19510), Table 7: system, batch, beams -> seconds for 1,000 samples; None: out of memory."""
PAD, END, AUDIO = 0, 1, 2
TOY_VOCABULARY = 4096
PROMPT = tuple(range(10, 24))
"""Token ids of a prompt; Qwen2-Audio's "Detect the language and translate…" is about as long, as are the tags in an LLM
that knows them as text."""


@dataclass(frozen=True)
class Machine:
    device: torch.device
    dtype: torch.dtype
    full: bool

    @property
    def on_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def name(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.on_cuda else f"CPU, {torch.get_num_threads()} threads"

    @property
    def encoder(self) -> dict[str, int]:
        return WHISPER_LARGE if self.full else TOY_WHISPER

    @property
    def llm(self) -> dict[str, Any]:
        """What differs from the LLM's own config."""
        return {} if self.full else {**TOY_LLM, "vocab_size": TOY_VOCABULARY}

    @contextmanager
    def weights(self) -> Iterator[None]:
        """What is made here lies on the device in its precision from the start: there is no room for two of it."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)
        try:
            with self.device:
                yield
        finally:
            torch.set_default_dtype(before)


class System(ABC):
    @abstractmethod
    def __call__(self, mels: Sequence[Features], beams: int, tokens: int) -> list[int]:
        """One batch, heard and answered in `tokens` tokens; returns how many were written for each clip."""


class SpeechLlm(System):
    """Ours, of a recipe: encoder, adapter, the LLM over the audio, and its search."""

    def __init__(self, name: str, machine: Machine) -> None:
        recipe = load_recipe(name)
        assert recipe.audio.kind == "log-mel"
        assert (recipe.audio.mel_bins, recipe.audio.window_s, recipe.audio.padding) == (MEL_BINS, WINDOW_S, "window")
        if not machine.full:
            recipe = recipe.model_copy(update={"adapter": recipe.adapter.model_copy(update=TOY_ADAPTER)})
        tokenizer = train_tokenizer(["a b c"], recipe.languages[:2], 300)  # the LLM's has no part in the time
        with machine.weights():
            encoder, llm = encoder_of(recipe, **machine.encoder), llm_of(recipe, **machine.llm)
        llm.generation_config = GenerationConfig()
        with machine.device:  # the adapter is held in fp32, as in a model that is loaded
            model = assemble(recipe, encoder, llm, tokenizer)
        merge_lora(model)
        self.loaded = LoadedModel(recipe, model.eval(), tokenizer, None)

    def __call__(self, mels: Sequence[Features], beams: int, tokens: int) -> list[int]:
        search = TextSearch(self.loaded, tokens, len(mels) * beams)
        search.min_new_tokens = tokens
        heard = encode_audio_prefix(self.loaded.model, mels)
        outputs = search(heard, range(len(mels)), [TextRow(PROMPT)] * len(mels), [[]] * len(mels), beams)
        return [output.stats.tokens for output in outputs]


class Qwen2Audio(System):
    """Transformers' own, with what its processor makes: of a window of 30 s, 10 s are speech, 250 audio tokens."""

    audio_tokens = ((CLIP_S * FRAMES_PER_SECOND - 1) // 2 - 1) // 2 + 1
    """As its processor counts; the model refuses any other number."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        with machine.weights():
            self.model = qwen2_audio(machine.encoder, AUDIO, **machine.llm).eval()

    def __call__(self, mels: Sequence[Features], beams: int, tokens: int) -> list[int]:
        device, frames = self.machine.device, CLIP_S * FRAMES_PER_SECOND
        heard = torch.from_numpy(np.stack(mels)).to(device, self.machine.dtype)
        speech = torch.arange(heard.shape[2], device=device).expand(len(mels), -1) < frames
        ids = torch.tensor([[*PROMPT[:1], *[AUDIO] * self.audio_tokens, *PROMPT[1:]]] * len(mels), device=device)
        how = GenerationConfig(
            do_sample=False,
            num_beams=beams,
            min_new_tokens=tokens,
            max_new_tokens=tokens,
            eos_token_id=END,
            pad_token_id=PAD,
        )
        found = self.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            input_features=heard,
            feature_attention_mask=speech.long(),
            generation_config=how,
        )
        return [found.shape[1] - ids.shape[1]] * len(mels)


@dataclass(frozen=True)
class Cell:
    """What was measured in one turn. `peak_gb`: 10^9 bytes, weights included; None on a CPU."""

    samples: int
    seconds: float
    peak_gb: float | None

    @property
    def rate(self) -> float:
        return self.samples / self.seconds


def fits(run: Callable[..., Any], *given: Any) -> Any:
    """What `run` returns; None when the card has too little memory for it."""
    try:
        return run(*given)
    except torch.OutOfMemoryError:
        pass  # only out here is what the traceback held let go
    empty()
    return None


def empty() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@functools.cache
def log_mels(count: int) -> tuple[Features, ...]:
    """Of noise, (128, 3000) each, of which 10 s are it."""
    random, features = np.random.default_rng(0), LogMel(MEL_BINS, WINDOW_S)
    noise = (random.normal(scale=0.1, size=CLIP_S * SAMPLE_RATE) for _ in range(count))
    return tuple(features(clip.astype(np.float32)) for clip in noise)


@torch.inference_mode()
def measure(
    system: System,
    machine: Machine,
    mels: Sequence[Features],
    beams: int,
    tokens: int,
    samples: float,
    most_s: float,
    clock: str = "wall",
) -> Cell:
    """Whole batches of these until `samples` are done or `most_s` seconds are over, after one unmeasured."""
    now = CLOCKS[clock]

    def run() -> None:
        written = system(mels, beams, tokens)
        if written != [tokens] * len(mels):
            raise AssertionError(f"{tokens} tokens were to be written for each clip, and {written} were")
        if machine.on_cuda:
            torch.cuda.synchronize(machine.device)

    if machine.on_cuda:
        torch.cuda.reset_peak_memory_stats(machine.device)
    run()
    done, start = 0, now()
    while not done or (done < samples and now() - start < most_s):
        run()
        done += len(mels)
    seconds = now() - start
    return Cell(done, seconds, torch.cuda.max_memory_allocated(machine.device) / 1e9 if machine.on_cuda else None)


Amount = tuple[int, int]
"""A batch, and beams."""
Turns = dict[tuple[str, Amount], list[Cell | None]]
"""What each system's turns found; None: out of memory."""


class Shelf:
    """The systems: on a CPU all at once, on a GPU the one that was taken last."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.built: dict[str, System | None] = {}

    def take(self, name: str) -> System | None:
        if name not in self.built:
            if self.machine.on_cuda:
                self.built.clear()
                empty()
            self.built[name] = fits(make, name, self.machine)
        return self.built[name]


def make(name: str, machine: Machine) -> System:
    torch.manual_seed(0)
    return Qwen2Audio(machine) if name == REFERENCE else SpeechLlm(name, machine)


def one_turn(shelf: Shelf, names: Sequence[str], amounts: Sequence[Amount], options: Any, found: Turns) -> None:
    """Measure every system with every amount, in the order that this module's head tells."""
    order = list(itertools.product(names, amounts))
    if not shelf.machine.on_cuda:
        order.sort(key=lambda pair: amounts.index(pair[1]))
    mels = log_mels(max(options.batches))
    for name, amount in order:
        found.setdefault((name, amount), []).append(cell(shelf, name, amount, mels, options))


def cell(shelf: Shelf, name: str, amount: Amount, mels: Sequence[Features], options: Any) -> Cell | None:
    """One turn of one system. Nothing holds the system when this returns but the shelf."""
    system, (batch, beams) = shelf.take(name), amount
    given = (options.tokens, options.samples / options.turns, options.seconds / options.turns, options.clock)
    return system and fits(measure, system, shelf.machine, mels[:batch], beams, *given)


def table(found: Turns) -> Iterator[str]:
    """In Markdown, of all turns so far."""
    yield "| system | batch | beams | samples/s | ratio to Qwen2-Audio | peak GB | samples measured |"
    yield "|---|---|---|---|---|---|---|"
    for (name, (batch, beams)), turns in found.items():
        cells = [cell for cell in turns if cell is not None]
        if len(cells) < len(turns):
            yield f"| {name} | {batch} | {beams} | out of memory | - | - | - |"
            continue
        others = found.get((REFERENCE, (batch, beams)), [])
        ratios = [own.rate / other.rate for own, other in zip(cells, others, strict=False) if other is not None]
        ratio = f"{statistics.median(ratios):.2f}" if len(ratios) == len(cells) else "-"
        peaks = [cell.peak_gb for cell in cells if cell.peak_gb is not None]
        peak = f"{max(peaks):.1f}" if peaks else "-"
        samples, seconds = sum(cell.samples for cell in cells), sum(cell.seconds for cell in cells)
        yield f"| {name} | {batch} | {beams} | {samples / seconds:.3g} | {ratio} | {peak} | {samples} |"


def protocol_table(found: Turns) -> Iterator[str]:
    """In Markdown, as LLM-SRT's Table 7, beside it."""
    yield "| system | batch | beams | s for 1,000 samples | the paper's | samples measured | peak GB |"
    yield "|---|---|---|---|---|---|---|"
    for (name, (batch, beams)), turns in found.items():
        cells = [cell for cell in turns if cell is not None]
        paper = TABLE_7.get((name, batch, beams), 0)
        theirs = "out of memory" if paper is None else str(paper or "-")
        if len(cells) < len(turns):
            yield f"| {name} | {batch} | {beams} | out of memory | {theirs} | - | - |"
            continue
        samples, seconds = sum(cell.samples for cell in cells), sum(cell.seconds for cell in cells)
        peaks = [cell.peak_gb for cell in cells if cell.peak_gb is not None]
        peak = f"{max(peaks):.1f}" if peaks else "-"
        yield f"| {name} | {batch} | {beams} | {SAMPLES * seconds / samples:.3g} | {theirs} | {samples} | {peak} |"


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", choices=["full", "toy"], default="full" if cuda else "toy")
    parser.add_argument("--systems", nargs="+", choices=NAMES, help="all by default")
    parser.add_argument("--batches", nargs="+", type=int, help="1 8 32 64 by default, on a CPU 1 4")
    parser.add_argument("--beams", nargs="+", type=int, help="1 5 by default")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--samples", type=int, default=1000, help="of each cell, over all turns; whole batches")
    parser.add_argument("--seconds", type=float, help="a cell that takes longer, over all turns, stops; 15 by default")
    parser.add_argument("--tokens", type=int, default=64, help="written for each sample")
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: what was computed, on a busy machine")
    parser.add_argument("--protocol", choices=["llm-srt"], help="a paper's table: its systems, batches, beams")
    options = parser.parse_args(given)
    usual: dict[str, Any] = {"systems": NAMES, "batches": [1, 8, 32, 64] if cuda else [1, 4], "beams": [1, 5]}
    if options.protocol:
        if other := [f"--{name}" for name in usual if getattr(options, name)]:
            parser.error(f"--protocol {options.protocol} has its own systems, batches and beams; leave out {other[0]}.")
        usual = {"systems": (REFERENCE, "llm-srt-7b")}
    usual["seconds"] = math.inf if options.protocol else 15.0
    vars(options).update({name: value for name, value in usual.items() if getattr(options, name) is None})
    return options


def amounts_of(options: argparse.Namespace) -> list[Amount]:
    """What is measured: batches and beams."""
    if options.protocol:
        amounts = list(dict.fromkeys((batch, beams) for _, batch, beams in TABLE_7))
        options.batches = [batch for batch, _ in amounts]
        return sorted(amounts, key=lambda amount: amount[::-1])
    return [(batch, beams) for beams in options.beams for batch in options.batches]


def main(given: Sequence[str] | None = None) -> None:
    options = arguments(given)
    device = torch.device(options.device)
    half = torch.float16 if options.protocol else torch.bfloat16
    machine = Machine(device, half if device.type == "cuda" else torch.float32, options.width == "full")
    precision = str(machine.dtype).removeprefix("torch.")
    print(f"{machine.name}; {options.width} width, {precision}, torch {torch.__version__}; {options.tokens} tokens")
    limit = "" if math.isinf(options.seconds) else f", or what {options.seconds:g} s are enough for"
    print(f"Each cell: {options.samples} samples in whole batches{limit}")
    amounts, show = amounts_of(options), protocol_table if options.protocol else table
    shelf, found = Shelf(machine), Turns()
    for turn in range(1, options.turns + 1):
        one_turn(shelf, sorted(options.systems, key=NAMES.index), amounts, options, found)
        print(f"\nAfter turn {turn} of {options.turns}:\n", *show(found), sep="\n", flush=True)


if __name__ == "__main__":
    main()
