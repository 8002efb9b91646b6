"""The papers' recipes: as large as published, and a step of each stage moves what it declares and nothing else."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from shapes import TOY_ADAPTER, TOY_ENCODERS, TOY_LLM, encoder_of, llm_of
from torch import nn
from toy import LORA, tokenizer
from toy import recipe as toy_recipe
from toy import stage as toy_stage

from dragoman.catalogue import HUB_MODELS, PUBLISHED_MODELS, catalogue_entries
from dragoman.data.batching import Example, TextRow, collate
from dragoman.data.examples import TextEncoder
from dragoman.data.features import speech_features
from dragoman.data.tasks import LanguageTags, TaskItem, build
from dragoman.errors import RecipeError
from dragoman.model.build import assemble
from dragoman.model.speech_llm import SpeechLLM
from dragoman.model.trainable import part_of, train_only
from dragoman.recipe import Lora, Recipe, Stage, dump_recipe, load_recipe, names, parse_recipe, read_stored_recipe
from dragoman.text.languages import SETS
from dragoman.training.optim import make_optimizer

PAPERS = sorted(PUBLISHED_MODELS)
# PUBLISHED adapters and LoRA: the papers' tables and the released files.
ADAPTERS = {
    "llm-srt-3b": 73_700_352, "llm-srt-7b": 80_521_728, "llm-srt-32b": 84_458_496, "mcat-small-9b": 80_575_488,
    "mcat-large-27b": 85_168_384, "llast-2b": 11_016_192, "llast-8b": 38_809_600, "llast-14b": 58_997_760,
    "smt-9b": 80_521_728,
    # by hand, as LLaST's MLP is described: (E + 1) D + 2 (D + 1) D
    "llast-2b-mhubert": 9_967_616, "llast-2b-whisper-base": 9_443_328, "llast-8b-whisper-base": 35_663_872,
    "llast-8b-whisper-small": 36_712_448, "llast-8b-whisper-medium": 37_761_024, "llast-8b-qwen": 38_809_600,
    "llast-8b-internlm2": 38_809_600,
}  # fmt: skip
LLM_LORA = {
    "llm-srt-3b-v2-lora": 1_843_200,
    "mcat-small-9b": 8_945_664,
    "smt-9b": 8_945_664,
    "mcat-large-27b": 16_760_832,
}


@cache
def sizes(name: str) -> dict[str, int]:
    """Parameters of the whole model by part."""
    recipe = load_recipe(name)
    with torch.device("meta"):
        model = assemble(recipe, encoder_of(recipe), llm_of(recipe), tokenizer())
    total = dict.fromkeys(["encoder", "llm", "adapter", "encoder_lora", "llm_lora"], 0)
    for key, parameter in model.named_parameters():
        total[part_of(key) or key.partition(".")[0]] += parameter.numel()
    return total


def test_every_recipe_is_listed() -> None:
    assert {*PAPERS, "small", "smoke", "tiny", "tiny-ind"} == set(names())


@pytest.mark.parametrize("name", PAPERS)
def test_the_size_is_the_published_one(name: str) -> None:
    recipe, found = load_recipe(name), sizes(name)
    parts = recipe.encoder.name, recipe.llm.name
    like = next(known for known in map(load_recipe, ADAPTERS) if (known.encoder.name, known.llm.name) == parts)
    assert found["adapter"] == ADAPTERS.get(name, ADAPTERS[like.name])
    assert found["encoder"] == HUB_MODELS[recipe.encoder.name].parameters
    assert found["llm"] == HUB_MODELS[recipe.llm.name].parameters
    if name in LLM_LORA:
        assert found["llm_lora"] == LLM_LORA[name]
    assert found["adapter"] + found["llm_lora"] + found["encoder_lora"] == PUBLISHED_MODELS[name].trained
    (entry,) = [entry for entry in catalogue_entries() if entry.name == name]
    assert entry.parameters == sum(found.values())


def shrunk(recipe: Recipe) -> Recipe:
    """The same recipe, few weights."""

    def narrow(lora: Lora | None) -> Lora | None:
        return lora and lora.model_copy(update={"rank": 2})

    adapter = recipe.adapter
    if adapter.kind == "q-former":
        small = {"queries": 2 * adapter.pool, **TOY_ADAPTER}
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
    encoder = encoder_of(recipe, **TOY_ENCODERS[recipe.audio.kind])
    model = assemble(recipe, encoder, llm_of(recipe, vocab_size=len(pieces), **TOY_LLM), pieces)
    for key, parameter in model.named_parameters():
        if ".lora_B." in key:  # PEFT starts it at zero, from where lora_A would not move
            nn.init.normal_(parameter, std=0.2)
    return model


def a_batch(recipe: Recipe, stage: Stage) -> Any:
    """A row of each task of the stage, asked as the recipe asks."""
    pieces, tags = tokenizer(), LanguageTags.from_prompt(recipe.prompt)
    text = TextEncoder(pieces, continues_text=bool(recipe.prompt.before_audio))
    second = np.random.default_rng(0).normal(scale=0.1, size=16000).astype(np.float32)
    target = next(code for code in recipe.targets if code != recipe.sources[0])
    item = TaskItem(recipe.sources[0], target, "no", "nein")
    rows = [TextRow(text.prompt(p), text.answer(a)) for p, a in (build(task, item, tags) for task in stage.tasks)]
    return collate([Example(speech_features(recipe.audio)(second), tuple(rows))], int(pieces.pad_token_id))


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
    assert stages["asr-balanced"].max_per_language == 10_000
    assert stages["srt-balanced"].max_per_direction == 100
    assert stages["srt-balanced"].schedule.over(70 * 69 * 100).steps == 3_774


def test_more_english_takes_the_place_of_less() -> None:
    """MCAT's Table X: 7.5 hours of FLEURS's English, then CoVoST-2's 429.6 instead; the other languages stay."""
    less, more = ({s.name: s for s in load_recipe(name).stages} for name in ("mcat-small-9b", "mcat-small-9b-covost2"))
    assert list(less) == list(more)
    for name in ("smt", "srt", "srt-balanced"):
        fleurs, covost2 = more[name].data
        assert sorted([*fleurs.sources, "eng"]) == sorted(SETS["mcat-28"]) and covost2.sources == ["eng"]
        assert (fleurs.name, covost2.name) == ("fleurs", "covost2") and [s.name for s in less[name].data] == ["fleurs"]
        assert more[name].schedule == less[name].schedule
    assert all(less[name] == more[name] for name in ("asr-2", "asr-28", "asr-balanced"))


