"""SeamlessM4T-v2 learns by LoRA: nothing else moves, a run goes on where it stopped, the door loads what came out."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign import SMALL
from safetensors.torch import load_file, save_file
from toy import losses, write_corpus

from dragoman.cli.training.finetune import finetune
from dragoman.data.index import open_index
from dragoman.errors import DataError, ModelError
from dragoman.systems import find_system
from dragoman.systems.seamless import Seamless
from dragoman.systems.seamless_lora import SeamlessLora, TranslatedSpeech

NAME = "seamless-m4t-v2-large"
Tune = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuning")
    write_corpus(folder / "data")
    (folder / "small").mkdir()
    SMALL[NAME](folder / "small")
    return folder


@pytest.fixture
def tune(folder: Path) -> Tune:
    def inner(out: Path, **options: Any) -> Path:
        given = {"steps": 6, "model": str(folder / "small"), "batch": 4, "micro_batch": 2, "learning_rate": 1e-2}
        fixed = {"manifest": folder / "data" / "train.jsonl", "to": ["eng,deu"], "workers": 0, "save_every": 2}
        finetune(system=NAME, out=out, device="cpu", **{**given, **fixed, **options})
        return out / "model"

    return inner


def test_the_loss_falls_and_only_lora_moves(tune: Tune, folder: Path, tmp_path: Path) -> None:
    model = tune(tmp_path / "run", steps=30, learning_rate=3e-2)
    lost = losses(tmp_path / "run")
    assert sum(lost[-5:]) < 0.9 * sum(lost[:5])
    assert {path.name for path in model.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    before, after = (Seamless.from_pretrained(str(path), device="cpu").part for path in (folder / "small", model))
    old, new = before.model.state_dict(), after.model.state_dict()
    moved = {name for name in old if not torch.equal(old[name], new[name])}
    assert old.keys() == new.keys() and moved
    assert all(name.removesuffix(".weight").endswith("_proj") for name in moved)
    assert after.identity.startswith(before.identity) and after.identity != before.identity
    lora = load_file(model / "adapter_model.safetensors")
    missing = lora.popitem()[0]
    save_file(lora, model / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=re.escape(f"tensor '{missing}' is missing (1 such)")):
        Seamless.from_pretrained(str(model), device="cpu")
    (model / "adapter_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"adapter_config\.json cannot be read"):
        Seamless.from_pretrained(str(model), device="cpu")


def test_it_goes_on_where_it_stopped(tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tune(tmp_path / "whole")
    forward, calls = SeamlessLora.forward, [0]

    def interrupted(self: SeamlessLora, batch: Any) -> Any:
        calls[0] += 1
        if calls[0] in (8, 15):  # two micro-batches a step: in the fourth, and again later
            raise KeyboardInterrupt
        return forward(self, batch)

    monkeypatch.setattr(SeamlessLora, "forward", interrupted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            tune(tmp_path / "parts")
    parts = tune(tmp_path / "parts")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    name = "adapter_model.safetensors"
    assert (parts / name).read_bytes() == (whole / name).read_bytes()
    with pytest.raises(ModelError, match=r"a run with learning_rate 0\.01, not 0\.001; choose another --out"):
        tune(tmp_path / "parts", learning_rate=1e-3)


def test_the_loss_is_that_of_transformers_and_of_each_row_alone(folder: Path) -> None:
    base = find_system(NAME).from_pretrained(str(folder / "small"), device="cpu")
    speech = TranslatedSpeech(base, open_index(folder / "data" / "train.jsonl"), ["eng", "deu"])
    assert len(speech.rows) == 4 * 4  # deu and fra to eng, eng and fra to deu
    learner = SeamlessLora(base, 0).eval()
    with torch.no_grad():
        together = learner(speech.batch(range(5)))["loss"]
        alone = [speech.batch([number]) for number in range(5)]
        torch.testing.assert_close(together, sum(learner(one)["loss"] for one in alone))
        one = alone[0]
        mean = learner.model(input_features=one.features, attention_mask=one.mask, labels=one.labels).loss
        torch.testing.assert_close(learner(one)["loss"], mean * one.num_targets)


def test_rows_with_more_text_than_fits_are_named_before_the_first_step(
    tune: Tune, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [json.loads(line) for line in (folder / "data" / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    rows[0]["translations"] = {"deu": "ja " * 7000}
    path = folder / "data" / "wordy.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    named = r"wordy\.jsonl: these rows have more text than fits: eng0 in deu \(21,000 characters in \d\.\d+ s\)"
    with pytest.raises(DataError, match=rf"{named}; correct them, or leave them out with --skip_bad\."):
        tune(tmp_path / "run", manifest=path)
    assert not (tmp_path / "run").exists()
    with caplog.at_level(logging.WARNING):
        tune(tmp_path / "run", manifest=path, skip_bad=True, steps=1)
    assert re.search(rf"{named}; left out\.", caplog.text)


def test_mistakes_are_one_sentence(tune: Tune, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="whisper is not fine-tuned here"):
        finetune(system="whisper", manifest=folder / "data" / "train.jsonl", to=["eng"], out=tmp_path, steps=1)
    base = find_system(NAME).from_pretrained(str(folder / "small"), device="cpu")
    with pytest.raises(DataError, match="no translation into ara"):
        TranslatedSpeech(base, open_index(folder / "data" / "train.jsonl"), ["ara"])
