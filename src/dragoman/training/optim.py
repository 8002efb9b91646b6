"""The optimiser and its schedule: AdamW, linear warm-up, linear decay to 0 (the papers' choice)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from dragoman.recipe import Schedule

FUSED = ("cpu", "cuda")


def make_optimizer(parameters: Iterable[nn.Parameter], schedule: Schedule, device: str = "cpu") -> AdamW:
    """AdamW over two groups: matrices are decayed, vectors (biases, norms) are not. In one kernel where the `device`
    that the parameters will be on has it."""
    trained = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": schedule.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return AdamW(groups, lr=schedule.learning_rate, betas=schedule.betas, fused=device in FUSED or None)


def make_scheduler(optimizer: torch.optim.Optimizer, schedule: Schedule) -> LambdaLR:
    """Learning rate as a factor of the peak, one call a step."""
    return LambdaLR(optimizer, lambda step: learning_rate_factor(step, schedule))


def learning_rate_factor(step: int, schedule: Schedule) -> float:
    """Factor in (0, 1] for the update number `step`, counted from 0; the last update still moves."""
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    return max(0.0, (schedule.steps - step) / max(1, schedule.steps - schedule.warmup_steps))
