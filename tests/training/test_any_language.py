"""A language of which nothing is known but its name goes the whole road: from somebody's table to scores."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from toy import recipe, stage, tokenizer, write_bases

from dragoman.cli import app
from dragoman.data.corpora import table
from dragoman.data.corpora.parts import PrepareOptions
from dragoman.data.index import open_index
from dragoman.data.synthesis import write_flac
from dragoman.data.tasks import LanguageTags, TaskItem, build
from dragoman.evaluation.generate import generate
from dragoman.evaluation.score import score
from dragoman.inference.translator import Translator
from dragoman.recipe import PromptConfig
from dragoman.records import read_hypotheses, read_manifest
from dragoman.training.curriculum import train_curriculum
from dragoman.training.options import TrainOptions

CORPUS = {
    "languages": ["eng", "quy", "spa"], "max_words": 4, "vocabulary": 9, "clips_per_language": 1, "valid_sentences": 1,
    "seed": 1,
}  # fmt: skip


def write_table(folder: Path) -> Path:
    random = np.random.default_rng(0)
    with open(folder / "mine.csv", "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["audio", "text", "text_spa", "text_raw"])
        for number in range(4):
            write_flac(folder / f"{number}.flac", random.normal(scale=0.1, size=12_000 + number).astype(np.float32))
            rows.writerow([f"{number}.flac", f"allinllachu kachkanki wawqiy {number}", f"cómo estás {number}", ""])
    return folder / "mine.csv"


def test_from_a_table_to_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "data"
    table.prepare(write_table(tmp_path), data, language="Ayacucho Quechua", options=PrepareOptions())
    assert "The column text_raw is taken for Rawang (raw)." in caplog.messages
    (manifest,) = data.glob("mine.jsonl")
    assert open_index(manifest).languages == ("quy", "spa")

    assert app(["check", str(data), "--workers", "1"], standalone_mode=False) in (None, 0)
    said = capsys.readouterr().out
    assert "quy Ayacucho Quechua" in said and "quy-spa 4" in said
    assert "The script of Ayacucho Quechua is not known here, so texts in another are not found." in said

    plan = stage("srt", data=[{"name": "mine"}], schedule={"steps": 1, "batch": 2})
    bases = {**recipe().model_dump()["bases"], "corpus": CORPUS}
    chosen = recipe(sources=["quy", "es"], targets=["quy", "spa"], bases=bases, stages=[plan])
    own = write_bases(tmp_path / "bases", chosen)
    model = train_curriculum(chosen, data, tmp_path / "run", TrainOptions(workers=0), bases=own)
    translator = Translator.from_pretrained(model, beam_size=1)
    assert translator.sources == translator.targets == ["quy", "spa"]
    result = translator.translate(tmp_path / "0.flac", to="quy", language="Spanish")
    assert result.targets == ("quy",)

    generate(read_manifest(manifest), ["spa"], translator, tmp_path / "hypotheses.jsonl", batch_size=4)
    found = {(one.metric, one.direction): one for one in score(read_hypotheses(tmp_path / "hypotheses.jsonl"))}
    assert {("WER", "quy"), ("BLEU", "quy-spa"), ("chrF", "quy-spa")} < found.keys()
    assert ("CER", "quy") not in found and "tok:13a" in found["BLEU", "quy-spa"].signature


def test_its_tag_is_plain_text_and_words_name_it() -> None:
    item = TaskItem("spa", "quy", "¿Cómo estás?", "¿Imaynallam kachkanki?")
    prompt, answer = build("srt", item, LanguageTags())
    assert prompt == "<|spa|><|quy|>" and answer == "¿Cómo estás?<|spa|><|quy|>¿Imaynallam kachkanki?"
    pieces = tokenizer()  # which has no such tag
    assert pieces.decode(pieces(prompt).input_ids) == prompt
    asked = PromptConfig(worded={"st": "From {source} into {target}:"})
    assert build("st", item, LanguageTags.from_prompt(asked))[0] == "From Spanish into Ayacucho Quechua:"
