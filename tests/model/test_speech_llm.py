"""The loss is that of every row by itself, whatever stands beside it in the batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toy import LORA, MLP, Q_FORMER, STACKED, examples, gemma2_llm, model, recipe, write_bases

from dragoman.batch import Batch, TextRows
from dragoman.data.batching import Example, collate
from dragoman.model.speech_llm import SpeechLLM
from dragoman.model.trainable import train_only

KINDS = {"stacked": STACKED, "mlp": MLP, "q-former": Q_FORMER}


@pytest.fixture(params=KINDS)
def speech_llm(request: pytest.FixtureRequest, tmp_path: Path) -> SpeechLLM:
    return model(tmp_path, recipe(adapter=KINDS[request.param])).model


def loss(speech_llm: SpeechLLM, given: list[Example], side: Any = "right") -> Tensor:
    with torch.no_grad():
        return speech_llm(collate(given, 0, side))["loss"]


def apart(given: list[Example]) -> list[Example]:
    """Every row with an utterance of its own."""
    return [replace(example, rows=(row,)) for example in given for row in example.rows]


def test_a_batch_costs_what_its_rows_cost_one_by_one(speech_llm: SpeechLLM) -> None:
    given = examples()
    alone = sum(loss(speech_llm, [row]) for row in apart(given))
    torch.testing.assert_close(loss(speech_llm, given), alone)
    torch.testing.assert_close(loss(speech_llm, apart(given)), alone)
    torch.testing.assert_close(loss(speech_llm, given, "left"), alone)
    torch.testing.assert_close(loss(speech_llm, given[::-1]), alone)


def test_the_ctc_loss_too(tmp_path: Path) -> None:
    speech_llm = model(tmp_path).model
    given = examples()
    plain = loss(speech_llm, given)
    speech_llm.ctc_weight = 0.5
    alone = sum(loss(speech_llm, [example]) for example in given)
    torch.testing.assert_close(loss(speech_llm, given), alone)
    with torch.no_grad():
        sums = speech_llm(collate(given, 0))
    torch.testing.assert_close(sums["entropy"], plain)
    torch.testing.assert_close(sums["loss"], plain + 0.5 * sums["ctc"])
    assert sums["ctc"] > 0


def test_the_loss_is_the_cross_entropy_of_the_sequence_written_out(speech_llm: SpeechLLM) -> None:
    (example,) = examples((64,), (1,))
    (row,) = example.rows
    with torch.no_grad():
        audio, _ = speech_llm.encode_audio(torch.from_numpy(example.features)[None], torch.tensor([64]))
        text = speech_llm.llm.get_input_embeddings()(torch.tensor([[*row.prompt, *row.answer]]))
        log_probs = speech_llm.llm(inputs_embeds=torch.cat([audio, text], 1)).logits[0].log_softmax(-1)
    first = audio.shape[1] + len(row.prompt)  # the place of the first token of the answer
    expected = -sum(log_probs[first + at - 1, token] for at, token in enumerate(row.answer))
    torch.testing.assert_close(loss(speech_llm, [example]), expected)


def test_text_alone_costs_what_it_costs_the_llm(speech_llm: SpeechLLM) -> None:
    given = [replace(example, features=None) for example in examples()]
    text = collate(given, 0).text
    with torch.no_grad():
        logits = speech_llm.llm(input_ids=text.input_ids, attention_mask=text.attention_mask).logits[:, :-1]
    expected = nn.functional.cross_entropy(logits.flatten(0, 1), text.labels[:, 1:].flatten(), reduction="sum")
    torch.testing.assert_close(loss(speech_llm, given), expected)
    torch.testing.assert_close(loss(speech_llm, given), sum(loss(speech_llm, [row]) for row in apart(given)))


def test_padding_never_changes_the_loss(speech_llm: SpeechLLM) -> None:
    batch = collate(examples(), 0)
    with torch.no_grad():
        expected = speech_llm(batch)["loss"]
        for before, after in ((0, 5), (4, 0), (3, 2)):
            torch.testing.assert_close(speech_llm(padded(batch, before, after))["loss"], expected)
        noisy = replace(batch, features=padded(batch, 0, 0, mel_after=30).features)
        torch.testing.assert_close(speech_llm(noisy)["loss"], expected)


def padded(batch: Batch, before: int, after: int, mel_after: int = 0) -> Batch:
    """More columns that are not there: noise past the end of the mel, some token around the text."""

    def wide(values: Tensor, fill: int) -> Tensor:
        return nn.functional.pad(values, (before, after), value=fill)

    text = TextRows(wide(batch.text.input_ids, 7), wide(batch.text.attention_mask, 0), wide(batch.text.labels, -100))
    mel = torch.cat([batch.features, torch.randn(*batch.features.shape[:2], mel_after)], 2)
    return replace(batch, features=mel, text=text)


def test_audio_is_scaled_where_the_recipe_says_so(tmp_path: Path) -> None:
    mel = torch.from_numpy(examples((40,), (1,))[0].features)[None]
    plain = model(tmp_path).model
    scaled = model(tmp_path, recipe(llm={"name": "base", "scale_audio": True})).model
    fresh = [each.encode_audio(mel, torch.tensor([40]))[0] for each in (plain, scaled)]
    torch.testing.assert_close(fresh[1], fresh[0])  # a fresh adapter is as loud as the embeddings either way
    scaled.adapter.load_state_dict(plain.adapter.state_dict())
    torch.testing.assert_close(scaled.encode_audio(mel, torch.tensor([40]))[0], fresh[0] * 32**0.5)


def test_training_switches_on_the_dropout_of_trained_parts_only(tmp_path: Path) -> None:
    lora = {**LORA, "dropout": 0.1}
    chosen = recipe(adapter=Q_FORMER, encoder={"name": "base", "lora": lora}, llm={"name": "base", "lora": lora})
    speech_llm = model(tmp_path, chosen).model
    speech_llm.encoder.backbone.get_base_model().dropout = 0.5

    def awake() -> set[str]:
        return {
            name for name, module in speech_llm.named_modules() if isinstance(module, nn.Dropout) and module.training
        }

    train_only(speech_llm, ["adapter"])
    speech_llm.train()
    assert awake() and {name.split(".")[0] for name in awake()} == {"adapter"}
    assert not speech_llm.encoder.training and not speech_llm.encoder.backbone.training and not speech_llm.llm.training
    train_only(speech_llm, ["llm_lora"])
    speech_llm.train()
    assert awake() and all(name.startswith("llm.") and "lora_dropout" in name for name in awake())
    speech_llm.eval()
    assert not awake()


def test_layers_computed_twice_give_the_same_gradient_from_less_memory(tmp_path: Path) -> None:
    lora = {**LORA, "dropout": 0.3}
    loaded = model(tmp_path, recipe(llm={"name": "base", "lora": lora}, encoder={"name": "base", "lora": lora})).model
    train_only(loaded, ["adapter", "llm_lora", "encoder_lora"])

    def step() -> tuple[Tensor, list[Tensor], int]:
        """Loss, gradients, and bytes that are kept for the gradient."""
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            kept[tensor.data_ptr()] = tensor.nbytes
            return tensor

        torch.manual_seed(0)
        loaded.train()
        loaded.zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            found = loaded(collate(examples(), 0))["loss"]
        total = sum(kept.values())
        found.backward()
        return found.detach(), [p.grad.clone() for p in loaded.parameters() if p.grad is not None], total

    plain, gradients, much = step()
    loaded.checkpoint_activations()
    again, same, less = step()
    torch.testing.assert_close(again, plain)
    assert len(same) == len(gradients) > 10
    torch.testing.assert_close(same, gradients)
    assert less < 0.7 * much


@pytest.mark.parametrize("gemma", [False, True])
def test_a_loss_made_in_parts_has_the_same_gradients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gemma: bool
) -> None:
    """Gemma 2 bends its logits behind the head."""
    chosen = recipe(llm={"name": "base", "lora": LORA})
    if gemma:
        gemma2_llm().save_pretrained(write_bases(tmp_path / "bases", chosen) / "llm")
    speech_llm = model(tmp_path, chosen).model
    train_only(speech_llm, ["adapter", "llm_lora"])
    batch = collate(examples(), 0)
    found = []
    for limit in (2**27, 3 * speech_llm.llm.get_output_embeddings().weight.shape[0]):
        monkeypatch.setattr("dragoman.model.speech_llm.LOGITS_AT_ONCE", limit)
        speech_llm.zero_grad()
        whole = speech_llm(batch)["loss"]
        whole.backward()
        found.append((whole.detach(), {n: p.grad.clone() for n, p in speech_llm.named_parameters() if p.requires_grad}))
    assert batch.text.num_targets > 3  # more than one part
    torch.testing.assert_close(found[1], found[0])
