"""What a run needs to go on exactly where it stopped: weights in training, optimiser, schedule, random numbers.

A checkpoint is a folder that gets its name only when it is complete, with checksums. Frozen weights are not in it. The
position in the data is the step itself: which rows make up a step is a function of seed and step (see
`data/sampling.py`).
"""

from __future__ import annotations

import copy
import errno
import json
import logging
import pickle
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from safetensors import SafetensorError, safe_open
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

from dragoman.errors import TOO_MANY_FILES, ModelError, OutputError
from dragoman.files import atomic_folder, digest_of_file, to_disk
from dragoman.training.zero import is_partitioned, load_moments, whole_moments, whole_weights

_FULL = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
_LOAD = StateDictOptions(full_state_dict=True, ignore_frozen_params=True, broadcast_from_rank0=False, strict=False)
_WEIGHTS, _STATE, _CHECKSUMS = "trained.safetensors", "state.pt", "checksums.json"
_KEPT = 2
"""Checkpoints, so that there is one to go on from when the newest is damaged."""
_NOT_ITS_FAULT = (*TOO_MANY_FILES, errno.EACCES, errno.EPERM, errno.ENOMEM)

_log = logging.getLogger(__name__)


def gathered_state(module: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters in training, whole and on the CPU, whatever the parallelism; no wrapper's prefix in the names."""
    once = _trained(module)
    if is_partitioned(once):
        return whole_weights(once)
    whole: Mapping[str, Any] = get_model_state_dict(module, options=_FULL)
    return {name: tensor for name, tensor in whole.items() if name in once}


def _trained(module: nn.Module) -> dict[str, nn.Parameter]:
    """Known to every process, where the state dict of the others is empty; each of two tied weights once."""
    return {name: weight for name, weight in module.named_parameters() if weight.requires_grad}


def take_state(
    step: int, accelerator: Accelerator, module: nn.Module, optimizer: Optimizer, scheduler: LRScheduler
) -> RunState:
    """What there is now, copied to the CPU; all processes take part, and the first one has it whole."""
    tensors = {name: tensor.contiguous() for name, tensor in gathered_state(module).items()}
    if accelerator.distributed_type is DistributedType.DEEPSPEED:
        moments = whole_moments(_trained(module), optimizer)
    else:
        moments = get_optimizer_state_dict(module, optimizer, options=_FULL)
    if accelerator.device.type == "cpu":  # where they are themselves, and training goes on with them
        tensors, moments = copy.deepcopy((tensors, moments))
    random = accelerator.gather_for_metrics(random_state(accelerator.device)[None]).cpu()
    others = {"step": step, "optimizer": moments, "scheduler": scheduler.state_dict(), "random": random}
    return RunState(step, tensors, others)


@dataclass(frozen=True)
class RunState:
    """The parameters in training of a step, and what else is needed to go on from it."""

    step: int
    tensors: dict[str, torch.Tensor]
    others: dict[str, Any]

    def write(self, folder: Path) -> None:
        """As `folder/step-N`, complete or not at all; of those before, all but the last are removed once it is read
        back. Raises OutputError."""
        path = folder / f"step-{self.step:07d}"
        with atomic_folder(path) as new:
            save_file(self.tensors, new / _WEIGHTS)
            _save(self.others, new / _STATE)
            checksums = {name: digest_of_file(new / name) for name in (_WEIGHTS, _STATE)}
            (new / _CHECKSUMS).write_text(json.dumps(checksums), encoding="utf-8")
            to_disk(new)
        if not _is_whole(path):
            raise OutputError(f"{path}: does not read back as it was written; go on with --out on another disk.")
        for older in _written(folder)[:-_KEPT]:
            shutil.rmtree(older)


class CheckpointWriter:
    """Writes checkpoints beside training, one at a time. What went wrong with one is raised when the next is due, or at
    the end of the block, which waits for the last."""

    def __init__(self, folder: Path, accelerator: Accelerator) -> None:
        self.folder, self.accelerator = folder, accelerator
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def save(self, step: int, module: nn.Module, optimizer: Optimizer, scheduler: LRScheduler) -> None:
        """Copy what there is, by all processes, and begin to write it, by the first."""
        self.wait()
        state = take_state(step, self.accelerator, module, optimizer, scheduler)
        if self.accelerator.is_main_process:
            self._writing = self._thread.submit(state.write, self.folder)

    def wait(self) -> None:
        """Until what was begun is written. Raises OutputError."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()  # a run that fails keeps what it had begun to write
        if error is None:
            self.wait()


def load_weights(folder: Path, accelerator: Accelerator, module: nn.Module) -> Path | None:
    """Restore what a module learnt by the newest checkpoint that is whole, before it is shared out; returns the
    checkpoint. Raises ModelError where all are damaged."""
    found = _newest(folder, _teller(accelerator))
    if found is not None:
        load_trained(module, load_file(found / _WEIGHTS), found)
    return found


def load_state(
    found: Path, accelerator: Accelerator, module: nn.Module, optimizer: Optimizer, scheduler: LRScheduler
) -> int:
    """Restore all but the weights of a checkpoint; returns its step."""
    state: dict[str, Any] = torch.load(found / _STATE, map_location="cpu", weights_only=True)
    if accelerator.distributed_type is DistributedType.DEEPSPEED:
        load_moments(_trained(module), optimizer, state["optimizer"])
    else:
        set_optimizer_state_dict(module, optimizer, optim_state_dict=state["optimizer"], options=_LOAD)
    scheduler.load_state_dict(state["scheduler"])
    random, rank = state["random"], accelerator.process_index
    if len(random) != accelerator.num_processes:
        were = f"{found} was written by {len(random)} processes and {accelerator.num_processes} are running"
        _teller(accelerator)("%s: from here on dropout draws and rounding differ; the data are the same.", were)
    if rank < len(random):
        restore_random_state(random[rank], accelerator.device)
    return int(state["step"])


def _teller(accelerator: Accelerator) -> Callable[..., None]:
    return _log.warning if accelerator.is_main_process else _log.debug


def _save(state: dict[str, Any], path: Path) -> None:
    """Raises OSError where torch, which ends its archive in any case, would speak of that alone."""
    try:
        with open(path, "wb") as file:
            torch.save(state, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _newest(folder: Path, tell: Callable[..., None]) -> Path | None:
    """The last checkpoint that is whole, else the last that can be read of those that were written before there were
    checksums; what is passed over is named."""
    written = _written(folder)
    for path in reversed(written):
        if _is_whole(path):
            return path
        unchecked = not (path / _CHECKSUMS).exists() and _can_be_read(path)
        tell("%s has no checksums and is skipped." if unchecked else "%s is damaged and is skipped.", path)
    for path in reversed(written):
        if not (path / _CHECKSUMS).exists() and _can_be_read(path):
            tell("%s is used all the same: it can be read, and earlier versions wrote no checksums.", path)
            return path
    if written:
        raise ModelError(f"{folder}: no checkpoint is complete; remove this folder, and the stage begins anew.")
    return None


def _written(folder: Path) -> list[Path]:
    """The checkpoints, oldest first; one that is being written has another name."""
    return sorted(path for path in folder.glob("step-*") if not path.suffix)


def _is_whole(path: Path) -> bool:
    """Whether a checkpoint reads as it was written. Raises OSError where the system would not let it be read."""
    try:
        checksums = json.loads((path / _CHECKSUMS).read_text(encoding="utf-8"))
        return checksums == {name: digest_of_file(path / name) for name in (_WEIGHTS, _STATE)}
    except OSError as error:
        if error.errno in _NOT_ITS_FAULT:
            raise
        return False
    except ValueError:  # no JSON, or no text
        return False


def _can_be_read(path: Path) -> bool:
    try:
        with safe_open(path / _WEIGHTS, "pt"):
            torch.load(path / _STATE, map_location="cpu", weights_only=True, mmap=True)
    except OSError as error:
        if error.errno in _NOT_ITS_FAULT:
            raise
        return False
    except (SafetensorError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError):
        return False
    return True


def load_trained(module: nn.Module, tensors: dict[str, torch.Tensor], origin: Path) -> None:
    """Load exactly the parameters in training: a missing or an extra one, or another shape, is an error."""
    expected = {name: weight.shape for name, weight in _trained(module).items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    if expected != found:
        odd = min(name for name in expected | found if expected.get(name) != found.get(name))
        raise ModelError(
            f"{origin} does not fit the model: {odd} is {_shown(found.get(odd))} there, {_shown(expected.get(odd))} in "
            "the model; train with the bases and the recipe that it was begun with, or choose another --out."
        )
    set_model_state_dict(module, {**tensors}, options=_LOAD)


def _shown(shape: torch.Size | None) -> str:
    return "missing" if shape is None else "x".join(map(str, shape)) or "a number"


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
    if device.type == "cuda" and len(state) > size:  # it may have been saved on a CPU
        torch.cuda.set_rng_state(state[size:].cpu().clone(), device)
