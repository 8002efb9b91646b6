"""What steps came to, kept on the device until it is looked at: to read a number is to wait for the device."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from torch import Tensor


class StepMetrics:
    """The steps since the last look. Each has the same values in every process."""

    def __init__(self) -> None:
        self._steps: list[tuple[int, dict[str, Tensor], int, dict[str, float]]] = []

    def add(self, step: int, sums: dict[str, Tensor], targets: int, known: dict[str, float]) -> None:
        """`sums` are this process's, over its share of the step, to be divided by all processes' `targets`; `known` are
        values that need no device."""
        self._steps.append((step, sums, targets, known))

    def collect(self, accelerator: Accelerator) -> Iterator[tuple[int, dict[str, float]]]:
        """(step, values) of each, by one sum over processes and one copy for all; none is kept."""
        steps, self._steps = self._steps, []
        tensors = [value for _, sums, _, _ in steps for value in sums.values()]
        found = iter(accelerator.reduce(torch.stack(tensors)).tolist() if tensors else ())
        for step, sums, targets, known in steps:
            yield step, {**{name: next(found) / targets for name in sums}, **known}


def not_finite(values: dict[str, float]) -> str | None:
    """The first name whose value is no number, in words."""
    return next((name.replace("_", " ") for name, value in values.items() if not math.isfinite(value)), None)
