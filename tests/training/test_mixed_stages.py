"""Text first, alignment without the LLM, then speech and text in one stage; a run folder takes further stages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from toy import LORA, STACKED, TEXTS, examples, losses, model, recipe, stage

from dragoman.data.batching import collate
from dragoman.errors import RecipeError
from dragoman.recipe import Recipe, parse_recipe
from dragoman.records import Utterance, write_rows
from dragoman.training.curriculum import train_curriculum
from dragoman.training.encoding import encode
from dragoman.training.options import TrainOptions

LLM = {"name": "base", "lora": LORA}
BLANK = {**STACKED, "ctc_blank": True}
TEXT = {"name": "text", "tasks": {"mt": 1.0}, "weight": 0.4}
TAUGHT = [
    stage("text", tasks={"mt": 1.0}, trains=["llm_lora"], data=[{"name": "text"}]),
    stage("align", tasks={}, ctc_weight=1.0, ctc_sampled=30),
    stage(
        "mixed",
        tasks={"srt": 0.5, "asr": 0.5},
        trains=["adapter", "llm_lora"],
        data=[{"name": "train", "weight": 0.6}, TEXT],
        ctc_weight=0.2,
    ),
]


def toy(stages: list[dict[str, Any]]) -> Recipe:
    return recipe(stages=stages, llm=LLM, adapter=BLANK)


def train(chosen: Recipe, folder: Path, run: str = "run", **options: Any) -> Path:
    own = TrainOptions(workers=0, **options)
    return train_curriculum(chosen, folder / "data", folder / run, own, bases=folder / "bases")


@pytest.fixture
def folder(prepared: Callable[[Recipe], Path]) -> Path:
    """Speech in `train`, and the same sentences as text alone in `text`."""
    folder = prepared(toy(TAUGHT))
    rows = [
        Utterance(
            id=f"{code}-{number}", language=code, text=text,
            translations={other: TEXTS[other][number] for other in TEXTS if other != code},
        )
        for code, texts in TEXTS.items()
        for number, text in enumerate(texts)
    ]  # fmt: skip
    write_rows(folder / "data" / "text.jsonl", rows)
    return folder


def test_each_stage_teaches_what_it_says(folder: Path) -> None:
    train(toy(TAUGHT), folder)
    models = [folder / "run" / name / "model" for name in ("1-text", "2-align", "3-mixed")]
    adapter = [load_file(path / "adapter.safetensors") for path in models]
    lora = [load_file(path / "llm_lora" / "adapter_model.safetensors") for path in models]

    def differ(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> set[str]:
        return {name for name in one if not torch.equal(one[name], other[name])}

    assert differ(lora[0], lora[1]) == set()  # alignment leaves the LLM alone
    assert differ(adapter[0], adapter[1]) == set(adapter[0])  # the blank too
    assert differ(lora[1], lora[2]) and differ(adapter[1], adapter[2])


def test_how_a_step_is_cut_changes_no_loss(folder: Path) -> None:
    train(toy(TAUGHT[:1]), folder, "one")
    train(toy(TAUGHT[:1]), folder, "two", micro_batch=1)
    assert losses(folder / "one" / "1-text") == pytest.approx(losses(folder / "two" / "1-text"), rel=1e-4)
    mixed = toy(TAUGHT[2:])
    train(mixed, folder, "three")
    train(mixed, folder, "four", micro_batch=2)
    assert losses(folder / "three" / "1-mixed") == pytest.approx(losses(folder / "four" / "1-mixed"), rel=1e-4)


def test_stored_frames_serve_the_speech_of_a_mixed_stage(folder: Path) -> None:
    mixed = toy(TAUGHT[2:])
    stored = encode(mixed, folder / "data", folder / "frames", bases=folder / "bases", workers=0)
    assert stored == 12  # the speech, and no row of text
    train(mixed, folder, "heard")
    train(mixed, folder, "read", features=folder / "frames")
    assert losses(folder / "heard" / "1-mixed") == pytest.approx(losses(folder / "read" / "1-mixed"), rel=1e-4)


def test_a_run_takes_a_further_stage_and_no_other_past(folder: Path) -> None:
    train(toy(TAUGHT[:1]), folder)
    before = (folder / "run" / "1-text" / "model" / "recipe.json").stat().st_mtime_ns
    assert train(toy(TAUGHT[:2]), folder) == folder / "run" / "2-align" / "model"
    assert (folder / "run" / "1-text" / "model" / "recipe.json").stat().st_mtime_ns == before
    longer = {**TAUGHT[0], "schedule": {**TAUGHT[0]["schedule"], "steps": 9}}
    with pytest.raises(RecipeError, match="another recipe \\(stage text differs\\)"):
        train(toy([longer, TAUGHT[1]]), folder)


def test_a_sample_of_all_pieces_is_the_whole_loss(tmp_path: Path) -> None:
    loaded = model(tmp_path, toy([]))
    batch = collate(examples(), 0)
    audio, num_audio = loaded.model.audio(batch)
    whole = loaded.model.ctc_of(batch, audio, num_audio)
    loaded.model.train()
    loaded.model.ctc_sampled = 20_000  # of some 80 pieces: each is drawn
    assert float(loaded.model.ctc_of(batch, audio, num_audio)) == pytest.approx(float(whole), rel=1e-5)
    loaded.model.ctc_sampled = 5
    assert float(loaded.model.ctc_of(batch, audio, num_audio)) < float(whole)  # fewer others to be wrong with


def test_a_learnt_blank_stands_in_the_place_of_a_piece(tmp_path: Path) -> None:
    loaded = model(tmp_path, toy([]))
    speech = loaded.model
    audio = torch.randn(1, 3, speech.llm.get_input_embeddings().embedding_dim)
    logits = speech.ctc_logits(audio)
    blank = nn.functional.normalize(speech.adapter.ctc_blank, dim=0)
    likeness = audio @ blank / speech.embedding_std  # as long as the table's rows are on average
    assert torch.allclose(logits[..., speech.blank_id], likeness, atol=1e-5)
    speech.adapter.ctc_blank = None
    others = [piece for piece in range(logits.shape[-1]) if piece != speech.blank_id]
    assert torch.equal(logits[..., others], speech.ctc_logits(audio)[..., others])


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"tasks": {}}, "a stage without tasks aligns by CTC"),
        ({"tasks": {}, "ctc_weight": 1.0, "trains": ["llm_lora"]}, "a stage without tasks aligns by CTC"),
        ({"tasks": {"mt": 1.0}}, "mt is text alone"),
    ],
)
def test_stages_that_teach_nothing_are_refused(over: dict[str, Any], said: str) -> None:
    table = recipe(llm=LLM).model_dump(mode="json")
    with pytest.raises(RecipeError, match=said):
        parse_recipe({**table, "stages": [{**stage("asr"), **over}]}, "toy")
