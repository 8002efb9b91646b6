"""Attention as the LLM is given it: transformers' sdpa, without what is slow in it on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "sdpa_packed"


def packed_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """As `sdpa_attention_forward`. Where nothing is masked, that leaves a group's heads to torch, which takes ten times
    as long in bf16 on a CPU; beside a mask it packs them into one query itself."""
    if attention_mask is None and query.shape[2] == 1 and query.device.type == "cpu":
        attention_mask = torch.ones((1, 1, 1, key.shape[2]), dtype=torch.bool)
    found: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    return found


def use_packed_attention(llm: PreTrainedModel) -> None:
    """Of an LLM that has transformers' sdpa."""
    if llm.config._attn_implementation == "sdpa":
        llm.set_attn_implementation(NAME)


AttentionInterface.register(NAME, packed_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
