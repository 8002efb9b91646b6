"""Whether a model's weights fit into the memory that is free: said before they are read, not when the machine gives up.

Only weights are counted. What decoding needs beside them depends on batch and length.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn

from dragoman.errors import ModelError
from dragoman.model.hardware.int8 import is_quantised
from dragoman.model.trainable import part_of

# Bytes of a parameter by compute type: in the LLM's linear layers, elsewhere in it, in the encoder. 8 and 4 bits are
# bitsandbytes', which shrinks linear layers only; its NF4 keeps a scale of one byte for 64 weights and an fp32 for 256
# scales (double quantisation), its 8 bits an fp32 for a whole row. int8 on a CPU is made of what was loaded in 16.
_NF4 = 0.5 + (1 + 4 / 256) / 64
_Form = tuple[float, float, float]
_ON_GPU: dict[str, list[_Form]] = {
    "float32": [(4, 4, 4)],
    "bfloat16": [(2, 2, 2)],
    "float16": [(2, 2, 2)],
    "int8": [(1, 2, 2)],
    "4bit": [(_NF4, 2, 2)],
}
_ON_CPU: dict[str, list[_Form]] = {  # one moment after the other
    **_ON_GPU,
    "int8": [(2, 2, 4), (1, 4, 4)],
    "4bit": [(_NF4, 4, 4)],
}
_SMALLER = ("bfloat16", "int8", "4bit")


@dataclass(frozen=True)
class WeightCounts:
    """Numbers of parameters: in the LLM's `linear` layers, in the `rest` of it, in the `encoder`, and the model's `own`
    (adapter and LoRA, which are held in fp32)."""

    linear: int
    rest: int
    encoder: int
    own: int

    def bytes_in(self, compute_type: str, on_cpu: bool) -> int:
        """Bytes of all weights, at the most while they are loaded, with the bases held so."""
        forms = (_ON_CPU if on_cpu else _ON_GPU)[compute_type]
        return 4 * self.own + max(
            round(linear * self.linear + rest * self.rest + encoder * self.encoder) for linear, rest, encoder in forms
        )


def count_weights(model: Any) -> WeightCounts:
    """What a SpeechLLM holds; its skeleton is enough."""
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    own = sum(size for name, size in sizes.items() if part_of(name))
    encoder = sum(size for name, size in sizes.items() if name.startswith("encoder.") and not part_of(name))
    linear = sum(
        module.weight.numel()
        for name, module in model.llm.named_modules()
        if isinstance(module, nn.Linear) and is_quantised(name)
    )
    return WeightCounts(linear, sum(sizes.values()) - own - encoder - linear, encoder, own)


def shortage(name: str, weights: WeightCounts, compute_type: str, ram: int, gpu: int | None = None) -> str | None:
    """None when these weights fit where `ram` bytes are free, or on a GPU `gpu` bytes; else one sentence that says what
    would."""
    on_cpu = gpu is None
    room, place = (ram, "RAM") if gpu is None else (gpu, "the GPU's memory")
    need = weights.bytes_in(compute_type, on_cpu)
    if need <= room:
        return None
    sizes = {other: weights.bytes_in(other, on_cpu) for other in _SMALLER}
    smaller = {other: size for other, size in sizes.items() if size < need}
    advice = [f"compute type {other} ({_gb(size)})" for other, size in smaller.items() if size <= room]
    if compute_type not in ("int8", "4bit"):
        rest = "RAM" if gpu is not None and need <= gpu + ram else "disk, slowly"
        advice.append(f"device auto ({_gb(need - room)} of it from {rest})")
    if not advice:
        advice = ["a larger machine"]
    wanted = f"its weights take {_gb(need)} in {compute_type}, but {_gb(room)} of {place} is free"
    return f"{name}: {wanted}; it would fit with {' or '.join(advice)}."


def check_memory(name: str, model: Any, compute_type: str, device: torch.device) -> None:
    """Raise ModelError when the weights of a SpeechLLM (or of its skeleton) do not fit on `device`."""
    gpu = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
    if sentence := shortage(name, count_weights(model), compute_type, free_ram(), gpu):
        raise ModelError(sentence)


def free_ram(group: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes of RAM that can be had without swapping: the machine's, or the container's (control groups v2) when it is
    allowed less."""
    return min([int(psutil.virtual_memory().available), *_allowed(group)])


def _allowed(group: Path) -> list[int]:
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
        fields = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return []  # no such limit here
    cached = int(fields.get("inactive_file", 0))  # given back when it is needed
    return [] if limit == "max" else [max(int(limit) - used + cached, 0)]


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
