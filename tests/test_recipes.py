"""The papers' recipes: as large as published, and a step of each stage moves what it declares and nothing else."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from toy import tokenizer
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    WhisperConfig,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from dragoman.catalogue import BASES, PUBLISHED, entries
from dragoman.data.batching import Example, Row, collate
from dragoman.data.examples import TextEncoder
from dragoman.data.tasks import Item, Tags, build
from dragoman.errors import RecipeError
from dragoman.model.checkpoint import assemble
from dragoman.model.encoder import SpeechEncoder
from dragoman.model.speech_llm import SpeechLLM
from dragoman.model.trainable import part_of, train_only
from dragoman.recipe import Lora, Recipe, Stage, load_recipe, names, parse_recipe
from dragoman.training.optim import make_optimizer

# What the hub's config.json of each LLM says, where transformers' defaults do not say it already.
CONFIGS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "Qwen/Qwen2.5-3B": (Qwen2ForCausalLM, Qwen2Config, {
        "hidden_size": 2048, "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 2,
        "intermediate_size": 11008, "vocab_size": 151936, "tie_word_embeddings": True,
    }),
    "Qwen/Qwen2.5-7B": (Qwen2ForCausalLM, Qwen2Config, {
        "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
        "intermediate_size": 18944, "vocab_size": 152064, "tie_word_embeddings": False,
    }),
    "Qwen/Qwen2.5-32B": (Qwen2ForCausalLM, Qwen2Config, {
        "hidden_size": 5120, "num_hidden_layers": 64, "num_attention_heads": 40, "num_key_value_heads": 8,
        "intermediate_size": 27648, "vocab_size": 152064, "tie_word_embeddings": False,
    }),
    "ModelSpace/GemmaX2-28-9B-v0.1": (Gemma2ForCausalLM, Gemma2Config, {
        "hidden_size": 3584, "num_hidden_layers": 42, "num_attention_heads": 16, "num_key_value_heads": 8,
        "head_dim": 256, "intermediate_size": 14336, "vocab_size": 256000,
    }),
    "google/gemma-3-27b-it": (Gemma3ForCausalLM, Gemma3TextConfig, {
        "hidden_size": 5376, "num_hidden_layers": 62, "num_attention_heads": 32, "num_key_value_heads": 16,
        "head_dim": 128, "intermediate_size": 21504, "vocab_size": 262208,
    }),
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": (LlamaForCausalLM, LlamaConfig, {
        "hidden_size": 2048, "num_hidden_layers": 22, "num_attention_heads": 32, "num_key_value_heads": 4,
        "intermediate_size": 5632, "vocab_size": 32000,
    }),
    "NousResearch/Llama-2-7b-chat-hf": (LlamaForCausalLM, LlamaConfig, {
        "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
        "intermediate_size": 11008, "vocab_size": 32000,
    }),
    "NousResearch/Llama-2-13b-chat-hf": (LlamaForCausalLM, LlamaConfig, {
        "hidden_size": 5120, "num_hidden_layers": 40, "num_attention_heads": 40, "num_key_value_heads": 40,
        "intermediate_size": 13824, "vocab_size": 32000,
    }),
}  # fmt: skip
WHISPER_LARGE = {"d_model": 1280, "encoder_layers": 32, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120}
TOY_LLM = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
    "intermediate_size": 48, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": 1,
}  # fmt: skip
TOY_WHISPER = {"d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 48}
PAPERS = sorted(PUBLISHED)
# PUBLISHED adapters and LoRA: the papers' tables and the released files.
ADAPTERS = {
    "llm-srt-3b": 73_700_352, "llm-srt-7b": 80_521_728, "llm-srt-32b": 84_458_496, "mcat-small-9b": 80_575_488,
    "mcat-large-27b": 85_168_384, "llast-2b": 11_016_192, "llast-8b": 38_809_600, "llast-14b": 58_997_760,
}  # fmt: skip
LLM_LORA = {"llm-srt-3b-v2-lora": 1_843_200, "mcat-small-9b": 8_945_664, "mcat-large-27b": 16_760_832}


def llm_of(recipe: Recipe, **over: Any) -> Any:
    kind, config, table = CONFIGS[recipe.llm.name]
    return kind(config(**{**table, **over}))


def whisper(recipe: Recipe, table: dict[str, int]) -> SpeechEncoder:
    config = WhisperConfig(
        num_mel_bins=recipe.audio.mel_bins, max_source_positions=recipe.window_frames // 2, **table
    )  # fmt: skip
    return SpeechEncoder(WhisperEncoder(config), recipe.audio.padding)


@cache
def sizes(name: str) -> dict[str, int]:
    """Parameters of the whole model by part."""
    recipe = load_recipe(name)
    with torch.device("meta"):
        model = assemble(recipe, whisper(recipe, WHISPER_LARGE), llm_of(recipe), tokenizer())
    total = dict.fromkeys(["encoder", "llm", "adapter", "encoder_lora", "llm_lora"], 0)
    for key, parameter in model.named_parameters():
        total[part_of(key) or key.partition(".")[0]] += parameter.numel()
    return total


def test_every_recipe_is_listed() -> None:
    assert {*PAPERS, "smoke", "tiny", "tiny-ind"} == set(names())


@pytest.mark.parametrize("name", PAPERS)
def test_the_size_is_the_published_one(name: str) -> None:
    recipe, found = load_recipe(name), sizes(name)
    like = next(known for known in ADAPTERS if load_recipe(known).llm.name == recipe.llm.name)
    assert found["adapter"] == ADAPTERS[like]
    assert found["encoder"] == BASES[recipe.encoder.name].parameters
    assert found["llm"] == BASES[recipe.llm.name].parameters
    if name in LLM_LORA:
        assert found["llm_lora"] == LLM_LORA[name]
    assert found["adapter"] + found["llm_lora"] + found["encoder_lora"] == PUBLISHED[name].trained
    (entry,) = [entry for entry in entries() if entry.name == name]
    assert entry.parameters == sum(found.values())


def shrunk(recipe: Recipe) -> Recipe:
    """The same recipe, few weights."""

    def narrow(lora: Lora | None) -> Lora | None:
        return lora and lora.model_copy(update={"rank": 2})

    adapter = recipe.adapter
    if adapter.kind == "q-former":
        small = {
            "queries": 2 * adapter.pool,
            "layers": 2,
            "hidden": 16,
            "heads": 2,
            "feed_forward": 24,
            "mlp_hidden": 20,
        }
        adapter = adapter.model_copy(update=small)
    return recipe.model_copy(
        update={
            "audio": recipe.audio.model_copy(update={"window_s": 1.0}),
            "adapter": adapter,
            "llm": recipe.llm.model_copy(update={"lora": narrow(recipe.llm.lora)}),
            "encoder": recipe.encoder.model_copy(update={"lora": narrow(recipe.encoder.lora)}),
        }
    )


def toy_model(recipe: Recipe) -> SpeechLLM:
    torch.manual_seed(0)
    pieces = tokenizer()
    model = assemble(recipe, whisper(recipe, TOY_WHISPER), llm_of(recipe, vocab_size=len(pieces), **TOY_LLM), pieces)
    for key, parameter in model.named_parameters():
        if ".lora_B." in key:  # PEFT starts it at zero, from where lora_A would not move
            nn.init.normal_(parameter, std=0.2)
    return model


def a_batch(recipe: Recipe, stage: Stage) -> Any:
    """A row of each task of the stage, asked as the recipe asks."""
    pieces, tags = tokenizer(), Tags.of(recipe.prompt)
    text = TextEncoder(pieces, goes_on=bool(recipe.prompt.before_audio))
    mel = np.random.default_rng(0).normal(size=(recipe.audio.mel_bins, 100)).astype(np.float32)
    target = next(code for code in recipe.targets if code != recipe.sources[0])
    item = Item(recipe.sources[0], target, "no", "nein")
    rows = [Row(text.prompt(p), text.answer(a)) for p, a in (build(task, item, tags) for task in stage.tasks)]
    return collate([Example(mel, tuple(rows))], int(pieces.pad_token_id))


@pytest.mark.parametrize("name", PAPERS)
def test_a_step_of_each_stage_moves_what_it_declares(name: str) -> None:
    recipe = shrunk(load_recipe(name))
    model = toy_model(recipe)
    for stage in recipe.stages:
        declared = train_only(model, stage.trains)
        before = {key: parameter.detach().clone() for key, parameter in model.named_parameters()}
        schedule = stage.schedule.over(1).model_copy(update={"learning_rate": 1e-2})
        optimizer = make_optimizer(model.parameters(), schedule)
        model.train()(a_batch(recipe, stage))["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        moved = {key for key, parameter in model.named_parameters() if not torch.equal(parameter, before[key])}
        # of a key bias only rounding is left: the softmax cancels it
        still = {key for key in declared if key.endswith("key.bias")}
        assert moved - still == set(declared) - still and moved <= set(declared), stage.name
        assert {part_of(key) for key in moved} == set(stage.trains)


def test_stages_follow_algorithm_1() -> None:
    stages = {stage.name: stage for stage in load_recipe("mcat-large-27b").stages}
    grown = [len(stages[name].data[0].sources) for name in ("asr-2", "asr-28", "asr-44", "asr-70")]
    assert grown == [2, 28, 44, 70]
    assert list(stages)[4:] == ["asr-balanced", "smt", "srt", "srt-balanced"]
    assert stages["asr-balanced"].data[0].max_per_language == 10_000
    assert stages["srt-balanced"].data[0].max_per_direction == 100
    assert stages["srt-balanced"].schedule.over(70 * 69 * 100).steps == 3_774


def child(tmp_path: Any, text: str) -> Recipe:
    path = tmp_path / "child.toml"
    path.write_text('extends = "llm-srt-3b"\nname = "child"\n' + text)
    return load_recipe(path)


def test_a_stage_leaves_unsaid_what_its_namesake_says(tmp_path: Any) -> None:
    parent = load_recipe("llm-srt-3b").stages
    found = child(tmp_path, '[[stages]]\nname = "srt"\nschedule = { batch = 7 }\n[[stages]]\nname = "asr"\n').stages
    assert found[1] == parent[0] and len(found) == 2
    assert found[0] == parent[2].model_copy(update={"schedule": parent[2].schedule.model_copy(update={"batch": 7})})
    with pytest.raises(RecipeError, match=r"stages.0.tasks: Field required"):
        child(tmp_path, '[[stages]]\nname = "new"\n')


@pytest.mark.parametrize("length", [{}, {"steps": 3, "epochs": 1}])
def test_a_stage_lasts_steps_or_epochs(length: dict[str, int]) -> None:
    table = load_recipe("llm-srt-3b").model_dump()
    table["stages"][0]["schedule"] = {"batch": 1, "learning_rate": 1e-3, **length}
    with pytest.raises(RecipeError, match=r"stages.0.schedule: .*give either steps or epochs"):
        parse_recipe(table, "x")


def test_prompts_in_words_have_known_places() -> None:
    table = load_recipe("llast-2b").model_dump()
    table["prompt"]["worded"]["st"] = "into {language}"
    with pytest.raises(RecipeError, match=r"prompt.worded: .*only \{source\}, \{target\} and \{transcript\}"):
        parse_recipe(table, "x")
