"""Where a model is put: on one device, or its LLM over all GPUs, RAM and the disk, as far as each goes (`auto`)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from torch import nn

from dragoman.errors import ModelError
from dragoman.model.hardware import memory

_log = logging.getLogger(__name__)

_USED = 0.9
"""Of free memory, so much is given to weights; the rest is for what is computed."""


@dataclass(frozen=True)
class Placement:
    """`main` holds encoder and adapter, and all that goes into the LLM and comes out; `auto`: the LLM is spread."""

    main: torch.device
    auto: bool

    @classmethod
    def choose(cls, device: str | None) -> Placement:
        """By a torch device's name or "auto"; on CUDA where there is one when None."""
        best = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(torch.device(best if device in (None, "auto") else device), device == "auto")

    def options(self, model: Any) -> dict[str, Any]:
        """The options of the LLM's `from_pretrained`; `model` is the SpeechLLM's skeleton."""
        if not self.auto:
            return {} if self.main.type == "cpu" else {"device_map": {"": self.main}}
        parts = (model.encoder, model.adapter)
        beside = sum(4 * weight.numel() for part in parts for weight in part.parameters())
        return {"device_map": "auto", "max_memory": max_memory(self.main, beside)}


def max_memory(main: torch.device, beside: int) -> dict[int | str, int]:
    """Bytes for weights on each GPU and in RAM, where `beside` bytes of `main` are needed otherwise."""
    gpus = range(torch.cuda.device_count()) if main.type == "cuda" else ()
    found: dict[int | str, int] = {gpu: int(_USED * torch.cuda.mem_get_info(gpu)[0]) for gpu in gpus}
    found["cpu"] = int(_USED * memory.free_ram())
    first = next(iter(found))
    found[first] = max(0, found[first] - beside)
    return found


def is_offloaded(llm: Any) -> bool:
    """Whether some of an LLM's weights come from RAM or the disk each time they are needed."""
    return any(weight.device.type == "meta" for weight in llm.parameters())


def place_lora_beside_base(llm: nn.Module) -> None:
    """Put LoRA, whose weights are not read yet, where its layers compute, also where theirs lie elsewhere."""
    for name, module in llm.named_modules():
        hook = getattr(module, "_hf_hook", None)
        if name.endswith(".base_layer") and isinstance(hook, AlignDevicesHook) and hook.execution_device is not None:
            for key, part in llm.get_submodule(name.removesuffix(".base_layer")).named_children():
                if key.startswith("lora_"):
                    part.to_empty(device=hook.execution_device)


def copy_device_hook(tower: Any, whole: Any) -> None:
    """Copy Accelerate's hook from `whole` to its `tower`, which is all that is used of it."""
    hook = getattr(whole, "_hf_hook", None)
    if isinstance(hook, AlignDevicesHook):
        add_hook_to_module(
            tower, AlignDevicesHook(hook.execution_device, io_same_device=True, skip_keys=hook.skip_keys)
        )


def report_offloading(name: str, llm: Any, main: torch.device) -> None:
    """One line where parts of the LLM lie in places that are slow beside `main`. Raises ModelError where that holds for
    its embeddings."""
    if llm.get_input_embeddings().weight.device.type == "meta":
        raise ModelError(f"{name}: not even the embeddings of its LLM fit into the memory that is free; free some.")
    places = [str(place) for place in getattr(llm, "hf_device_map", {}).values()]
    for place, where in {"cpu": "RAM", "disk": "the disk"}.items():
        if place in places and place != main.type:
            _log.warning(
                "%s: %d of %d parts of its LLM come from %s: slow.", name, places.count(place), len(places), where
            )
