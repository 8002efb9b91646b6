"""What is saved is what is loaded, to the bit; a folder is complete or not there; nothing is unpickled."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from toy import LORA, MLP, Q_FORMER, STACKED, TEXTS, examples, model, recipe, tokenizer
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    WhisperConfig,
    WhisperModel,
)

from dragoman.data.batching import collate
from dragoman.data.examples import TextEncoder
from dragoman.errors import ModelError, OutputError
from dragoman.inference.decoding.decoder import Decoder, DecodeRequest
from dragoman.model import folder as folders
from dragoman.model.build import LoadedModel, new_model
from dragoman.model.calibration import Calibration
from dragoman.model.folder import load_model, merge_lora, save_model

LORAS = {"encoder": {"name": "base", "lora": LORA}, "llm": {"name": "base", "lora": LORA}}
Damage = Callable[[dict[str, torch.Tensor]], None]


def logits(loaded: LoadedModel) -> torch.Tensor:
    speech_llm, batch = loaded.model, collate(examples(), 0)
    with torch.no_grad():
        audio, _ = speech_llm.encode_audio(batch.features, batch.num_frames)
        return speech_llm.llm(inputs_embeds=audio).logits


@pytest.mark.parametrize("adapter", [STACKED, MLP, Q_FORMER], ids=lambda table: table["kind"])
def test_saved_and_loaded_give_the_same_to_the_bit(adapter: dict[str, Any], tmp_path: Path) -> None:
    loaded = model(tmp_path, recipe(adapter=adapter, **LORAS))
    save_model(loaded, tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert torch.equal(logits(again), logits(loaded))
    assert again.recipe == loaded.recipe
    assert all(
        torch.equal(tensor, again.model.state_dict()[name]) for name, tensor in loaded.model.state_dict().items()
    )
    save_model(again, tmp_path / "model")  # over itself
    assert torch.equal(logits(load_model(tmp_path / "model")), logits(loaded))


def test_a_folder_from_when_whisper_was_the_only_encoder_loads(tmp_path: Path) -> None:
    """Its recipe does not say what the encoder hears; LoRA's names are those of the encoder below our own module."""
    loaded, folder = model(tmp_path, recipe(**LORAS)), tmp_path / "model"
    save_model(loaded, folder)
    table = json.loads((folder / "recipe.json").read_text())
    assert table["audio"].pop("kind", "log-mel") == "log-mel"
    (folder / "recipe.json").write_text(json.dumps(table))
    assert set(load_file(folder / "encoder_lora" / "adapter_model.safetensors")) == {
        f"base_model.model.layers.{layer}.self_attn.{part}.lora_{factor}.weight"
        for layer in range(2)
        for part in ("q_proj", "v_proj")
        for factor in "AB"
    }
    again = load_model(folder)
    assert again.recipe == loaded.recipe
    assert torch.equal(logits(again), logits(loaded))


def test_a_calibration_is_that_of_the_weights_it_was_fitted_to(tmp_path: Path) -> None:
    save_model(model(tmp_path, recipe()), tmp_path / "model")
    assert load_model(tmp_path / "model").calibration is None
    fitted = Calibration(
        about="9 clips", low_transcript=0.5, low_translation=0.6, low_language=0.7, language_temperature=2.0
    )
    fitted.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.calibration == fitted
    save_model(loaded, tmp_path / "trained further")
    assert load_model(tmp_path / "trained further").calibration is None
    (tmp_path / "model" / "calibration.json").write_text('{"about": "9 clips", "low_transcript": 1.5}')
    with pytest.raises(ModelError, match=r"calibration\.json: low_transcript: Input should be less than 1; fix it"):
        load_model(tmp_path / "model")


def test_merged_lora_gives_the_same(tmp_path: Path) -> None:
    loaded = model(tmp_path, recipe(**LORAS))
    with torch.no_grad():
        for name, weight in loaded.model.named_parameters():
            if ".lora_B." in name:  # starts at zero: LoRA would be nothing
                weight.normal_(std=0.3)
    before = logits(loaded)
    merge_lora(loaded.model)
    torch.testing.assert_close(logits(loaded), before, rtol=1e-4, atol=1e-5)
    assert not any(".lora_" in name for name, _ in loaded.model.named_parameters())


