"""From encoder frames to what an LLM can read.

Shapes: U utterances, S encoder frames, E encoder width, A audio tokens, D LLM width, N queries, H Q-Former width.
Every adapter maps frames (U, S, E) with valid counts (U,) to audio (U, A, D) with valid counts (U,).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from dragoman.recipe import MlpConfig, QFormerConfig, StackedConfig


class QFormer(nn.Module):
    """Queries that attend the frames -> mean over neighbours -> MLP -> LayerNorm (LLM-SRT Eq. 3, MCAT Eq. 2; the last
    LayerNorm is in the released weights, not in the papers). Silence is attended, as the authors do, unless the clip
    is trimmed: then only its own frames are."""

    def __init__(self, settings: QFormerConfig, encoder_width: int, llm_width: int) -> None:
        super().__init__()
        config = Blip2QFormerConfig(
            hidden_size=settings.hidden,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads,
            intermediate_size=settings.feed_forward,
            cross_attention_frequency=settings.cross_every,
            encoder_hidden_size=encoder_width,
            hidden_dropout_prob=settings.dropout,
            attention_probs_dropout_prob=settings.dropout,
        )
        self.pool = settings.pool
        self.query = nn.Parameter(torch.randn(1, settings.queries, settings.hidden))
        self.qformer = Blip2QFormerModel(config)
        self.mlp = _projection(settings.hidden, settings.mlp_hidden, llm_width)
        self.norm = nn.LayerNorm(llm_width, eps=1e-5)

    def forward(self, frames: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        valid = torch.arange(frames.shape[1], device=frames.device) < num_frames[:, None]
        queries = self.query.expand(len(frames), -1, -1)
        heard = self.qformer(
            query_embeds=queries, encoder_hidden_states=frames, encoder_attention_mask=valid.long()
        ).last_hidden_state
        whole = heard.shape[1] // self.pool * self.pool
        pooled = heard[:, :whole].unflatten(1, (-1, self.pool)).mean(2)
        audio = self.norm(self.mlp(pooled))
        return audio, torch.full_like(num_frames, audio.shape[1])


class Mlp(nn.Module):
    """Linear layers with GELU between them on every frame (LLaST section 3)."""

    def __init__(self, settings: MlpConfig, encoder_width: int, llm_width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(encoder_width, llm_width)]
        for _ in range(settings.layers - 1):
            layers += [nn.GELU(), nn.Linear(llm_width, llm_width)]
        self.mlp = nn.Sequential(*layers)

    def forward(self, frames: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        return self.mlp(frames), num_frames


class Stacked(nn.Module):
    """`stack` neighbouring frames side by side -> MLP -> LayerNorm. Positions past a clip's end are zero."""

    def __init__(self, settings: StackedConfig, encoder_width: int, llm_width: int) -> None:
        super().__init__()
        self.stack = settings.stack
        self.mlp = _projection(encoder_width * settings.stack, settings.hidden, llm_width)
        self.norm = nn.LayerNorm(llm_width)
        self.ctc_blank = nn.Parameter(torch.randn(llm_width)) if settings.ctc_blank else None

    def forward(self, frames: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        valid = torch.arange(frames.shape[1], device=frames.device) < num_frames[:, None]
        missing = -frames.shape[1] % self.stack
        padded = nn.functional.pad(frames * valid[..., None], (0, 0, 0, missing))
        stacked = torch.unflatten(padded, 1, (-1, self.stack)).flatten(2)
        return self.norm(self.mlp(stacked)), (num_frames + self.stack - 1) // self.stack


ADAPTERS: dict[str, Callable[[Any, int, int], nn.Module]] = {"q-former": QFormer, "mlp": Mlp, "stacked": Stacked}


def make_adapter(settings: QFormerConfig | MlpConfig | StackedConfig, encoder_width: int, llm_width: int) -> nn.Module:
    """The adapter that a recipe names."""
    return ADAPTERS[settings.kind](settings, encoder_width, llm_width)


def _projection(width_in: int, hidden: int | None, width_out: int) -> nn.Module:
    """Linear -> ReLU -> Linear; one Linear where there is no hidden width (the authors' code for narrow LLMs)."""
    if hidden is None:
        return nn.Linear(width_in, width_out)
    return nn.Sequential(nn.Linear(width_in, hidden), nn.ReLU(), nn.Linear(hidden, width_out))
