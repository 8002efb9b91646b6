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
from dragoman.model.trainable import part_of

# Bytes of a parameter: in the LLM's linear layers, and elsewhere in the bases. 8 and 4 bits are bitsandbytes', which
# shrinks linear layers only; its NF4 keeps a scale of one byte for 64 weights and an fp32 for 256 scales (double
# quantisation), its 8 bits an fp32 for a whole row.
_FORMS: dict[str, tuple[float, float]] = {
    "fp32": (4, 4),
    "bf16": (2, 2),
    "8-bit": (1, 2),
    "4-bit": (0.5 + (1 + 4 / 256) / 64, 2),
}


@dataclass(frozen=True)
class Weights:
    """Numbers of parameters: in the LLM's `linear` layers, in the `rest` of the bases, and the model's `own` (adapter
    and LoRA, which are held in fp32)."""

    linear: int
    rest: int
    own: int

    def bytes_in(self, form: str) -> int:
        """Bytes of all weights with the bases in "fp32", "bf16", "8-bit" or "4-bit"."""
        linear, rest = _FORMS[form]
        return round(linear * self.linear + rest * self.rest + 4 * self.own)


def weights_of(model: Any) -> Weights:
    """What a SpeechLLM holds; its skeleton is enough."""
    total = sum(weight.numel() for weight in model.parameters())
    own = sum(weight.numel() for name, weight in model.named_parameters() if part_of(name))
    linear = sum(
        module.weight.numel()
        for name, module in model.llm.named_modules()
        if isinstance(module, nn.Linear) and ".lora_" not in name and not name.endswith("lm_head")
    )
    return Weights(linear, total - own - linear, own)


def shortage(name: str, weights: Weights, form: str, ram: int, gpu: int | None = None) -> str | None:
    """None when these weights fit in `form` where `ram` (and `gpu`) bytes are free; else one sentence that says what
    would. On their way to a GPU weights pass through RAM."""
    need = weights.bytes_in(form)
    place, free = ("the GPU's memory", gpu) if gpu is not None and need > gpu else ("RAM", ram)
    if need <= free:
        return None
    room = ram if gpu is None else min(ram, gpu)
    smaller = {other: weights.bytes_in(other) for other in _FORMS if weights.bytes_in(other) < need}
    fitting = [f"in {other} ({_gb(size)})" for other, size in smaller.items() if size <= room]
    if gpu is not None and gpu < need <= gpu + ram:
        fitting.append(f"with {_gb(need - gpu)} of it offloaded to RAM")
    if fitting:
        advice = f"it would fit {' or '.join(fitting)}"
    else:
        least = min([need, *smaller.values()])
        advice = f"even in 4-bit it takes {_gb(least)}; free some memory or use a larger machine"
    return f"{name}: its weights take {_gb(need)} in {form}, but {_gb(free)} of {place} is free; {advice}."


def check_memory(name: str, model: Any, dtype: torch.dtype, device: torch.device) -> None:
    """Raise ModelError when the weights of a SpeechLLM (or of its skeleton) do not fit on `device`."""
    gpu = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
    form = "fp32" if dtype.itemsize >= 4 else "bf16"
    if sentence := shortage(name, weights_of(model), form, free_ram(), gpu):
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
