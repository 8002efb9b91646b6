"""DeepSpeed's ZeRO: how it is set up, and what it shares out among the processes, whole and named as without it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import convert_outputs_to_fp32
from torch import Tensor, distributed, nn
from transformers.integrations import unset_hf_deepspeed_config

from dragoman.errors import DragomanError
from dragoman.recipe import Schedule

_MOMENTS = ("exp_avg", "exp_avg_sq")


def check_zero(accelerator: Accelerator) -> None:
    """Raises DragomanError where DeepSpeed would not shard, or not as training here can save it."""
    if accelerator.distributed_type is not DistributedType.DEEPSPEED:
        raise DragomanError("DeepSpeed needs an accelerator and this machine has none; start training with torchrun.")
    unset_hf_deepspeed_config()  # else transformers would load models in parts, and our loading knows whole ones
    config = accelerator.deepspeed_plugin.deepspeed_config["zero_optimization"]
    offloaded = [config.get(name, {}).get("device", "none") for name in ("offload_optimizer", "offload_param")]
    if config["stage"] == 0 or offloaded != ["none", "none"]:
        raise DragomanError(
            "Training knows DeepSpeed with a zero_stage of 1, 2 or 3 that offloads nothing; launch with "
            "docs/cluster/deepspeed-zero3.yaml."
        )


def set_up_zero(accelerator: Accelerator, module: nn.Module, schedule: Schedule) -> None:
    """Tell DeepSpeed, which clips gradients and updates weights itself, of a run. Its own bf16 would round what is
    trained: here autocast rounds activations, as with DDP, and weights, gradients and moments are in fp32."""
    accelerator.deepspeed_plugin.deepspeed_config.update(
        gradient_clipping=schedule.clip_norm or 0.0,
        train_micro_batch_size_per_gpu=1,  # used for nothing but its log
        gradient_accumulation_steps=1,  # it would divide the loss by them
    )
    if schedule.precision == "bf16":
        mixed = torch.autocast(accelerator.device.type, torch.bfloat16)(module.forward)
        module.forward = convert_outputs_to_fp32(mixed)


def is_partitioned(trained: Mapping[str, nn.Parameter]) -> bool:
    """Whether these are ZeRO-3's weights, of which each process holds a part."""
    return any(hasattr(weight, "ds_id") for weight in trained.values())


def whole_weights(trained: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """ZeRO-3's weights on the CPU of the first process; all take part."""
    from deepspeed.utils import safe_get_full_fp32_param

    return {name: _for_first(safe_get_full_fp32_param(weight)) for name, weight in trained.items()}


def whole_moments(trained: Mapping[str, nn.Parameter], optimizer: Any) -> dict[str, Any]:
    """AdamW's state as torch's `get_optimizer_state_dict` gives it, on the CPU of the first process; all take part."""
    from deepspeed.utils import safe_get_full_optimizer_state

    adamw = _adamw(optimizer)
    _link(trained, optimizer)
    step = next(iter(adamw.state.values()))["step"].cpu()
    groups: list[dict[str, Any]] = [{**group, "params": []} for group in adamw.param_groups]
    state = {}
    for name, weight in trained.items():
        moments = {key: _for_first(safe_get_full_optimizer_state(weight, key)) for key in _MOMENTS}
        state[name] = {"step": step.clone(), **moments}
        groups[0 if moments["exp_avg"].ndim >= 2 else -1]["params"].append(name)  # as `make_optimizer` has them
    return {"state": state, "param_groups": groups}


def load_moments(trained: Mapping[str, nn.Parameter], optimizer: Any, saved: Mapping[str, Any]) -> None:
    """The opposite of `whole_moments`: each process takes its part."""
    zero, adamw = optimizer.optimizer, _adamw(optimizer)
    for group, other in zip(adamw.param_groups, saved["param_groups"], strict=True):
        group.update({key: value for key, value in other.items() if key != "params"})
    step = next(iter(saved["state"].values()))["step"]
    for part in zero.fp32_partitioned_groups_flat if is_partitioned(trained) else zero.single_partition_of_fp32_groups:
        moments = {key: torch.zeros_like(part) for key in _MOMENTS}
        adamw.state[part] = {"step": step.to(part.device, copy=True), **moments}
    _link(trained, optimizer)
    for name, weight in trained.items():
        for key in _MOMENTS:
            _set_moment(weight, saved["state"][name][key], key)


def _adamw(optimizer: Any) -> Any:
    """Torch's optimizer, in DeepSpeed's, which is in Accelerate's."""
    return optimizer.optimizer.optimizer


def _for_first(tensor: Tensor) -> Tensor:
    return tensor.cpu() if distributed.get_rank() == 0 else torch.empty(0)


def _link(trained: Mapping[str, nn.Parameter], optimizer: Any) -> None:
    """Let weights know their moments: ZeRO-1 and 2 do so after the update of the first group, when no other has any."""
    from deepspeed.utils import lazy_init_hp_params_optimizer_state

    if is_partitioned(trained):
        return
    zero = optimizer.optimizer
    for weights, part in zip(zero.bit16_groups, zero.single_partition_of_fp32_groups, strict=True):
        lazy_init_hp_params_optimizer_state(weights, part, _adamw(optimizer).state)


def _set_moment(weight: Any, moment: Tensor, key: str) -> None:
    from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

    if not hasattr(weight, "ds_id"):
        safe_set_full_optimizer_state(weight, moment, key)
        return
    # of a moment that the processes do not divide, safe_set_full_optimizer_state would read past the end
    size = weight.partition_numel()
    whole = nn.functional.pad(moment.flatten(), (0, size * distributed.get_world_size() - moment.numel()))
    begin = size * distributed.get_rank()
    safe_set_local_optimizer_state(weight, whole[begin : begin + size], key)
