"""A model is pulled towards what it said before: a teacher that shares its frozen weights."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy import LORA, Q_FORMER, examples, model, recipe

from dragoman.batch import Batch
from dragoman.data.batching import Example, collate
from dragoman.model.folder import save_model, trainable_state
from dragoman.model.speech_llm import SpeechLLM
from dragoman.model.trainable import train_only
from dragoman.training.distillation import Teacher
from dragoman.training.warm_start import initial_recipe, initial_tensors

PARTS = ["adapter", "encoder_lora", "llm_lora"]
WITH_LORA = recipe(encoder={"name": "base", "lora": LORA}, llm={"name": "base", "lora": LORA})


@pytest.fixture
def student(tmp_path: Path) -> SpeechLLM:
    student = model(tmp_path, WITH_LORA).model
    train_only(student, PARTS)
    return student


def move(student: SpeechLLM) -> None:
    """As training does, a little of everything."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in student.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)


def logits(model: SpeechLLM, batch: Batch) -> torch.Tensor:
    """(N, V) of the tokens that have a label."""
    return model.logits(batch, *model.audio(batch))


def rehearsed(given: list[Example], every: int) -> list[Example]:
    """Of all rows, each `every`-th, from the first."""
    count = iter(range(100))
    return [
        replace(one, rows=tuple(replace(row, rehearsed=next(count) % every == 0) for row in one.rows)) for one in given
    ]


@pytest.mark.parametrize("heard", [True, False], ids=["speech", "text"])
def test_the_divergence_is_that_from_a_copy_made_before(student: SpeechLLM, heard: bool) -> None:
    given = rehearsed(examples() if heard else [replace(one, features=None) for one in examples()], 2)
    student.eval()
    before = deepcopy(student)
    plain = student(collate(given, 0))["loss"]
    student.teacher = Teacher(student, trainable_state(student), 0.75)
    assert student(collate(given, 0))["divergence"].item() == pytest.approx(0, abs=1e-6)
    move(student)
    expected, entropy = torch.zeros(()), torch.zeros(())
    for one in given:
        for row in (row for row in one.rows if row.rehearsed):
            alone = collate([replace(one, rows=(row,))], 0)
            old, new = (logits(part, alone).log_softmax(-1) for part in (before, student))
            expected += (old.exp() * (old - new)).sum()
            entropy -= new[range(len(new)), torch.tensor(row.answer)].sum()
    found = student(collate(given, 0))
    torch.testing.assert_close(found["divergence"], expected)
    torch.testing.assert_close(found["loss"], found["entropy"] - entropy + 0.75 * expected)
    assert expected > 0.1 and not torch.equal(found["entropy"], plain)


def test_only_the_student_learns_and_of_what_it_still_says_nothing(student: SpeechLLM) -> None:
    tensors = trainable_state(student)
    student.teacher = Teacher(student, tensors, 1.0)
    student.train()
    student.adapter.eval()  # without dropout the two are one
    batch = collate(rehearsed(examples(), 1), 0)
    student(batch)["loss"].backward()
    assert max(float(p.grad.abs().max()) for p in student.parameters() if p.grad is not None) < 1e-5
    move(student)
    moved = trainable_state(student)
    student(batch)["loss"].backward()
    assert all(float(p.grad.abs().max()) > 0 for p in student.parameters() if p.requires_grad and p.grad is not None)
    assert all(torch.equal(tensor, moved[name]) for name, tensor in trainable_state(student).items())
    assert all(torch.equal(student.teacher.tensors[f"model.{name}"], tensor) for name, tensor in tensors.items())


def test_without_rehearsed_rows_a_teacher_says_nothing(student: SpeechLLM) -> None:
    batch = collate(examples(), 0)
    alone = student(batch)["loss"]
    student.teacher = Teacher(student, trainable_state(student), 1.0)
    found = student(batch)
    assert float(found["divergence"]) == 0
    torch.testing.assert_close(found["loss"], alone)


def test_the_teacher_is_the_model_that_the_recipe_goes_on_from(tmp_path: Path) -> None:
    start = model(tmp_path, WITH_LORA)
    save_model(start, tmp_path / "start")
    student = model(tmp_path, WITH_LORA, seed=5).model
    goes_on = WITH_LORA.model_copy(update={"init_from": str(tmp_path / "start")})
    assert initial_recipe(goes_on) == WITH_LORA
    student.teacher = Teacher(student, initial_tensors(student, goes_on), 0.5)
    expected = {f"model.{name}": tensor for name, tensor in trainable_state(start.model).items()}
    assert student.teacher.tensors.keys() == expected.keys()
    assert all(torch.equal(student.teacher.tensors[name], tensor) for name, tensor in expected.items())


def test_a_teacher_without_lora_says_what_it_said_without(tmp_path: Path) -> None:
    plain = recipe()
    start = model(tmp_path, plain)
    save_model(start, tmp_path / "start")
    goes_on = WITH_LORA.model_copy(update={"init_from": str(tmp_path / "start")})
    student = model(tmp_path, WITH_LORA, seed=5).model
    train_only(student, PARTS)
    move(student)
    student.teacher = Teacher(student, initial_tensors(student, goes_on), 1.0)
    batch = collate(rehearsed(examples(), 1), 0)
    student.eval()
    old, new = (logits(one, batch).log_softmax(-1) for one in (start.model.eval(), student))
    expected = (old.exp() * (old - new)).sum()
    torch.testing.assert_close(student(batch)["divergence"], expected)
    assert expected > 0.1


def test_a_teacher_drops_nothing_out(tmp_path: Path) -> None:
    student = model(tmp_path, recipe(adapter=Q_FORMER)).model
    student.teacher = Teacher(student, trainable_state(student), 0.5)
    batch = collate(rehearsed(examples(), 1), 0)
    student.train()
    with torch.no_grad():
        own = logits(student, batch)
        said = student.teacher.divergence(student, batch, own)
        assert said == student.teacher.divergence(student, batch, own) > 0
    assert student.adapter.training