def remove(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[max(tensors)]


def add(tensors: dict[str, torch.Tensor]) -> None:
    tensors["zzz"] = torch.zeros(1)


def reshape(tensors: dict[str, torch.Tensor]) -> None:
    tensors[max(tensors)] = torch.zeros(3, 5)


@pytest.mark.parametrize(
    "file", ["adapter.safetensors", *(f"{p}_lora/adapter_model.safetensors" for p in ("llm", "encoder"))]
)
@pytest.mark.parametrize(
    ("damage", "complaint"),
    [(remove, "is missing"), (add, "'zzz' is not in the model"), (reshape, r"has shape \(3, 5\)")],
)
def test_a_tensor_too_few_too_many_or_of_another_shape_is_named(
    file: str, damage: Damage, complaint: str, tmp_path: Path
) -> None:
    save_model(model(tmp_path, recipe(**LORAS)), tmp_path / "model")
    tensors = load_file(tmp_path / "model" / file)
    name = "zzz" if damage is add else max(tensors)
    damage(tensors)
    save_file(tensors, tmp_path / "model" / file)
    with pytest.raises(ModelError, match=complaint) as raised:
        load_model(tmp_path / "model")
    assert name in str(raised.value) and file in str(raised.value)


@pytest.mark.parametrize("base", ["llm", "encoder"])
@pytest.mark.parametrize("damage", [remove, add, reshape])
def test_the_bases_in_the_folder_load_as_strictly(base: str, damage: Damage, tmp_path: Path) -> None:
    save_model(model(tmp_path, recipe(**LORAS)), tmp_path / "model")
    file = tmp_path / "model" / base / "model.safetensors"
    tensors = load_file(file)
    name = "zzz" if damage is add else max(tensors)
    damage(tensors)
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ModelError) as raised:
        load_model(tmp_path / "model")
    assert name in str(raised.value) and base in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("lost", ["llm", "encoder", "tokenizer", "llm/model.safetensors", "tokenizer/tokenizer.json"])
def test_a_base_that_is_lost_is_one_sentence(lost: str, tmp_path: Path) -> None:
    save_model(model(tmp_path, recipe(**LORAS)), tmp_path / "model")
    path = tmp_path / "model" / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(ModelError, match=lost.split("/")[0]) as raised:
        load_model(tmp_path / "model")
    assert "\n" not in str(raised.value)


def test_no_path_of_this_machine_is_in_the_folder(tmp_path: Path) -> None:
    save_model(model(tmp_path, recipe(**LORAS)), tmp_path / "model")
    assert [path for path in (tmp_path / "model").rglob("*.json") if str(tmp_path) in path.read_text()] == []


def test_a_checkpoints_own_generation_settings_are_left_aside(tmp_path: Path) -> None:
    save_model(model(tmp_path, recipe(**LORAS)), tmp_path / "model")
    settings = tmp_path / "model" / "llm" / "generation_config.json"
    settings.write_text('{"do_sample": true, "repetition_penalty": 3.0, "temperature": 0.7}')
    assert load_model(tmp_path / "model").model.llm.generation_config.repetition_penalty is None


def test_an_incomplete_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no recipe\.json"):
        load_model(tmp_path)
    save_model(model(tmp_path, recipe(**LORAS)), tmp_path / "model")
    adapter = tmp_path / "model" / "adapter.safetensors"
    adapter.write_bytes(adapter.read_bytes()[:100])
    with pytest.raises(ModelError, match="incomplete"):
        load_model(tmp_path / "model")
    adapter.unlink()
    with pytest.raises(ModelError, match="incomplete"):
        load_model(tmp_path / "model")


def test_half_a_folder_is_never_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = model(tmp_path, recipe(**LORAS))
    save_model(loaded, tmp_path / "model")
    before = logits(load_model(tmp_path / "model"))

    def full_disk(*_: Any) -> None:
        raise OSError("no space left")

    for step in ("dump_recipe", "save_file"):
        with monkeypatch.context() as patched, pytest.raises(OutputError, match="no space"):
            patched.setattr(folders, step, full_disk)
            save_model(loaded, tmp_path / "model")
        assert torch.equal(logits(load_model(tmp_path / "model")), before)
        with monkeypatch.context() as patched, pytest.raises(OutputError, match="no space"):
            patched.setattr(folders, step, full_disk)
            save_model(loaded, tmp_path / "new")
        assert not (tmp_path / "new").exists()
    save_model(loaded, tmp_path / "model")  # what was left lying about is no hindrance
    assert not list(tmp_path.glob("model.*"))


def test_loading_unpickles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(model(tmp_path, recipe(**LORAS)), tmp_path / "model")
    assert {path.suffix for path in (tmp_path / "model").rglob("*") if path.is_file()} <= {
        ".json",
        ".safetensors",
        ".jinja",
    }

    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("something was unpickled")

    for target in ("pickle.load", "pickle.loads", "pickle.Unpickler", "torch.load"):
        monkeypatch.setattr(target, forbidden)
    load_model(tmp_path / "model")


# ----------------------------------------------------------------------------------- models from the hub

SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
         "intermediate_size": 48, "head_dim": 16}  # fmt: skip
FAMILIES: dict[str, tuple[Any, Any]] = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "llama": (LlamaConfig, LlamaForCausalLM),
    "gemma2": (Gemma2Config, Gemma2ForCausalLM),
}


