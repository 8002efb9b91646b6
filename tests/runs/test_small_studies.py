"""The short runs of runs/small_studies.py: their recipes mean what their rows say, and toy models train by them."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import small_overlays as overlays
import small_studies as studies
import torch
import toy
from small_overlays import STUDIES, Budget, StudyRow

from dragoman.model.folder import read_tensors, stored_recipe
from dragoman.recipe import Recipe, Stage, dump_recipe, load_recipe
from dragoman.records import write_rows
from dragoman.training.curriculum import train_curriculum
from dragoman.training.encoding import check_storable
from dragoman.training.options import TrainOptions
from dragoman.training.warm_start import with_initial_revisions

SMALL = load_recipe("small")
MIX = next(stage for stage in SMALL.stages if stage.name == "srt-long")  # the last with translated speech of people
BUDGET = Budget(steps=100, ctc_steps=40, seed=1)


def recipes(study: str, init_from: str = "small", budget: Budget = BUDGET) -> dict[str, tuple[StudyRow, Recipe]]:
    rows = STUDIES[study].rows(SMALL, budget)
    return {row.name: (row, overlays.overlay(SMALL, study, row, init_from)) for row in rows}


def llm_steps(recipe: Recipe) -> int:
    return sum(stage.schedule.steps or 0 for stage in recipe.stages if stage.tasks)


def tasks(recipe: Recipe) -> list[dict[str, float]]:
    return [stage.tasks for stage in recipe.stages]


@pytest.mark.parametrize("study", STUDIES)
def test_every_row_can_begin_where_it_says(study: str, tmp_path: Path) -> None:
    for row, recipe in recipes(study).values():
        begin = SMALL if row.adapter is None else SMALL.model_copy(update={"adapter": row.adapter})
        (tmp_path / "recipe.json").write_text(dump_recipe(begin))
        assert with_initial_revisions(recipe.model_copy(update={"init_from": str(tmp_path)}))
        assert row.begins_with in [stage.name for stage in SMALL.stages]
        assert recipe.decoding.ctc_weight == 0 or recipe.aligned_by_ctc


@pytest.mark.parametrize("study", ["curriculum", "adapters", "hours"])
def test_rows_have_the_same_budget_and_the_same_texts(study: str) -> None:
    found = [recipe for _, recipe in recipes(study).values()]
    assert {llm_steps(recipe) for recipe in found} == {BUDGET.steps}
    assert {stage.schedule.steps for recipe in found for stage in recipe.stages if not stage.tasks} <= {
        BUDGET.ctc_steps
    }
    assert len({text_share(stage) for recipe in found for stage in recipe.stages if stage.tasks}) == 1


def text_share(stage: Stage) -> float:
    whole = sum(source.weight or 0 for source in stage.data)
    return round(sum(source.weight or 0 for source in stage.data if not stage.uses_speech(source)) / whole, 6)


def test_the_curriculums_rows_leave_out_what_they_say_and_all_is_heard_in_each() -> None:
    found = {name: recipe for name, (_, recipe) in recipes("curriculum").items()}
    assert tasks(found["full"]) == [{"asr": 1.0}, {"smt": 1.0}, {"srt": 1.0}]
    assert tasks(found["without-asr"]) == [{"smt": 1.0}, {"srt": 1.0}] == tasks(found["without-asr-unaligned"])
    assert tasks(found["without-smt-srt"]) == [{"asr": 1.0}, {"st": 1.0}]
    assert not found["without-smt-srt"].writes_transcripts and found["full"].writes_transcripts
    heard = [stage.data for recipe in found.values() for stage in recipe.stages]
    assert all(data == heard[0] for data in heard)
    assert not found["full-unaligned"].aligned_by_ctc and found["full"].aligned_by_ctc


def test_loras_rows_train_what_they_say_and_hear_as_much() -> None:
    found = {name: recipe for name, (_, recipe) in recipes("lora").items()}
    trained = {name: set(recipe.stages[0].trains) - {"adapter"} for name, recipe in found.items()}
    both = {"llm_lora", "encoder_lora"}
    assert trained == {"adapter-only": set(), "s-lora": {"encoder_lora"}, "l-lora": {"llm_lora"}, "both": both}
    for recipe in found.values():
        stage = recipe.stages[0]
        assert (1 - text_share(stage)) * (stage.schedule.steps or 0) == pytest.approx(
            (1 - text_share(MIX)) * BUDGET.steps, abs=0.5
        )
    check_storable(found["l-lora"])


def test_fewer_hours_and_other_seeds_change_nothing_else() -> None:
    found = {name: recipe for name, (_, recipe) in recipes("hours").items()}
    most = {name: [source.max_hours for source in recipe.stages[-1].data] for name, recipe in found.items()}
    assert most["1-h"][0] == 1.0 and most["6-h"][0] == 6.0 == most["synthetic"][0]
    assert len(most["synthetic"]) == len(most["6-h"]) + 2
    other = recipes("hours", budget=Budget(BUDGET.steps, BUDGET.ctc_steps, 2))["1-h"][1]
    assert [stage.schedule.seed for stage in other.stages] != [stage.schedule.seed for stage in found["1-h"].stages]
    assert [seedless(stage) for stage in other.stages] == [seedless(stage) for stage in found["1-h"].stages]


def seedless(stage: Stage) -> Stage:
    return stage.model_copy(update={"schedule": stage.schedule.model_copy(update={"seed": 0})})


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> argparse.Namespace:
    """A toy's run with the stages that rows begin with."""
    folder = tmp_path_factory.mktemp("small")
    corpus = toy.write_corpus(folder / "data")
    translated = []
    for row in corpus:
        others = {code: texts[int(row.id[3:])] for code, texts in toy.TEXTS.items() if code != row.language}
        translated.append(row.model_copy(update={"translations": others}))
    for name in ("human-by-llm", "pico", "human", "text"):
        write_rows(folder / "data" / f"{name}.jsonl", translated)
    ctc = {"tasks": {}, "ctc_weight": 1.0, "schedule": {"steps": 2}}
    sources = [
        {"name": "pico", "weight": 0.5},
        {"name": "human", "weight": 0.2, "tasks": {"asr": 1.0}},
        {"name": "human-by-llm", "weight": 0.2},
        {"name": "text", "weight": 0.1, "tasks": {"mt": 1.0}},
    ]
    mix = {"tasks": {"srt": 0.5, "smt": 0.2, "asr": 0.3}, "data": sources, "trains": ["adapter", "llm_lora"]}
    base = toy.recipe(
        adapter={**toy.STACKED, "ctc_blank": True},
        llm={"name": "base", "lora": toy.LORA},
        stages=[
            toy.stage("text", tasks={"mt": 1.0}, trains=["llm_lora"]),
            toy.stage("align", **ctc, data=[{"name": "pico", "max_duration_s": 2.0}]),
            toy.stage("align-long", **ctc),
            toy.stage("srt-long", **mix, ctc_weight=0.3),
            toy.stage("align-more", **ctc),  # a run may have been gone on with
        ],
    )
    toy.write_bases(folder / "bases", base)
    train_curriculum(base, folder / "data", folder / "run", TrainOptions(workers=0), bases=folder / "bases")
    places = {"run": folder / "run", "data": folder / "data", "out": folder / "out"}
    return argparse.Namespace(**places, recipe=None, features=None)


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_a_toy_trains_by_every_row(study: str, options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = {"hidden": 16, "heads": 2, "feed_forward": 24, "mlp_hidden": 20}
    monkeypatch.setattr(overlays, "Q_FORMER", overlays.Q_FORMER.model_copy(update=narrow))
    budget = Budget(steps=3, ctc_steps=2, seed=1)
    for row in STUDIES[study].rows(studies.base_recipe(options), budget):
        recipe, model = studies.run_row(study, row, budget, options)
        begin = Path(str(recipe.init_from))
        own, before = (read_tensors(folder / "adapter.safetensors") for folder in (model, begin))
        assert any(not torch.equal(own[name], before[name]) for name in own), row.name
        own, before = (read_tensors(folder / "llm_lora" / "adapter_model.safetensors") for folder in (model, begin))
        learnt = any(not torch.equal(own[name], before[name]) for name in own)
        assert learnt == any("llm_lora" in stage.trains for stage in row.stages), row.name
        assert (model / "encoder_lora").is_dir() == row.encoder_lora
        assert stored_recipe(model).adapter == (row.adapter or studies.base_recipe(options).adapter)
        assert studies.run_row(study, row, budget, options) == (recipe, model)  # nothing is trained twice
        assert studies.hours_heard(recipe, options.data) > 0
