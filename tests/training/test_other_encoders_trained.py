"""A recipe with each other encoder is trained, from audio or from stored frames, and used like one with Whisper's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_encoders import FOREIGN_AUDIO, foreign_encoder
from safetensors.torch import load_file
from toy import LORA, losses, recipe, stage

from dragoman.data.audio import load_audio
from dragoman.inference.decoding.decoder import DecodeRequest
from dragoman.inference.translator import Translator
from dragoman.model.encoder import SpeechEncoder
from dragoman.model.folder import load_model, save_model
from dragoman.recipe import Recipe
from dragoman.training.curriculum import train_curriculum
from dragoman.training.encoding import encode
from dragoman.training.options import TrainOptions

KINDS = ("hubert", "wav2vec2", "w2v-bert")


@pytest.fixture
def folder(prepared: Callable[[Recipe], Path]) -> Path:
    return prepared(recipe())


def plan(kind: str, folder: Path, stages: list[dict[str, Any]], **encoder: Any) -> Recipe:
    foreign_encoder(kind, folder / "encoder")
    return recipe(
        audio=FOREIGN_AUDIO[kind],
        encoder={"name": str(folder / "encoder"), **encoder},
        llm={"name": "base", "lora": LORA},
        stages=stages,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_training_from_audio_and_from_stored_frames_is_one(
    kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speed = {"speed": 0.1} if kind == "hubert" else None  # which stored frames could not have
    stages = [
        stage("asr", ctc_weight=0.2, schedule={"steps": 2}),
        stage("srt", trains=["adapter", "llm_lora"], targets=2, schedule={"steps": 2}),
    ]
    chosen = plan(kind, folder, stages)
    run = {"data": folder / "data", "bases": folder / "bases"}
    heard = train_curriculum(chosen, out=folder / "heard", options=TrainOptions(workers=0), **run)
    encode(chosen, folder / "data", folder / "frames", bases=folder / "bases", batch_size=5, workers=0)
    with monkeypatch.context() as patch:
        for encoder in SpeechEncoder.__subclasses__():
            patch.setattr(encoder, "forward", None)  # it is not needed any more
        train_curriculum(
            chosen, out=folder / "read", options=TrainOptions(workers=0, features=folder / "frames"), **run
        )
    for name in ("1-asr", "2-srt"):
        assert losses(folder / "read" / name) == pytest.approx(losses(folder / "heard" / name), rel=1e-5)
    assert_a_clip_is_translated_alike_alone_and_in_a_batch(heard, folder / "data")
    if speed:
        altered = plan(kind, folder, [stage("asr", augment=speed, schedule={"steps": 1})])
        assert train_curriculum(altered, out=folder / "altered", options=TrainOptions(workers=0), **run).is_dir()


def assert_a_clip_is_translated_alike_alone_and_in_a_batch(model: Path, data: Path) -> None:
    translator = Translator(load_model(model), batch_size=4)
    clips = translator.features.batch([load_audio(data / f"{name}.flac") for name in ("eng0", "eng2", "eng3")])
    requests = [DecodeRequest(clip, "eng", ("deu", "fra")) for clip in clips]
    together = translator.decoder(requests)
    for request, decoded in zip(requests, together, strict=True):
        (alone,) = translator.decoder([request])
        assert alone.transcript == decoded.transcript
        assert {code: one.text for code, one in alone.translations.items()} == {
            code: one.text for code, one in decoded.translations.items()
        }


@pytest.mark.parametrize("kind", KINDS)
def test_lora_in_the_encoder_is_taught_and_kept(kind: str, folder: Path) -> None:
    stages = [stage("st", trains=["adapter", "encoder_lora"], schedule={"steps": 2, "learning_rate": 1e-2})]
    chosen = plan(kind, folder, stages, lora={**LORA, "targets": "all-linear"})
    run = {"data": folder / "data", "bases": folder / "bases"}
    options = TrainOptions(workers=0, checkpoint_activations=True)
    model = train_curriculum(chosen, out=folder / "run", options=options, **run)
    stored = load_file(model / "encoder_lora" / "adapter_model.safetensors")
    moved = {name for name, weight in stored.items() if ".lora_B." in name and weight.abs().max() > 0}
    assert moved and moved == {name for name in stored if ".lora_B." in name}
    loaded = load_model(model)
    save_model(loaded, folder / "again")
    again = load_model(folder / "again")
    features, lengths = torch.randn(1, {"w2v-bert": 160}.get(kind, 1), 4000), torch.tensor([4000])
    if kind == "w2v-bert":
        features, lengths = features[..., :50], torch.tensor([50])
    with torch.no_grad():
        assert torch.equal(
            loaded.model.encode_audio(features, lengths)[0], again.model.encode_audio(features, lengths)[0]
        )
