"""A recipe goes on from a model: the same to the bit, or part of the way back to it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toy import LORA, MLP, examples, model, recipe

from dragoman.data.batching import collate
from dragoman.errors import RecipeError
from dragoman.model.build import LoadedModel
from dragoman.model.folder import load_model, save_model, trainable_state
from dragoman.model.trainable import part_of
from dragoman.training.warm_start import initial_model, interpolate_weights, with_initial_revisions

LORAS = {"encoder": {"name": "base", "lora": LORA}, "llm": {"name": "base", "lora": LORA}}


def logits(loaded: LoadedModel) -> torch.Tensor:
    speech_llm, batch = loaded.model, collate(examples(), 0)
    with torch.no_grad():
        audio, _ = speech_llm.encode_audio(batch.features, batch.num_frames)
        return speech_llm.llm(inputs_embeds=audio).logits


def test_a_recipe_goes_on_from_a_model_of_the_same_shape(tmp_path: Path) -> None:
    first = model(tmp_path, recipe(sources=["eng"], targets=["eng", "deu"], **LORAS))
    save_model(first, tmp_path / "model")
    start = {"start": str(tmp_path / "model")}
    on = initial_model(with_initial_revisions(recipe(**start, **LORAS)), None, torch.float32)
    assert torch.equal(logits(on), logits(first)) and on.recipe.sources == ["eng", "deu", "fra"]
    save_model(on, tmp_path / "on")  # with the bases of the first
    assert torch.equal(logits(load_model(tmp_path / "on")), logits(first))
    with pytest.raises(RecipeError, match=r"differs in \[adapter\] \w+: .*, there .*; leave it as it is"):
        with_initial_revisions(recipe(**start, **LORAS, adapter=MLP))


def test_a_recipe_may_add_lora_to_the_model_that_it_goes_on_from(tmp_path: Path) -> None:
    first = model(tmp_path, recipe())
    save_model(first, tmp_path / "model")
    goes_on = with_initial_revisions(recipe(init_from=str(tmp_path / "model"), **LORAS))
    on = initial_model(goes_on, None, torch.float32)
    assert torch.equal(logits(on), logits(first))
    with torch.no_grad():
        for tensor in on.model.parameters():
            tensor.add_(1.0)
    far = trainable_state(on.model)
    interpolate_weights(on.model, goes_on, 0.5)
    for name, tensor in trainable_state(on.model).items():
        if ".lora_A." in name:
            assert torch.equal(tensor, far[name])
        else:  # LoRA's second factor began as 0
            torch.testing.assert_close(tensor, far[name] / 2 if ".lora_B." in name else far[name] - 0.5)


def test_a_recipe_without_revisions_takes_those_of_its_start(tmp_path: Path) -> None:
    pinned = recipe(encoder={"name": "base", "revision": "abc"})
    save_model(model(tmp_path, pinned), tmp_path / "model")
    start = {"start": str(tmp_path / "model")}
    assert with_initial_revisions(recipe(**start)).encoder.revision == "abc"
    with pytest.raises(RecipeError, match=r"\[encoder\] revision: 'd', there 'abc'"):
        with_initial_revisions(recipe(**start, encoder={"name": "base", "revision": "d"}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_are_brought_back_part_of_the_way(tmp_path: Path, dtype: torch.dtype) -> None:
    with_lora = recipe(**LORAS)
    start, far = model(tmp_path, with_lora), model(tmp_path, with_lora, seed=7)
    save_model(start, tmp_path / "start")
    far.model.to(dtype)
    frozen = {name: tensor.clone() for name, tensor in far.model.state_dict().items() if not part_of(name)}
    goes_on = with_lora.model_copy(update={"init_from": str(tmp_path / "start")})
    expected = {
        name: (0.75 * start.model.state_dict()[name] + 0.25 * tensor.float()).to(dtype)
        for name, tensor in trainable_state(far.model).items()
    }
    assert any(not torch.equal(expected[name].float(), tensor) for name, tensor in trainable_state(start.model).items())
    interpolate_weights(far.model, goes_on, 0.25)
    for name, tensor in trainable_state(far.model).items():
        torch.testing.assert_close(tensor, expected[name])
    assert all(torch.equal(far.model.state_dict()[name], tensor) for name, tensor in frozen.items())
