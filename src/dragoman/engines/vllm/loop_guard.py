"""A loop is never closed, as in our own decoding (inference/decoding/constraints.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from vllm.tokenizers import cached_tokenizer_from_config
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

from dragoman.text.repetition import has_loop, loop_completions


class LoopGuard(AdapterLogitsProcessor):
    """For every request that does not say `vllm_xargs: {"loop_guard": 0}`. Servers name it themselves:
    `vllm serve DIR --logits-processors dragoman.engines.vllm.loop_guard:LoopGuard`."""

    def __init__(self, vllm_config: Any, device: Any, is_pin_memory: bool) -> None:
        super().__init__(vllm_config, device, is_pin_memory)
        self._tokenizer = cached_tokenizer_from_config(vllm_config.model_config)

    def is_argmax_invariant(self) -> bool:
        """It may forbid the likeliest token."""
        return False

    def new_req_logits_processor(self, params: Any) -> Callable[[list[int], Tensor], Tensor] | None:
        """(tokens written, scores (V,)) -> scores."""
        return self._guarded if (params.extra_args or {}).get("loop_guard", 1) else None

    def _guarded(self, written: list[int], scores: Tensor) -> Tensor:
        closing = {run[-1] for run in loop_completions(list(written)) if has_loop(self._tokenizer.decode(run))}
        if closing:
            scores[sorted(closing)] = float("-inf")
        return scores