def child(tmp_path: Any, text: str) -> Recipe:
    path = tmp_path / "child.toml"
    path.write_text('extends = "llm-srt-3b"\nname = "child"\n' + text)
    return load_recipe(path)


@pytest.mark.parametrize("name", names())
def test_what_each_stage_leaves_is_a_recipe(name: str) -> None:
    recipe = load_recipe(name)
    for number, stage in enumerate(recipe.stages, 1):
        left = recipe.up_to(stage)
        assert parse_recipe(left.model_dump(mode="json"), stage.name) == left and left.stages == recipe.stages[:number]
    assert not recipe.stages or recipe.up_to(recipe.stages[-1]) == recipe


def test_a_stage_leaves_unsaid_what_its_namesake_says(tmp_path: Any) -> None:
    parent = load_recipe("llm-srt-3b").stages
    found = child(tmp_path, '[[stages]]\nname = "srt"\nschedule = { batch = 7 }\n[[stages]]\nname = "asr"\n').stages
    assert found[1] == parent[0] and len(found) == 2
    assert found[0] == parent[2].model_copy(update={"schedule": parent[2].schedule.model_copy(update={"batch": 7})})
    with pytest.raises(RecipeError, match=r"stages.0.tasks: Field required"):
        child(tmp_path, '[[stages]]\nname = "new"\n')


