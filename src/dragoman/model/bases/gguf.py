"""llama.cpp's file of an LLM -> a folder of Hugging Face's class, its weights dequantised to bf16."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from dragoman.errors import ModelError
from dragoman.model.llm import first_line


def convert_gguf(path: Path, folder: Path) -> None:
    """Write the LLM and its tokenizer into `folder`. Raises ModelError for a tensor that is missing or left over.

    Transformers reads the file; its config would then ask for GGUF's quantisation again, so the weights are copied into
    a fresh model.
    """
    try:
        read, found = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.bfloat16, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise ModelError(f"{path}: cannot be read as GGUF: {first_line(error)}") from error
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if odd := sorted(map(str, found[kind])):
            raise ModelError(f"{path}: {kind.replace('_', ' ')}: {odd[0]} ({len(odd)} such).")
    config = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        fresh = AutoModelForCausalLM.from_config(config)
    fresh.load_state_dict(read.state_dict(), strict=True, assign=True)
    fresh.tie_weights()
    fresh.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
