"""A process that trains a toy curriculum: `train_toy.py <folder with data, bases, recipe.json> <out> <micro-batch>
<workers>`. Run by test_resume.py and test_processes.py."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedType, FullyShardedDataParallelPlugin, PartialState
from torch import nn
from torch.distributed.tensor import DTensor

from dragoman.recipe import read_stored_recipe
from dragoman.training import curriculum
from dragoman.training.options import TrainOptions
from dragoman.training.trainer import TrainingJob, fit, make_accelerator


def shard() -> None:
    """FSDP2 on the CPU: Accelerate knows it on accelerators only, but what it then does works here too."""
    accelerator = make_accelerator("fp32")
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, auto_wrap_policy="no_wrap", reshard_after_forward=True)
    PartialState().distributed_type = DistributedType.FSDP  # AcceleratorState copies it from there
    accelerator.state.fsdp_plugin = plugin

    def checked(job: TrainingJob, accelerator: Accelerator) -> nn.Module:
        module = fit(job, accelerator)
        assert all(isinstance(parameter, DTensor) for parameter in job.module.parameters()), "not sharded"
        return module

    curriculum.fit = checked


def main(folder: Path, out: Path, micro_batch: int, workers: int) -> None:
    torch.set_num_threads(1)
    if "TOY_FSDP" in os.environ:
        shard()
    recipe = read_stored_recipe(folder / "recipe.json")
    options = TrainOptions(workers=workers, save_every=5, micro_batch=micro_batch)
    curriculum.train_curriculum(recipe, folder / "data", out, options, bases=folder / "bases")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
