"""The least time that a card needs for what a system has to do: Williams et al. 2009's roofline, of the rates that the
card itself reached here in copying and multiplying."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from common import in_turns
from published import PROMPT, Qwen2Audio, SpeechLlm, System
from torch import nn


@dataclass(frozen=True)
class CardRates:
    """`bytes_per_s`, read and written, of a copy; `flops_per_s` of a product of two large matrices."""

    bytes_per_s: float
    flops_per_s: float


@dataclass(frozen=True)
class DecodingWork:
    """What a system does for one clip. `heard_flops`: encoder and adapter. `weights`: of the LLM's layers, through
    which each token goes; `head`: of what makes logits of those that are written. `cache_bytes`: a token's keys and
    values. `prompt`: tokens before the first that is written, audio's and text's."""

    heard_flops: float
    weights: int
    head: int
    weight_bytes: int
    cache_bytes: int
    prompt: int


def least_seconds(work: DecodingWork, rates: CardRates, batch: int, tokens: int) -> float:
    """For a batch of clips, each answered in `tokens` tokens. The prefill gives the first of them; each step after that
    reads all weights once and every row's cache. Two operations a weight and token; each part takes as long as its
    arithmetic or its reading, whichever is longer. The products of attention, which have no weights, are left out."""
    weight_bytes = (work.weights + work.head) * work.weight_bytes
    prefill = batch * (work.heard_flops + 2 * work.weights * work.prompt + 2 * work.head)
    seconds = max(prefill / rates.flops_per_s, weight_bytes / rates.bytes_per_s)
    step = 2 * batch * (work.weights + work.head) / rates.flops_per_s
    for written in range(1, tokens):
        read = weight_bytes + batch * work.cache_bytes * (work.prompt + written)
        seconds += max(step, read / rates.bytes_per_s)
    return seconds


def measured_rates(device: torch.device, dtype: torch.dtype, full: bool) -> CardRates:
    """The best of ten; `full`: 1 GiB and matrices of 8192 x 8192, and 16 MiB and 256 x 256 otherwise."""
    size, side = (2**30, 8192) if full else (2**24, 256)
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    ways: dict[str, Callable[[], object]] = {
        "copy": lambda: [target.copy_(source) for _ in range(10)],
        "multiply": lambda: [left @ right for _ in range(10)],
    }
    best = {name: min(times) / 10 for name, times in in_turns(ways, repeats=10).items()}
    return CardRates(2 * size / best["copy"], 2 * side**3 / best["multiply"])


def work_of(system: System) -> DecodingWork:
    """Of a published system and a clip in a window of 30 s, all of which its encoder hears."""
    if isinstance(system, SpeechLlm):
        model, recipe = system.loaded.model, system.loaded.recipe
        audio = recipe.audio_tokens(recipe.audio.window_frames)
        heard = 2 * _size(model.encoder) * recipe.audio.window_frames + 2 * _size(model.adapter) * audio
        return _work(model.llm, model.llm, heard, audio)
    assert isinstance(system, Qwen2Audio)
    parts, audio = system.model.model, system.audio_tokens
    frames = parts.audio_tower.config.max_source_positions
    heard = 2 * _size(parts.audio_tower) * frames + 2 * _size(parts.multi_modal_projector) * audio
    return _work(parts.language_model, system.model, heard, audio)


def _work(layers: nn.Module, llm: Any, heard_flops: float, audio_tokens: int) -> DecodingWork:
    """`layers` are in `llm`, which has the head, with or without it and the table of embeddings."""
    head, table = llm.get_output_embeddings().weight, llm.get_input_embeddings().weight
    weights = sum(own.numel() for own in layers.parameters() if own is not head and own is not table)
    config, size = llm.config.get_text_config(), head.element_size()
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cache_bytes = 2 * config.num_hidden_layers * config.num_key_value_heads * width * size
    return DecodingWork(heard_flops, weights, head.numel(), size, cache_bytes, len(PROMPT) + audio_tokens)


def _size(part: nn.Module) -> int:
    return sum(weight.numel() for weight in part.parameters())
