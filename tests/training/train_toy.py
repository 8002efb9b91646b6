"""A process that trains a toy curriculum: `train_toy.py <folder with data, bases, recipe.json> <out> <micro-batch>
<workers>`. Run by test_resume.py and test_processes.py."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from accelerate import Accelerator, DeepSpeedPlugin, DistributedType, FullyShardedDataParallelPlugin, PartialState
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


def share_out(stage: int) -> None:
    """DeepSpeed's ZeRO on the CPU, in the same way."""
    import deepspeed

    accelerator = make_accelerator("fp32")
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # gloo does, without a compiler
    deepspeed.init_distributed("gloo", auto_mpi_discovery=False)
    plugin = DeepSpeedPlugin(zero_stage=stage)
    plugin.deepspeed_config["zero_optimization"]["stage3_param_persistence_threshold"] = 0  # it would keep small ones
    plugin.set_mixed_precision("no")
    plugin.select(_from_accelerator_state=True)
    PartialState().distributed_type = DistributedType.DEEPSPEED
    accelerator.state.deepspeed_plugins = plugin
    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"  # as `accelerate launch` has it


def main(folder: Path, out: Path, micro_batch: int, workers: int) -> None:
    torch.set_num_threads(1)
    if "TOY_FSDP" in os.environ:
        shard()
    if "TOY_ZERO" in os.environ:
        share_out(int(os.environ["TOY_ZERO"]))
    recipe = read_stored_recipe(folder / "recipe.json")
    options = TrainOptions(workers=workers, save_every=5, micro_batch=micro_batch)
    curriculum.train_curriculum(recipe, folder / "data", out, options, bases=folder / "bases")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
