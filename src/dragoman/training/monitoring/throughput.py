"""How fast a run is: samples and tokens a second, the share of the accelerator's peak that the model's own arithmetic
takes (MFU, Chowdhery et al. 2022, appendix B), peak memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from dragoman.batch import Batch
from dragoman.model.speech_llm import SpeechLLM
from dragoman.recipe import Recipe

PEAK_BF16 = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100": 989e12,
    "L40S": 362e12,
    "A100": 312e12,
    "A10": 125e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}
"""FLOP/s without sparsity, of the makers' data sheets, by a part of torch's name of the card."""


@dataclass(frozen=True)
class Work:
    """What a batch costs: `tokens` that the LLM reads, padding aside, and floating-point operations."""

    tokens: int = 0
    flops: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(self.tokens + other.tokens, self.flops + other.flops)


class SpeechWork:
    """A Batch, on the CPU, -> Work. Two operations a weight and token forward, two more for a gradient
    that goes through, two for one of its own; the products of attention, which have no weights, are left out."""

    def __init__(self, model: SpeechLLM, recipe: Recipe) -> None:
        self.recipe, self.lead = recipe, len(model.lead_ids)
        head = model.llm.get_output_embeddings().weight.numel()
        table = 0 if model.llm.get_input_embeddings().weight is model.llm.get_output_embeddings().weight else head
        self._head = 4 * head
        self._llm = 4 * (_weights(model.llm) - head - table) + 2 * _weights(model.llm, trained=True)
        trained = _weights(model.encoder, trained=True)
        self._encoder = (4 if trained else 2) * _weights(model.encoder) + 2 * trained
        self._adapter = 4 * _weights(model.adapter) + 2 * _weights(model.adapter, trained=True)

    def __call__(self, batch: Batch) -> Work:
        frames = self._encoder_frames(batch)
        heard = [self.recipe.audio_tokens(count) if count else 0 for count in frames]
        lengths = torch.tensor(heard) + self.lead
        rows = int(lengths[batch.utterance_of].sum()) if batch.text.num_rows else 0
        tokens = rows + int(batch.text.attention_mask.sum())
        audio = sum(heard)
        flops = self._llm * tokens + self._head * len(batch.text.learnt) + self._adapter * audio
        if batch.features is not None:
            flops += self._encoder * sum(frames)
        return Work(tokens, float(flops))

    def _encoder_frames(self, batch: Batch) -> list[int]:
        """S of each utterance; 0 where there is no speech."""
        counts, audio = batch.num_frames.tolist(), self.recipe.audio
        if batch.frames is not None:
            return counts
        if batch.features is None:
            return [0] * len(counts)
        return [audio.window_frames if audio.padding == "window" else audio.encoder_frames(count) for count in counts]


class Throughput:
    """Of this process's steps since the last look, times the number of processes: their shares are about alike."""

    def __init__(self, device: torch.device, processes: int) -> None:
        self.device, self.processes = device, processes
        self._peak = _peak(device)
        self._begin()

    def _begin(self) -> None:
        self._since, self._samples, self._work = time.perf_counter(), 0, Work()

    def add(self, samples: int, work: Sequence[Work]) -> None:
        """A step's."""
        self._samples += samples
        self._work = sum(work, self._work)

    @property
    def seconds(self) -> float:
        """Since the last look."""
        return time.perf_counter() - self._since

    def look(self) -> dict[str, float]:
        """Rates since the last look, to be taken when the device was waited for. `mfu` where its peak is known."""
        seconds = max(self.seconds, 1e-9)
        rates = {"samples_per_s": self._samples * self.processes / seconds}
        if self._work.tokens:
            rates["tokens_per_s"] = self._work.tokens * self.processes / seconds
        if self._work.flops and self._peak:
            rates["mfu"] = self._work.flops / seconds / self._peak
        self._begin()
        return {**rates, "peak_memory_gb": peak_memory(self.device) / 1e9}


def described(rates: dict[str, float]) -> str:
    """For a person who watches."""
    parts = [f"{rates['samples_per_s']:.1f} samples/s"]
    if "tokens_per_s" in rates:
        parts.append(f"{rates['tokens_per_s']:.0f} tokens/s")
    if "mfu" in rates:
        parts.append(f"MFU {100 * rates['mfu']:.0f} %")
    return "  ".join(parts)


def peak_memory(device: torch.device) -> int:
    """Bytes: of tensors on an accelerator, of the process on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def _weights(part: nn.Module, *, trained: bool = False) -> int:
    return sum(weight.numel() for weight in part.parameters() if weight.requires_grad or not trained)


def _peak(device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAK_BF16.items() if part in name), None)
