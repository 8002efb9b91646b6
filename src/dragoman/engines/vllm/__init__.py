"""vLLM: a model exported as one folder, and the plugin that vLLM finds by this package's entry point
(`vllm.general_plugins`, https://docs.vllm.ai/en/latest/design/plugin_system.html)."""

from __future__ import annotations

ARCHITECTURE = "DragomanForConditionalGeneration"


def register() -> None:
    """Make the exported model known to vLLM, which calls this in each of its processes. The model's own module, which
    imports much, is only named here; the config is transformers' to read."""
    from transformers import AutoConfig
    from vllm import ModelRegistry

    from dragoman.engines.vllm.config import DragomanConfig

    AutoConfig.register(DragomanConfig.model_type, DragomanConfig, exist_ok=True)
    ModelRegistry.register_model(ARCHITECTURE, f"dragoman.engines.vllm.model:{ARCHITECTURE}")
