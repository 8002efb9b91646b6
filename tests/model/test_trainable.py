"""A stage moves exactly the parts that it declares."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toy import LORA, examples, model, recipe

from dragoman.data.batching import collate
from dragoman.errors import RecipeError
from dragoman.model.trainable import part_of, train_only

WITH_LORA = recipe(encoder={"name": "base", "lora": LORA}, llm={"name": "base", "lora": LORA})


@pytest.mark.parametrize(
    "parts",
    [["adapter"], ["llm_lora"], ["encoder_lora"], ["adapter", "llm_lora"], ["adapter", "llm_lora", "encoder_lora"]],
)
def test_exactly_the_declared_parts_move_in_a_step(parts: list[str], tmp_path: Path) -> None:
    speech_llm = model(tmp_path, WITH_LORA).model
    before = {name: parameter.detach().clone() for name, parameter in speech_llm.named_parameters()}
    names = train_only(speech_llm, parts)
    optimizer = torch.optim.SGD([p for p in speech_llm.parameters() if p.requires_grad], lr=0.1)
    speech_llm.train()
    speech_llm(collate(examples(), 0))["loss"].backward()
    optimizer.step()
    moved = {name for name, parameter in speech_llm.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == set(names) == {name for name in before if part_of(name) in parts}
    assert {part_of(name) for name in moved} == set(parts)


def test_what_is_trained_is_held_in_fp32(tmp_path: Path) -> None:
    speech_llm = model(tmp_path, WITH_LORA).model.bfloat16()
    train_only(speech_llm, ["adapter", "llm_lora"])
    assert {p.dtype for p in speech_llm.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in speech_llm.parameters() if not p.requires_grad} == {torch.bfloat16}


def test_a_part_that_matches_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="'llm_lora' matches no parameter"):
        train_only(model(tmp_path).model, ["adapter", "llm_lora"])