def test_a_stage_s_tasks_and_length_take_the_place_of_its_namesake_s(tmp_path: Any) -> None:
    own = "tasks = { srt = 0.5, asr = 0.5 }\nschedule = { epochs = 2 }\n"
    (found,) = child(tmp_path, f'[[stages]]\nname = "srt"\n{own}').stages
    assert found.tasks == {"srt": 0.5, "asr": 0.5} and (found.schedule.epochs, found.schedule.steps) == (2, None)


def test_recipes_extend_one_another(tmp_path: Any) -> None:
    child(tmp_path, "[decoding]\nbeams = 7\n")
    (tmp_path / "tiny.toml").write_text('extends = "child"\nname = "grandchild"\n')
    assert load_recipe(tmp_path / "tiny.toml").decoding.beams == 7
    (tmp_path / "tiny.toml").write_text('extends = "tiny"\nname = "same"\n')  # the shipped one
    assert load_recipe(tmp_path / "tiny.toml").sources == load_recipe("tiny").sources
    (tmp_path / "a.toml").write_text('extends = "b"\n')
    (tmp_path / "b.toml").write_text('extends = "a"\n')
    with pytest.raises(RecipeError, match=r"b.toml: extends: 'a' extends this recipe too"):
        load_recipe(tmp_path / "a.toml")


def test_a_model_goes_on_with_any_language(tmp_path: Any) -> None:
    """Its bases are made, so their corpus need not hold it."""
    path = tmp_path / "quechua.toml"
    path.write_text('extends = "tiny"\nstart = "tiny"\nsources = ["eng", "quy"]\n')
    assert load_recipe(path).sources == ["eng", "quy"]
    path.write_text('extends = "tiny"\nsources = ["eng", "quy"]\n')
    with pytest.raises(RecipeError, match="'quy' is a source or target, but not in the corpus"):
        load_recipe(path)


@pytest.mark.parametrize("length", [{}, {"steps": 3, "epochs": 1}])
def test_a_stage_lasts_steps_or_epochs(length: dict[str, int]) -> None:
    table = load_recipe("llm-srt-3b").model_dump()
    table["stages"][0]["schedule"] = {"batch": 1, "learning_rate": 1e-3, **length}
    with pytest.raises(RecipeError, match=r"stages.0.schedule: .*give either steps or epochs"):
        parse_recipe(table, "x")


@pytest.mark.parametrize("over", [{"trains": ["adapter", "llm_lora"]}, {"ctc_weight": 0.1}])
def test_a_stage_of_text_alone_trains_the_llm_alone(over: dict[str, Any]) -> None:
    llm = {"name": "base", "lora": LORA}
    assert not toy_recipe(llm=llm, stages=[toy_stage("mt", trains=["llm_lora"])]).stages[0].uses_audio
    with pytest.raises(RecipeError, match="mt is text alone: such a stage trains llm_lora"):
        toy_recipe(llm=llm, stages=[toy_stage("mt", **{"trains": ["llm_lora"], **over})])


def test_weights_are_brought_back_to_a_model_that_was_left() -> None:
    stages = [toy_stage("asr"), toy_stage("srt", weight_interpolation=0.5)]
    assert toy_recipe(stages=stages, init_from="tiny").stages[1].weight_interpolation == 0.5
    for wrong in ({"stages": stages}, {"stages": stages[1:], "init_from": "tiny"}):
        with pytest.raises(
            RecipeError, match=r"stages.srt.weight_interpolation: is for a later stage of a recipe that names"
        ):
            toy_recipe(**wrong)


def test_distillation_wants_a_model_to_keep_to() -> None:
    with pytest.raises(
        RecipeError, match=r"stages.asr.distillation: there is no model to distil; name one in init_from"
    ):
        toy_recipe(stages=[toy_stage("asr", distillation=0.5)])
    assert toy_recipe(stages=[toy_stage("asr", distillation=0.5)], init_from="tiny").stages[0].distillation == 0.5


