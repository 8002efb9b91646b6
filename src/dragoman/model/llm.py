"""The language model: any causal LM of Hugging Face's, with its tokenizer and, where the recipe says so, LoRA."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from dragoman.errors import ModelError
from dragoman.recipe import Llm, Lora


def load_llm(settings: Llm, bases: Path | None, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The frozen LM and its tokenizer: from `bases` when they are ours, else by name and revision."""
    if settings.name == "base":
        if bases is None or not (bases / "llm").is_dir():
            raise ModelError(f"{bases}/llm is missing; make it with `dragoman bases`.")
        llm = AutoModelForCausalLM.from_pretrained(bases / "llm", dtype=dtype)
        return llm, AutoTokenizer.from_pretrained(bases / "tokenizer")
    try:
        llm = AutoModelForCausalLM.from_pretrained(settings.name, revision=settings.revision, dtype=dtype)
        tokenizer = AutoTokenizer.from_pretrained(settings.name, revision=settings.revision)
    except OSError as error:
        raise ModelError(
            f"The LLM {settings.name!r} can be neither found nor downloaded: {first_line(error)}"
        ) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return llm, tokenizer


def with_lora(module: nn.Module, lora: Lora) -> nn.Module:
    """Low-rank weights beside the named linear layers, by PEFT; the module's own weights stay frozen."""
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=lora.targets)
    try:
        return get_peft_model(module, config)  # type: ignore[arg-type]
    except ValueError as error:
        raise ModelError(f"lora.targets: {lora.targets} names no layer of {type(module).__name__}.") from error


def embed(llm: PreTrainedModel, input_ids: Tensor) -> Tensor:
    """Token embeddings as the LM's first layer sees them (Gemma scales inside, transformers >= 5.4)."""
    embeddings: Tensor = llm.get_input_embeddings()(input_ids)
    return embeddings


def width(llm: PreTrainedModel) -> int:
    """D; the text tower's where the config holds several."""
    return int(llm.config.get_text_config().hidden_size)


def first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
