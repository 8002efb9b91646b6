"""Samples a second and peak memory of the published systems, and their ratio to Qwen2-Audio on the same card in the
same run, from waveforms of 10 s to tokens. Weights are random: what is written is noise, but always `--tokens` long.

At toy width, layers are few and narrow; windows, audio tokens, prompts and outputs are as long as at full size.
"""

from __future__ import annotations

import argparse
import gc
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from shapes import TOY_ADAPTER, TOY_LLM, TOY_WHISPER, WHISPER_LARGE, llm_of, qwen2_audio, whisper
from transformers import GenerationConfig, WhisperFeatureExtractor

from dragoman.bases.tokenizer import train_tokenizer
from dragoman.data.audio import SAMPLE_RATE, Waveform
from dragoman.data.batching import Row
from dragoman.data.features import LogMel
from dragoman.inference.hearing import hear
from dragoman.inference.search import Search
from dragoman.model.checkpoint import LoadedModel, assemble, merge_lora
from dragoman.recipe import load_recipe

REFERENCE = "qwen2-audio-7b"
NAMES = (REFERENCE, "llm-srt-7b", "mcat-small-9b", "mcat-large-27b")
CLIP_S = 10
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
    def __call__(self, clips: Sequence[Waveform], beams: int, tokens: int) -> list[int]:
        """One batch, heard and answered in `tokens` tokens; returns how many were written for each clip."""


class SpeechLlm(System):
    """Ours, of a recipe: log-mel, encoder, adapter, the LLM over the audio, and its search."""

    def __init__(self, name: str, machine: Machine) -> None:
        recipe = load_recipe(name)
        if not machine.full:
            recipe = recipe.model_copy(update={"adapter": recipe.adapter.model_copy(update=TOY_ADAPTER)})
        tokenizer = train_tokenizer(["a b c"], recipe.languages[:2], 300)  # the LLM's has no part in the time
        with machine.weights():
            encoder, llm = whisper(recipe, machine.encoder), llm_of(recipe, **machine.llm)
        llm.generation_config = GenerationConfig()
        with machine.device:  # the adapter is held in fp32, as in a model that is loaded
            model = assemble(recipe, encoder, llm, tokenizer)
        merge_lora(model)
        self.loaded = LoadedModel(recipe, model.eval(), tokenizer, None)
        audio = recipe.audio
        self.features = LogMel(audio.mel_bins, audio.window_s, padded=audio.padding == "window")

    def __call__(self, clips: Sequence[Waveform], beams: int, tokens: int) -> list[int]:
        search = Search(self.loaded, tokens, len(clips) * beams)
        search.min_new_tokens = tokens
        heard = hear(self.loaded.model, [self.features(clip) for clip in clips])
        outputs = search(heard, range(len(clips)), [Row(PROMPT)] * len(clips), [[]] * len(clips), beams)
        return [output.told.tokens for output in outputs]


class Qwen2Audio(System):
    """Transformers' own, with what its processor gives: a window of 30 s, of which 10 s are 250 audio tokens."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.features = WhisperFeatureExtractor(feature_size=128)
        with machine.weights():
            self.model = qwen2_audio(machine.encoder, AUDIO, **machine.llm).eval()

    def __call__(self, clips: Sequence[Waveform], beams: int, tokens: int) -> list[int]:
        device = self.machine.device
        heard = self.features(
            list(clips),
            sampling_rate=SAMPLE_RATE,
            padding="max_length",
            return_attention_mask=True,
            return_tensors="pt",
        )
        # as its processor counts; the model refuses any other number
        audio = ((int(heard.attention_mask[0].sum()) - 1) // 2 - 1) // 2 + 1
        ids = torch.tensor([[*PROMPT[:1], *[AUDIO] * audio, *PROMPT[1:]]] * len(clips), device=device)
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
            input_features=heard.input_features.to(device, self.machine.dtype),
            feature_attention_mask=heard.attention_mask.to(device),
            generation_config=how,
        )
        return [found.shape[1] - ids.shape[1]] * len(clips)


@dataclass(frozen=True)
class Cell:
    """`peak_gb`: 10^9 bytes, weights included; None on a CPU."""

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


@torch.inference_mode()
def measure(system: System, machine: Machine, batch: int, beams: int, tokens: int, samples: int, most_s: float) -> Cell:
    """Whole batches until `samples` are done or `most_s` seconds are over, after one unmeasured."""
    random = np.random.default_rng(0)
    clips = [random.normal(scale=0.1, size=CLIP_S * SAMPLE_RATE).astype(np.float32) for _ in range(batch)]

    def run() -> None:
        written = system(clips, beams, tokens)
        if written != [tokens] * batch:
            raise AssertionError(f"{tokens} tokens were to be written for each clip, and {written} were")
        if machine.on_cuda:
            torch.cuda.synchronize(machine.device)

    if machine.on_cuda:
        torch.cuda.reset_peak_memory_stats(machine.device)
    run()
    done, start = 0, time.perf_counter()
    while not done or (done < samples and time.perf_counter() - start < most_s):
        run()
        done += batch
    seconds = time.perf_counter() - start
    return Cell(done, seconds, torch.cuda.max_memory_allocated(machine.device) / 1e9 if machine.on_cuda else None)


def row(name: str, batch: int, beams: int, cell: Cell | None, reference: Cell | None) -> str:
    if cell is None:
        return f"| {name} | {batch} | {beams} | out of memory | - | - | - |"
    ratio = f"{cell.rate / reference.rate:.2f}" if reference else "-"
    peak = "-" if cell.peak_gb is None else f"{cell.peak_gb:.1f}"
    return f"| {name} | {batch} | {beams} | {cell.rate:.3g} | {ratio} | {peak} | {cell.samples} |"


def make(name: str, machine: Machine) -> System:
    return Qwen2Audio(machine) if name == REFERENCE else SpeechLlm(name, machine)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", choices=["full", "toy"], default="full" if cuda else "toy")
    parser.add_argument("--systems", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32, 64] if cuda else [1, 4])
    parser.add_argument("--beams", nargs="+", type=int, default=[1, 5])
    parser.add_argument("--samples", type=int, default=1000, help="of each cell; whole batches")
    parser.add_argument("--seconds", type=float, default=15.0, help="a cell that takes longer stops after its batch")
    parser.add_argument("--tokens", type=int, default=64, help="written for each sample")
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    options = arguments(given)
    device = torch.device(options.device)
    machine = Machine(device, torch.bfloat16 if device.type == "cuda" else torch.float32, options.width == "full")
    torch.manual_seed(0)
    precision = str(machine.dtype).removeprefix("torch.")
    print(f"{machine.name}; {options.width} width, {precision}, torch {torch.__version__}; {options.tokens} tokens\n")
    print("| system | batch | beams | samples/s | ratio to Qwen2-Audio | peak GB | samples measured |")
    print("|---|---|---|---|---|---|---|", flush=True)
    against: dict[tuple[int, int], Cell | None] = {}
    for name in sorted(options.systems, key=NAMES.index):  # the one that the others are measured by is first
        system = fits(make, name, machine)
        for beams in options.beams:
            for batch in options.batches:
                amount = (batch, beams, options.tokens, options.samples, options.seconds)
                cell = system and fits(measure, system, machine, *amount)
                if name == REFERENCE:
                    against[batch, beams] = cell
                print(row(name, batch, beams, cell, against.get((batch, beams))), flush=True)
        del system
        empty()


if __name__ == "__main__":
    main()