def test_what_a_model_was_last_taught() -> None:
    assert toy_recipe().abilities == frozenset()
    known = toy_recipe(stages=[toy_stage("asr"), toy_stage("smt")], sources=["deu"], targets=["eng"]).abilities
    assert known == {(task, "deu", target) for task in ("smt", "mt") for target in ("deu", "eng")}
    assert {task for task, *_ in load_recipe("tiny").abilities} == {"srt", "asr", "smt", "mt"}


def test_prompts_in_words_have_known_places() -> None:
    table = load_recipe("llast-2b").model_dump()
    table["prompt"]["worded"]["st"] = "into {language}"
    with pytest.raises(RecipeError, match=r"prompt.worded: .*only \{source\}, \{target\} and \{transcript\}"):
        parse_recipe(table, "x")


def test_a_recipe_with_the_keys_of_earlier_versions_still_loads(tmp_path: Path) -> None:
    old = {"init_from": "start", "weight_interpolation": "brought_back"}
    recipe = toy_recipe(stages=[toy_stage("asr"), toy_stage("srt", weight_interpolation=0.5)], init_from="tiny")
    stored = dump_recipe(recipe)
    for new, before in old.items():
        assert f'"{new}"' in stored
        stored = stored.replace(f'"{new}"', f'"{before}"')
    (tmp_path / "recipe.json").write_text(stored, encoding="utf-8")
    assert read_stored_recipe(tmp_path / "recipe.json") == recipe
    (tmp_path / "mine.toml").write_text('extends = "tiny-ind"\nstart = "elsewhere"\n', encoding="utf-8")
    assert load_recipe(tmp_path / "mine.toml").init_from == "elsewhere"


def test_a_table_of_another_kind_is_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        'extends = "llast-2b"\n[audio]\nkind = "fbank"\n[adapter]\nkind = "stacked"\nstack = 2\nhidden = 9\n',
        encoding="utf-8",
    )
    recipe = load_recipe(tmp_path / "mine.toml")
    assert recipe.audio.model_dump() == {"kind": "fbank", "window_s": 30.0, "padding": "trimmed"}
    assert recipe.adapter.kind == "stacked"
    assert load_recipe("llast-2b").audio.kind == "log-mel"  # which it does not say


def test_llasts_ablations_change_one_thing() -> None:
    """Tables 3 to 6, Figures 3 and 4."""
    plain = load_recipe("llast-8b")
    assert plain.encoder.lora is not None and plain.llm.lora is not None
    for name, loras in {"adapter": (), "s-lora": ("encoder",), "l-lora": ("llm",)}.items():
        found = load_recipe(f"llast-8b-{name}-only")
        assert [part for part in ("encoder", "llm") if getattr(found, part).lora] == list(loras)
        assert found.stages[0].trains == ["adapter", *(f"{part}_lora" for part in loras)]
        assert found.stages[0].schedule == plain.stages[0].schedule
    french = load_recipe("llast-8b-french")
    assert (french.sources, french.targets, french.stages[0].tasks) == (["fra"], ["eng"], plain.stages[0].tasks)
    for llm in ("", "-qwen", "-internlm2"):
        with_asr, without = load_recipe(f"llast-8b{llm}"), load_recipe(f"llast-8b{llm}-without-asr")
        assert with_asr.prompt == without.prompt and with_asr.llm == without.llm
        assert (set(with_asr.stages[0].tasks), set(without.stages[0].tasks)) == ({"asr", "st"}, {"st"})
        assert with_asr.stages[0].schedule.epochs == 2 * (without.stages[0].schedule.epochs or 0)


@pytest.mark.parametrize("name", ["llast-8b-qwen", "llast-8b-internlm2"])
def test_a_chat_is_asked_in_its_own_template(name: str) -> None:
    """Qwen's and InternLM2's are the same: ChatML."""
    recipe = load_recipe(name)
    prompt, _ = build("st", TaskItem("fra", "eng", "non", "no"), LanguageTags.from_prompt(recipe.prompt))
    assert recipe.prompt.before_audio + "<audio>" + prompt == (
        "<|im_start|>user\n<audio>\nPlease translate the French sentence into English.<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
