"""Stages follow one another, go on where they stopped, and belong to one recipe."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from toy import TEXTS, examples, losses, model, recipe, stage, write_corpus

from dragoman.data.batching import collate
from dragoman.data.index import open_index
from dragoman.data.index.selection import Selection
from dragoman.data.sampling import StepSampler
from dragoman.errors import DataError, OutputError, RecipeError
from dragoman.files import only_run
from dragoman.model.build import LoadedModel
from dragoman.model.folder import save_model
from dragoman.pretraining.build import build_bases
from dragoman.recipe import Recipe
from dragoman.records import Utterance, write_rows
from dragoman.training import curriculum
from dragoman.training.curriculum import train_curriculum
from dragoman.training.inputs.manifests import held_out
from dragoman.training.inputs.steps import stream_of_steps
from dragoman.training.options import TrainOptions
from dragoman.training.trainer import TrainingJob, fit, make_accelerator

THREE = [
    stage("asr", ctc_weight=0.2),
    stage("smt", schedule={"precision": "bf16", "seed": 1}),
    stage("srt", tasks={"srt": 0.5, "asr": 0.5}, targets=2),
]


def train(chosen: Recipe, folder: Path, **options: Any) -> Path:
    own = TrainOptions(workers=0, **options)
    return train_curriculum(chosen, folder / "data", folder / "run", own, bases=folder / "bases")


def test_it_goes_on_where_it_stopped(prepared: Callable[[Recipe], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = recipe(stages=THREE)
    folder = prepared(chosen)
    ran: list[str] = []

    def watched(job: TrainingJob, accelerator: Any) -> Any:
        ran.append(job.label)
        if job.label == "stage srt" and len(ran) == 3:
            raise KeyboardInterrupt
        return fit(job, accelerator)

    monkeypatch.setattr(curriculum, "fit", watched)
    with pytest.raises(KeyboardInterrupt):
        train(chosen, folder)
    last = train(chosen, folder)
    assert ran == ["stage asr", "stage smt", "stage srt", "stage srt"]
    assert last == folder / "run" / "3-srt" / "model"
    assert train(chosen, folder) == last and len(ran) == 4
    models = [
        load_file(folder / "run" / name / "model" / "adapter.safetensors") for name in ("1-asr", "2-smt", "3-srt")
    ]
    assert all(not models[0][name].equal(models[1][name]) for name in models[0])
    assert all(len(losses(folder / "run" / name)) == 4 for name in ("1-asr", "2-smt", "3-srt"))


def test_a_stage_that_lost_its_model_writes_it_again(
    prepared: Callable[[Recipe], Path], caplog: pytest.LogCaptureFixture
) -> None:
    """Killed between the last checkpoint and the model: nothing is trained past the end; what a damaged checkpoint held
    is trained again."""
    folder = prepared(chosen := recipe(stages=THREE[:1]))
    written = train(chosen, folder, save_every=3)
    before, metrics = load_file(written / "adapter.safetensors"), (written.parent / "metrics.jsonl").read_text()
    for damaged in (False, True):
        shutil.rmtree(written)
        if damaged:
            (written.parent / "checkpoints" / "step-0000004" / "state.pt").write_bytes(b"")
        train(chosen, folder, save_every=3)
        after = load_file(written / "adapter.safetensors")
        assert all(before[name].equal(after[name]) for name in before)
        assert (written.parent / "metrics.jsonl").read_text() == metrics
        assert ("step-0000004 is damaged and is skipped" in caplog.text) == damaged


def test_another_recipe_in_the_same_folder_is_refused(prepared: Callable[[Recipe], Path]) -> None:
    folder = prepared(recipe(stages=THREE[:1]))
    train(recipe(stages=THREE[:1]), folder)
    with pytest.raises(RecipeError, match=r"started with another recipe \(adapter differs"):
        train(recipe(stages=THREE[:1], adapter={"kind": "mlp"}), folder)
    with pytest.raises(RecipeError, match="no stages"):
        train(recipe(), folder)


def test_validation_hears_every_language_and_changes_nothing(
    prepared: Callable[[Recipe], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = recipe(stages=THREE[:1])
    folder = prepared(chosen)
    train(chosen, folder)
    unwatched = losses(folder / "run" / "1-asr")
    write_corpus(folder / "data", "valid")
    heard: list[set[str]] = []
    told: list[tuple[str, int]] = []

    def scores(loaded: LoadedModel, utterances: Any) -> dict[str, float]:
        heard.append({utterance.language for utterance in utterances})
        return {"bleu": 7.0}

    monkeypatch.setattr(curriculum, "_TRANSLATED", 6)
    out = train_curriculum(
        chosen,
        folder / "data",
        folder / "watched",
        TrainOptions(workers=0),
        bases=folder / "bases",
        translation_scores=scores,
        on_progress=lambda doing, done, total, note="": told.append((doing, done)),
    )
    assert told == [("stage asr", step) for step in range(len(unwatched) + 1)]
    assert losses(out.parent) == unwatched
    assert heard and len(heard[0]) == 3
    assert '"valid/bleu": 7.0' in (out.parent / "metrics.jsonl").read_text(encoding="utf-8")


def test_an_edited_manifest_is_noticed_when_a_run_goes_on(prepared: Callable[[Recipe], Path]) -> None:
    folder = prepared(chosen := recipe(stages=THREE[:2]))
    train(chosen, folder)
    manifest = folder / "data" / "train.jsonl"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace("the cat sleeps", "the cat slept."), encoding="utf-8")
    train(chosen, folder)  # all is done: nothing is read
    shutil.rmtree(folder / "run" / "2-smt")
    with pytest.raises(DataError, match=r"train\.jsonl is not what .*run was started with; restore it"):
        train(chosen, folder)
    manifest.write_text(text, encoding="utf-8")  # as it was, at another time
    train(chosen, folder)
    write_corpus(folder / "data", "valid")  # what was not there before is remembered from now on
    shutil.rmtree(folder / "run" / "2-smt")
    train(chosen, folder)
    assert len(json.loads((folder / "run" / "data.json").read_text())) == 2


def test_epochs_are_counted_when_the_data_are_known(prepared: Callable[[Recipe], Path]) -> None:
    """Twelve utterances, five a step: three steps an epoch."""
    plan = stage("asr")
    plan["schedule"] = {**{k: v for k, v in plan["schedule"].items() if k != "steps"}, "epochs": 2, "batch": 5}
    chosen = recipe(stages=[plan])
    assert len(losses(train(chosen, prepared(chosen)).parent)) == 6


def test_a_missing_manifest_is_one_sentence(prepared: Callable[[Recipe], Path]) -> None:
    chosen = recipe(stages=[stage("asr", data=[{"name": "nowhere"}])])
    with pytest.raises(DataError, match=r"stage asr: .*nowhere\.jsonl is missing"):
        train(chosen, prepared(chosen))


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    loaded = model(tmp_path)
    bad = replace(collate(examples(), 0), features=torch.full((3, 80, 100), float("nan")))
    (plan,) = recipe(stages=[stage("asr")]).stages
    job = TrainingJob("bad", loaded.model, lambda start: iter([[bad]] * 4), plan.schedule, tmp_path / "run")
    with pytest.raises(DataError, match=r"bad: the loss of step 1 is not finite \(seed 0; its rows have no ids\)"):
        fit(job, make_accelerator("fp32"))
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_what_made_a_loss_not_finite_is_named(prepared: Callable[[Recipe], Path]) -> None:
    chosen = recipe(stages=[stage("asr", schedule={"learning_rate": 1e30, "seed": 3})])
    folder = prepared(chosen)
    with pytest.raises(DataError) as error:
        train(chosen, folder)
    index = open_index(folder / "data" / "train.jsonl")
    second = Selection([index], chosen.stages[0], chosen).order().step(2)
    held = ", ".join(index.row(int(row)).id for row in second.item)
    assert f"stage asr: the loss of step 2 is not finite (seed 3; it held {held}); look at these" in str(error.value)


def test_more_processes_than_utterances_in_a_step_are_refused(prepared: Callable[[Recipe], Path]) -> None:
    """Else some would wait for a batch of theirs for ever."""
    three = SimpleNamespace(process_index=2, num_processes=3)
    for order in (StepSampler([1] * 9, batch=2, seed=0), StepSampler([1, 1], batch=8, seed=0)):
        with pytest.raises(DataError, match=r"a step holds 2 utterances, which 3 processes cannot share; start 2 at"):
            stream_of_steps(order, list, three)
    assert next(stream_of_steps(StepSampler([1] * 3, batch=3, seed=0), lambda step: [step], three)(0))


def test_text_out_of_all_proportion_is_named_before_the_first_step(
    prepared: Callable[[Recipe], Path], caplog: pytest.LogCaptureFixture
) -> None:
    chosen = recipe(stages=[stage("asr"), stage("srt")])
    folder = prepared(chosen)
    manifest = folder / "data" / "train.jsonl"
    first = json.loads(manifest.read_text(encoding="utf-8").splitlines()[0])
    rows = [
        {**first, "id": "wordy", "duration_s": 1.5, "text": "ab " * 7000},
        {**first, "id": "translated", "duration_s": 1.5, "translations": {"fra": "x" * 251}},
        {**first, "id": "fast", "duration_s": 1.5, "translations": {"fra": "x" * 250}},  # not out of proportion
        {**first, "id": "unmeasured", "duration_s": None, "text": "ab " * 2000},  # the LLM reads 2,048 positions
    ]
    with open(manifest, "a", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
    with pytest.raises(DataError) as error:
        train(chosen, folder)
    assert "stage asr: " in str(error.value) and "wordy (21,000 characters in 1.5 s), unmeasured (" in str(error.value)
    assert re.search(r"unmeasured \(\d,\d\d\d tokens, where the LLM has room for 1,991\); correct", str(error.value))
    assert not list((folder / "run").glob("*-*"))
    train(chosen, folder, skip_bad=True)
    assert "stage srt: " in caplog.text and "translated (251 characters in 1.5 s)" in caplog.text
    assert "fast" not in caplog.text
    assert "13 of 16" in caplog.text


def test_what_would_stop_a_later_stage_is_told_before_the_first(prepared: Callable[[Recipe], Path]) -> None:
    """And a recipe or manifest that was fixed is taken, since nothing was trained."""

    def stages(**source: Any) -> Recipe:
        return recipe(stages=[stage("asr"), stage("srt", data=[{"name": "train", **source}])])

    folder = prepared(recipe())
    with pytest.raises(DataError, match=r"stage srt: .*absent.jsonl is missing"):
        train(stages(name="absent"), folder)
    with pytest.raises(DataError, match=r"stage srt: .*has no utterance for this source \(it holds deu, eng, fra\)"):
        train(stages(sources=["nld"]), folder)
    manifest = folder / "data" / "train.jsonl"
    rows = manifest.read_text(encoding="utf-8")
    long = json.loads(rows.splitlines()[0]) | {"id": "long", "duration_s": 2.5}
    manifest.write_text(rows + json.dumps(long) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"stage asr: .* 1 utterances are longer than the 2 s .* max_duration_s = 2 "):
        train(stages(), folder)
    assert not list((folder / "run").glob("*-*"))
    manifest.write_text(rows, encoding="utf-8")
    assert train(stages(), folder) == folder / "run" / "2-srt" / "model"


def test_what_is_longer_than_the_model_hears_validates_nothing(tmp_path: Path) -> None:
    chosen = recipe(stages=[stage("asr")])
    rows = [
        Utterance(id=str(n), audio="x", language="eng", text="x", duration_s=duration)
        for n, duration in enumerate((1.0, 2.5, 2.0))
    ]
    write_rows(tmp_path / "valid.jsonl", rows)
    _, draws = held_out(open_index(tmp_path / "valid.jsonl"), chosen.stages[0], chosen)
    assert sorted(draw.row for draw in draws) == [0, 2]


def test_a_stage_begins_part_of_the_way_back(prepared: Callable[[Recipe], Path]) -> None:
    folder = prepared(recipe())
    save_model(model(folder), folder / "start")
    still = {"steps": 1, "learning_rate": 1e-12, "weight_decay": 0.0}
    stages = [stage("asr", schedule={"learning_rate": 0.1}), stage("srt", schedule=still, weight_interpolation=0.25)]
    chosen = recipe(stages=stages, init_from=str(folder / "start"))
    train(chosen, folder)
    start, far, back = (
        load_file(path / "adapter.safetensors")
        for path in (folder / "start", folder / "run" / "1-asr" / "model", folder / "run" / "2-srt" / "model")
    )
    for name, tensor in back.items():
        assert not far[name].equal(start[name])
        torch.testing.assert_close(tensor, 0.75 * start[name] + 0.25 * far[name], rtol=1e-5, atol=1e-6)
    shutil.rmtree(folder / "run" / "2-srt")
    save_model(model(folder, seed=3), folder / "start")
    with pytest.raises(DataError, match=r"start is not what .*run was started with"):
        train(chosen, folder)


def test_a_model_teaches_only_what_it_was_last_taught(prepared: Callable[[Recipe], Path]) -> None:
    folder = prepared(recipe())
    save_model(model(folder, recipe(stages=[stage("asr"), stage("srt")])), folder / "start")
    chosen = recipe(stages=[stage("asr", distillation=1.0)], init_from=str(folder / "start"))
    message = r"stages.asr.distillation: .*start was last trained on srt, and this stage is of asr; leave it out"
    with pytest.raises(RecipeError, match=message):
        train(chosen, folder)
    assert not (folder / "run").exists()


def test_bases_name_rows_with_more_text_than_fits_before_the_first_step(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    spoken = write_corpus(data)
    write_rows(data / "train.jsonl", [*spoken, spoken[0].model_copy(update={"id": "wordy", "text": "so " * 7000})])
    with pytest.raises(
        DataError, match=r"train\.jsonl: these rows have more text than fits: wordy \(21,000 characters"
    ):
        build_bases(recipe(), data, out)
    assert not out.exists()
    texts = {code: list(sentences[:1]) for code, sentences in TEXTS.items()}
    sentences = [{"id": "a", "texts": texts}, {"id": "b", "texts": {**texts, "fra": ["le chat dort " * 200]}}]
    path = data / "text.train.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in sentences), encoding="utf-8")
    with pytest.raises(
        DataError, match=r"text\.train\.jsonl: these rows have more text than fits: b \([\d,]+ tokens, of"
    ):
        build_bases(recipe(), data, out, parts=("tokenizer", "llm"))


def test_a_run_has_its_folder_for_itself(tmp_path: Path) -> None:
    with only_run(tmp_path / "run"):
        with pytest.raises(OutputError, match="run: another run is writing there"):
            train(recipe(stages=THREE), tmp_path)
        with pytest.raises(OutputError, match="run: another run is writing there"):
            build_bases(recipe(), tmp_path, tmp_path / "run")
