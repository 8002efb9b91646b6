"""An LLM's linear layers in 8 bits on a CPU, where bitsandbytes is slower than fp32: FBGEMM's kernels, which torch has.

Weights have a scale a row. So have activations, so that no row of a batch depends on another; they have 7 bits, since
AVX2 adds two products in 16. Shapes: K inputs, N outputs.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

_LEVELS = 63
"""Of activations, on either side of zero."""


def can_int8() -> bool:
    """Whether torch has the kernels here."""
    return "fbgemm" in torch.backends.quantized.supported_engines


class Int8Linear(nn.Module):
    """In the place of a linear layer: (..., K) -> (..., N), in fp32."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().float(), requires_grad=False)
        self.packed = _packed(linear.weight.detach().float())

    def forward(self, rows: Tensor) -> Tensor:
        loudest = rows.abs().amax(-1, keepdim=True).clamp(min=1e-12)
        multiply = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
        products = multiply((rows / loudest).flatten(0, -2), 1 / _LEVELS, _LEVELS + 1, self.packed)
        found = products.unflatten(0, rows.shape[:-1]) * loudest
        return found if self.bias is None else found + self.bias


def quantise_to_int8(llm: nn.Module) -> None:
    """Quantise the linear layers of an LLM to 8 bits and put the rest into fp32: the head, and LoRA, which
    stands beside the layers."""
    for name, layer in [*llm.named_modules()]:
        if isinstance(layer, nn.Linear) and is_quantised(name):
            parent, _, child = name.rpartition(".")
            setattr(llm.get_submodule(parent), child, Int8Linear(layer))
            layer.weight = None  # type: ignore[assignment]  # memory never holds all of both
    llm.float()


def is_quantised(name: str) -> bool:
    """Whether a linear layer of an LLM is quantised where others are: all but the head and LoRA's."""
    return ".lora_" not in name and not name.endswith("lm_head")


def _packed(weight: Tensor) -> object:
    """(N, K) as the kernels want it."""
    scales = weight.abs().amax(1).clamp(min=1e-12).double() / 127
    with warnings.catch_warnings():  # torch means to move this; where it has gone, can_int8 says so
        warnings.filterwarnings("ignore", message=".*quantize_per_channel.*")
        rounded = torch.quantize_per_channel(weight, scales, torch.zeros(len(weight), dtype=torch.long), 0, torch.qint8)
    return torch.ops.quantized.linear_prepack(rounded, None)
