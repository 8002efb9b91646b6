"""The learning rate in literal values, and which parameters are decayed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dragoman.recipe import Schedule
from dragoman.training.optim import learning_rate_factor, make_optimizer, make_scheduler


def schedule(steps: int, warmup_steps: int) -> Schedule:
    return Schedule(steps=steps, batch=1, learning_rate=2.0, warmup_steps=warmup_steps, weight_decay=0.25)


@pytest.mark.parametrize(
    ("steps", "warmup", "factors"),
    [
        (6, 2, [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]),
        (4, 0, [1.0, 0.75, 0.5, 0.25]),
        (3, 3, [1 / 3, 2 / 3, 1.0]),
        (1, 0, [1.0]),
    ],
)
def test_warm_up_then_decay_and_every_update_moves(steps: int, warmup: int, factors: list[float]) -> None:
    plan = schedule(steps, warmup)
    assert [learning_rate_factor(step, plan) for step in range(steps)] == pytest.approx(factors)
    assert learning_rate_factor(steps, plan) == 0.0
    module = nn.Linear(2, 2)
    optimizer = make_optimizer(module.parameters(), plan)
    scheduler = make_scheduler(optimizer, plan)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([2.0 * factor for factor in factors])


def test_vectors_are_not_decayed_and_frozen_weights_are_not_held() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1))
    module[2].requires_grad_(False)
    decayed, others = make_optimizer(module.parameters(), schedule(2, 0)).param_groups
    assert [tuple(p.shape) for p in decayed["params"]] == [(3, 2)] and decayed["weight_decay"] == 0.25
    assert [tuple(p.shape) for p in others["params"]] == [(3,), (3,), (3,)] and others["weight_decay"] == 0.0
    assert not any(p is q for p in module[2].parameters() for q in [*decayed["params"], *others["params"]])
    assert isinstance(make_optimizer([nn.Parameter(torch.zeros(2))], schedule(2, 0)), torch.optim.AdamW)
