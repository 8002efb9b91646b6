"""The language model: any causal LM of Hugging Face's, with its tokenizer and, where the recipe says so, LoRA."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from dragoman.errors import ModelError, missing_extra
from dragoman.model.bases import find_llm
from dragoman.model.bases.loading import load_pretrained, load_tokenizer
from dragoman.model.hardware.attention import use_packed_attention
from dragoman.model.hardware.placement import copy_device_hook
from dragoman.recipe import LlmConfig, Lora, Quantisation


def load_llm(
    settings: LlmConfig, bases: Path | None, dtype: torch.dtype, others: Mapping[str, Any] = MappingProxyType({})
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The frozen LM and its tokenizer: from `bases` when they are ours, else by name and revision. `others` are options
    of `from_pretrained`: where it is put, or another dtype than the model's other parts have."""
    options: dict[str, Any] = {"dtype": dtype, **others}
    if settings.quantisation is not None:
        options["quantization_config"] = _fewer_bits(settings.quantisation, dtype)
    place = find_llm(settings, bases)
    options["revision"] = place.revision
    llm = load_pretrained(AutoModelForCausalLM, place.weights, what="The LLM", own=place.own, **options)
    llm = text_tower(llm)
    use_packed_attention(llm)
    tokenizer = load_tokenizer(place.tokenizer, place.revision)
    # What a checkpoint asks of generation (sampling, penalties) is not ours: the decoder says everything itself.
    llm.generation_config = GenerationConfig()
    if settings.quantisation == "8bit":
        llm.register_state_dict_post_hook(_without_scales)
    llm.get_output_embeddings().register_forward_pre_hook(_contiguous)
    return llm, tokenizer


def _contiguous(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The places whose logits are wanted are a slice of all. On a CPU torch's linear layer in bf16 takes six hundred
    times as long over such a slice: for 64 rows of 72,845 pieces 10.5 s, and 17 ms over a copy of it."""
    return (inputs[0].contiguous(), *inputs[1:])


def _without_scales(llm: Any, state: dict[str, Tensor], prefix: str, _: Any) -> None:
    """bitsandbytes puts scales into the state that are no attributes of its layers; torch looks for them in vain when a
    run saves what it trains, which they are not."""
    for name in [name for name in state if name.startswith(prefix) and name.endswith((".SCB", ".weight_format"))]:
        del state[name]


def _fewer_bits(quantisation: Quantisation, dtype: Any) -> BitsAndBytesConfig:
    """LLM.int8 (Dettmers et al. 2022), or NF4 with its scales quantised too (2023, as in LLaST's code)."""
    if find_spec("bitsandbytes") is None:
        raise missing_extra(f"An LLM in {quantisation.removesuffix('bit')} bits", "bitsandbytes", "quantised")
    if quantisation == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def text_tower(llm: PreTrainedModel) -> PreTrainedModel:
    """Gemma3 from 4B up has a vision tower: LoRA's names would be found there too, and it does not go on from
    embeddings alone. What is left is its language model, the same weights under the names of Gemma3ForCausalLM."""
    if not isinstance(llm, Gemma3ForConditionalGeneration):
        return llm
    with torch.device("meta"):
        tower = Gemma3ForCausalLM(llm.config.get_text_config())
    tower.model, tower.lm_head = llm.model.language_model, llm.lm_head
    for held in ("is_loaded_in_4bit", "is_loaded_in_8bit"):  # PEFT asks
        setattr(tower, held, getattr(llm, held, False))
    if hasattr(llm, "hf_device_map"):
        tower.hf_device_map = llm.hf_device_map
    copy_device_hook(tower, llm)
    return tower.eval()


def with_lora(module: nn.Module, lora: Lora) -> nn.Module:
    """Low-rank weights beside the named linear layers, by PEFT; the module's own weights stay frozen."""
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=lora.targets)
    try:
        return get_peft_model(module, config)
    except ValueError as error:
        raise ModelError(f"lora.targets: {lora.targets} names no layer of {type(module).__name__}.") from error


def empty_llm(config: Any) -> PreTrainedModel:
    """The LM that `load_llm` loads with this config, but with random weights, or none on the meta device; of several
    towers, the text's."""
    llm: PreTrainedModel = AutoModelForCausalLM.from_config(config.get_text_config())
    return llm


def embed(llm: PreTrainedModel, input_ids: Tensor) -> Tensor:
    """Token embeddings as the LM's first layer sees them (Gemma scales inside, transformers >= 5.4)."""
    embeddings: Tensor = llm.get_input_embeddings()(input_ids)
    return embeddings


def width(llm: PreTrainedModel) -> int:
    """D; the text tower's where the config holds several."""
    return int(llm.config.get_text_config().hidden_size)
