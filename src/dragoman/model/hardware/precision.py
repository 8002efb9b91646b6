"""How a model is held where it is used, by the names that faster-whisper's users type: `compute_type`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import torch
from torch import nn

from dragoman.errors import ModelError, missing_extra
from dragoman.model.hardware.int8 import can_int8
from dragoman.recipe import Quantisation

COMPUTE_TYPES = ("auto", "float32", "bfloat16", "float16", "int8", "4bit")
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_BITS: dict[str, Quantisation] = {"int8": "8bit", "4bit": "4bit"}
_MEASURED = (64, 640, 2048)
"""Rows, inputs and outputs of the product that is timed: a batch of tokens in a layer of a small LLM."""
_FASTER = 0.8
"""What bf16 may take of fp32's time to be worth it: with units for it a CPU takes a quarter to a half, else twice."""


@dataclass(frozen=True)
class Precision:
    """`compute_type`, which is never "auto"; the bases' `dtype`; and, where the LLM's linear layers have fewer bits, by
    what: bitsandbytes (`quantisation`), or on a CPU `int8.Int8Linear` (`by_fbgemm`)."""

    compute_type: str
    dtype: torch.dtype
    quantisation: Quantisation | None = None
    by_fbgemm: bool = False


def precision(
    compute_type: str, device: torch.device, trained: Quantisation | None, *, prefers_bf16: bool = False
) -> Precision:
    """ "auto" is the quantisation that a model was `trained` with, and else bf16; on a CPU fp32, or for a model that
    `prefers_bf16` what is faster there. Raises ModelError for what this device cannot do."""
    if compute_type not in COMPUTE_TYPES:
        raise ModelError(f"There is no compute type {compute_type!r}; choose among {', '.join(COMPUTE_TYPES)}.")
    cpu = device.type == "cpu"
    usual = "float32" if cpu and not (prefers_bf16 and cpu_is_fast_in_bf16()) else "bfloat16"
    if compute_type == "auto":
        held = {"8bit": "int8", "4bit": "4bit", None: usual}[trained]
        return Precision(held, _DTYPES[usual], trained)
    if compute_type == "float16" and cpu:
        raise ModelError("The compute type float16 is slow on a CPU; take float32 or int8 there, or bfloat16.")
    if compute_type in _DTYPES:
        return Precision(compute_type, _DTYPES[compute_type])
    if compute_type == "int8" and cpu:
        if not can_int8():
            raise ModelError("The compute type int8 needs kernels that this CPU or torch lacks; take float32.")
        return Precision(compute_type, torch.float32, by_fbgemm=True)
    if find_spec("bitsandbytes") is None:
        raise missing_extra(f"The compute type {compute_type}", "bitsandbytes", "quantised")
    return Precision(compute_type, _DTYPES[usual], _BITS[compute_type])


def unquantised(compute_type: str, device: torch.device) -> torch.dtype:
    """What a model is held in of which no layer is quantised here: another system's. Raises ModelError."""
    if compute_type in _BITS:
        raise ModelError(f"The compute type {compute_type} is for our own models; others take {', '.join(_DTYPES)}.")
    return precision(compute_type, device, None).dtype


@cache
def cpu_is_fast_in_bf16() -> bool:
    """Whether this CPU multiplies bf16 faster than fp32 (AVX-512's or AMX's units for it): measured, in a few
    milliseconds, once a process."""
    with torch.inference_mode():
        return _seconds(torch.bfloat16) < _FASTER * _seconds(torch.float32)


def _seconds(dtype: torch.dtype) -> float:
    """Of one product, the best of several."""
    rows, inputs, outputs = _MEASURED
    row, weight, found = torch.ones(rows, inputs, dtype=dtype), torch.ones(outputs, inputs, dtype=dtype), []
    for _ in range(6):  # the first one prepares
        start = time.perf_counter()
        nn.functional.linear(row, weight)
        found.append(time.perf_counter() - start)
    return min(found)
