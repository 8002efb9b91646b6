"""What a run needs to go on exactly where it stopped: weights in training, optimiser, schedule, random numbers.

A checkpoint is a folder that gets its name only when it is complete. Frozen weights are not in it. The position in
the data is the step itself: which rows make up a step is a function of seed and step (see `data/sampling.py`).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dragoman.errors import ModelError
from dragoman.files import whole_folder

_FULL = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
_LOAD = StateDictOptions(full_state_dict=True, ignore_frozen_params=True, broadcast_from_rank0=False, strict=False)


def trained_state(module: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters in training, whole and on the CPU, whatever the parallelism; no wrapper's prefix in the names."""
    once = _trained_names(module)
    return {name: tensor for name, tensor in get_model_state_dict(module, options=_FULL).items() if name in once}


def _trained_names(module: nn.Module) -> set[str]:
    """Known to every process, where the state dict of the others is empty; each of two tied weights once."""
    return {name.removeprefix("module.") for name, weight in module.named_parameters() if weight.requires_grad}


def save_state(
    folder: Path,
    step: int,
    accelerator: Accelerator,
    module: nn.Module,
    optimizer: Optimizer,
    scheduler: LRScheduler,
) -> None:
    """Write `folder/step-N`, complete or not at all, and remove the one before."""
    model = {name: tensor.contiguous() for name, tensor in trained_state(module).items()}
    moments = get_optimizer_state_dict(module, optimizer, options=_FULL)
    random = accelerator.gather_for_metrics(random_state(accelerator.device)[None]).cpu()
    if accelerator.is_main_process:
        older = _complete(folder)
        state = {"step": step, "optimizer": moments, "scheduler": scheduler.state_dict(), "random": random}
        with whole_folder(folder / f"step-{step:07d}") as new:
            save_file(model, new / "trained.safetensors")
            torch.save(state, new / "state.pt")
        for path in older:
            shutil.rmtree(path)
    accelerator.wait_for_everyone()


def load_state(
    folder: Path, accelerator: Accelerator, module: nn.Module, optimizer: Optimizer, scheduler: LRScheduler
) -> int:
    """Restore the newest complete checkpoint; returns its step, 0 when there is none."""
    found = _complete(folder)
    if not found:
        return 0
    state: dict[str, Any] = torch.load(found[-1] / "state.pt", map_location="cpu", weights_only=True)
    if len(state["random"]) != accelerator.num_processes:
        raise ModelError(
            f"{found[-1]} was written by {len(state['random'])} processes and {accelerator.num_processes} are running; "
            "resume with as many, or start in a new folder."
        )
    load_trained(module, load_file(found[-1] / "trained.safetensors"))
    set_optimizer_state_dict(module, optimizer, optim_state_dict=state["optimizer"], options=_LOAD)
    scheduler.load_state_dict(state["scheduler"])
    restore_random_state(state["random"][accelerator.process_index], accelerator.device)
    return int(state["step"])


def _complete(folder: Path) -> list[Path]:
    """The checkpoints, oldest first; one that is being written has another name."""
    return sorted(path for path in folder.glob("step-*") if not path.suffix)


def load_trained(module: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Load exactly the parameters in training: a missing or an extra name is an error."""
    expected = _trained_names(module)
    if expected != set(tensors):
        odd = sorted(expected ^ set(tensors))[0]
        raise ModelError(f"The checkpoint does not fit the recipe: {odd!r} is in only one of them.")
    set_model_state_dict(module, tensors, options=_LOAD)


def random_state(device: torch.device) -> torch.Tensor:
    """The state of torch's generators on the CPU and, where there is one, the accelerator: one vector of bytes."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return torch.cat(states).to(device)


def restore_random_state(state: torch.Tensor, device: torch.device) -> None:
    """The opposite of `random_state`."""
    size = torch.get_rng_state().numel()
    torch.set_rng_state(state[:size].cpu().clone())  # of a view, torch reads past the end
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[size:].cpu().clone(), device)
