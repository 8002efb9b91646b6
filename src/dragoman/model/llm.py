"""The language model: any causal LM of Hugging Face's, with its tokenizer and, where the recipe says so, LoRA."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from dragoman.errors import ModelError, missing_extra
from dragoman.model.bases import find_llm
from dragoman.model.hardware.placement import copy_device_hook
from dragoman.recipe import LlmConfig, Lora, Quantisation

_ODD = {
    "missing_keys": "is missing",
    "mismatched_keys": "has another shape than its config says",
    "unexpected_keys": "is not in the model",
}


def load_pretrained(kind: Any, name: str | Path, *, what: str, own: bool = False, **options: Any) -> Any:
    """`kind.from_pretrained`, strictly: weights that are missing are an error, and in a folder that Dragoman wrote so
    are weights that are left over (a checkpoint on the hub may hold more than the part that is used)."""
    try:
        model, found = kind.from_pretrained(name, output_loading_info=True, ignore_mismatched_sizes=True, **options)
    except SafetensorError as error:
        damage = f"its weights are damaged or cut short ({first_line(error)}); get them again"
        raise ModelError(f"{what} {str(name)!r} cannot be loaded: {damage}.") from error
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise ModelError(f"{what} {str(name)!r} cannot be loaded: {first_line(error)}") from error
    for kind_of_error, sentence in _ODD.items():
        odd = [key[0] if isinstance(key, tuple) else key for key in found[kind_of_error]]
        if odd and (own or kind_of_error != "unexpected_keys"):
            raise ModelError(f"{what} {str(name)!r}: tensor {min(odd)!r} {sentence}.")
    return model


@contextmanager
def without_bars() -> Iterator[None]:
    """Without transformers' own bars and notes, which speak of what nobody has named."""
    level, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if had_bars:
            logging.enable_progress_bar()


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
    tokenizer = load_tokenizer(place.tokenizer, place.revision)
    # What a checkpoint asks of generation (sampling, penalties) is not ours: the decoder says everything itself.
    llm.generation_config = GenerationConfig()
    if settings.quantisation == "8bit":
        llm.register_state_dict_post_hook(_without_scales)
    return llm, tokenizer


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


def load_tokenizer(name: str | Path, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder or on the hub; one without a padding token pads with the end token."""
    if isinstance(name, Path) and not name.is_dir():
        raise ModelError(f"{name} is missing; make it with `dragoman bases`, or get the model's folder again.")
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name, revision=revision)
    except json.JSONDecodeError as error:
        damage = f"it is damaged ({first_line(error)}); get it again"
        raise ModelError(f"The tokenizer {str(name)!r} cannot be loaded: {damage}.") from error
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"The tokenizer {str(name)!r} cannot be loaded: {first_line(error)}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


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


def first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