def save_like_the_hub(folder: Path, family: str) -> tuple[Path, Path]:
    """A small Whisper and a small LM with its tokenizer, as people download them."""
    torch.manual_seed(0)
    words = sorted({word for texts in TEXTS.values() for text in texts for word in text.split()})
    bos = family != "qwen2"
    special = [
        "<pad>",
        "<eos>",
        "<unk>",
        *(["<bos>"] if bos else []),
        "<",
        "|",
        ">",
        "eng",
        "deu",
        "fra",
        "<|",
        "|>",
        "|><|",
    ]
    vocabulary = {piece: number for number, piece in enumerate([*special, *words])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    if bos:
        raw.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", vocabulary["<bos>"])]
        )
    pieces = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<eos>", pad_token=None if family == "llama" else "<pad>", unk_token="<unk>",
        **({"bos_token": "<bos>"} if bos else {}),
    )  # fmt: skip
    config, kind = FAMILIES[family]
    shape = {key: value for key, value in SHAPE.items() if key != "head_dim" or family == "gemma2"}
    more = {"query_pre_attn_scalar": 16, "sliding_window": 12} if family == "gemma2" else {}
    llm = kind(config(vocab_size=len(vocabulary), eos_token_id=1, pad_token_id=0, bos_token_id=3, **shape, **more))
    pieces.save_pretrained(folder / family)
    llm.save_pretrained(folder / family)
    whisper = WhisperConfig(
        num_mel_bins=80, d_model=32, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=48,
        max_source_positions=100, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=48, vocab_size=60,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    WhisperModel(whisper).save_pretrained(folder / "whisper")
    return folder / "whisper", folder / family


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_downloaded_bases(family: str, tmp_path: Path) -> None:
    whisper, llm = save_like_the_hub(tmp_path, family)
    chosen = recipe(
        audio={"mel_bins": 80, "window_s": 2.0, "padding": "window"},
        encoder={"name": str(whisper)},
        llm={"name": str(llm), "scale_audio": family == "gemma2", "lora": LORA},
        adapter=Q_FORMER,
    )
    loaded = new_model(chosen, None, torch.float32)
    loaded.model.eval()
    save_model(loaded, tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"recipe.json", "adapter.safetensors", "llm_lora"}
    again = load_model(tmp_path / "model")
    given = examples((200, 200), (2, 1))
    batch = collate(given, again.tokenizer.pad_token_id)
    small = batch.text.input_ids.clamp(max=20)
    batch.text.input_ids.copy_(small)
    batch.text.labels.copy_(torch.where(batch.text.labels >= 0, batch.text.labels.clamp(max=20), -100))
    with torch.no_grad():
        assert torch.equal(again.model(batch)["loss"], loaded.model(batch)["loss"])
        _, num_audio = again.model.encode_audio(batch.features, batch.num_frames)
    assert num_audio.tolist() == [3, 3]
    assert again.model.audio_scale == (32**0.5 if family == "gemma2" else 1.0)
    requests = [DecodeRequest(example.features, "eng", ("deu", "fra")) for example in given]
    decoder = Decoder(again, beams=1, max_new_tokens=5)
    together, alone = decoder(requests), [decoder([request])[0] for request in requests]
    assert [(d.transcript, d.translations) for d in together] == [(d.transcript, d.translations) for d in alone]


def test_gemmas_bos_comes_after_the_audio_and_only_there(tmp_path: Path) -> None:
    _, folder = save_like_the_hub(tmp_path, "gemma2")
    pieces = PreTrainedTokenizerFast.from_pretrained(folder)
    text = TextEncoder(pieces)
    bos, end = pieces.bos_token_id, pieces.eos_token_id
    assert text.prompt("<|eng|>")[0] == bos and text.prompt("<|eng|>").count(bos) == 1
    assert bos not in text.answer("no") and text.answer("no")[-1] == end
    own = TextEncoder(tokenizer())
    assert own.prompt("<|eng|>") == (own.tokenizer.convert_tokens_to_ids("<|eng|>"),)


def test_another_window_than_the_encoders_is_an_error(tmp_path: Path) -> None:
    model(tmp_path)
    other = recipe(audio={"mel_bins": 80, "window_s": 3.0, "padding": "trimmed"})
    with pytest.raises(ModelError, match=r"hears 2 s at a time, the recipe says 3"):
        new_model(other, tmp_path / "bases", torch.float32)


def test_another_number_of_mel_bins_than_the_encoders_is_an_error(tmp_path: Path) -> None:
    model(tmp_path)
    other = recipe(audio={"mel_bins": 128, "window_s": 2.0, "padding": "trimmed"})
    with pytest.raises(ModelError, match=r"mel_bins"):
        new_model(other, tmp_path / "bases", torch.float32)


def test_the_stored_recipe_is_readable_json(tmp_path: Path) -> None:
    save_model(model(tmp_path), tmp_path / "model")
    assert json.loads((tmp_path / "model" / "recipe.json").read_text(encoding="utf-8"))["name"] == "toy"
