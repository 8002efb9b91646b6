"""HuBERT, wav2vec 2.0 and w2v-BERT 2.0 are transformers' own, and no clip depends on its batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign_encoders import FOREIGN_AUDIO, foreign_encoder
from toy import LORA, model, recipe, write_bases
from transformers import PreTrainedModel, SeamlessM4TFeatureExtractor, Wav2Vec2FeatureExtractor

from dragoman.data.batching import pad_features
from dragoman.data.features import speech_features
from dragoman.errors import AudioError, ModelError, RecipeError
from dragoman.model.build import load_encoder, skeleton
from dragoman.model.encoder import SpeechEncoder
from dragoman.model.folder import load_model, save_model
from dragoman.model.hardware.memory import count_weights
from dragoman.recipe import Recipe, WaveformConfig
from dragoman.training.encoding import frames_of

SAMPLES = (16000, 9123, 400, 12345)


def chosen(kind: str, folder: Path, **over: Any) -> Recipe:
    foreign_encoder(kind, folder)
    return recipe(audio=FOREIGN_AUDIO[kind], encoder={"name": str(folder)}, **over)


def noise(size: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(size).normal(0.05, 0.1, size).astype(np.float32)


def theirs(model: PreTrainedModel, kind: str, samples: Any) -> torch.Tensor:
    """Their extractor and their model, one clip at a time."""
    if kind == "w2v-bert":
        found = SeamlessM4TFeatureExtractor()(samples, sampling_rate=16000, return_tensors="pt")
        valid = int(found.attention_mask.sum())
        return model(found.input_features, attention_mask=found.attention_mask).last_hidden_state[0, :valid]
    normalise = FOREIGN_AUDIO[kind]["normalise"]
    found = Wav2Vec2FeatureExtractor(do_normalize=normalise)(samples, sampling_rate=16000, return_tensors="pt")
    return model(found.input_values).last_hidden_state[0]


@pytest.mark.parametrize("kind", FOREIGN_AUDIO)
@torch.no_grad()
def test_frames_are_transformers_own_whatever_the_batch(kind: str, tmp_path: Path) -> None:
    original = foreign_encoder(kind, tmp_path)
    known = chosen(kind, tmp_path)
    encoder, features = load_encoder(known, None, torch.float32).eval(), speech_features(known.audio)
    sizes = SAMPLES if kind != "w2v-bert" else (*SAMPLES[:2], 560, SAMPLES[3])  # shorter ones are nothing to it
    given = [features(noise(size)) for size in sizes]
    padded, lengths = pad_features(given)
    for at, own in enumerate(given):  # what lies past the end of a clip is noise, not zeros
        padded[at, :, own.shape[1] :] = torch.randn(padded.shape[1], padded.shape[2] - own.shape[1])
    frames, num = encoder(padded, lengths)
    for at, (own, size) in enumerate(zip(given, sizes, strict=True)):
        expected = theirs(original, kind, noise(size))
        assert int(num[at]) == len(expected) == known.audio.encoder_frames(own.shape[1])
        torch.testing.assert_close(frames[at, : len(expected)], expected, rtol=0, atol=1e-5)
        alone, _ = encoder(torch.from_numpy(own)[None], lengths[at : at + 1])
        torch.testing.assert_close(frames[at, : len(expected)], alone[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", FOREIGN_AUDIO)
def test_in_bf16_frames_are_the_same_but_for_rounding(kind: str, tmp_path: Path) -> None:
    known = chosen(kind, tmp_path)
    features = [speech_features(known.audio)(noise(size)) for size in (16000, 8000)]
    exact, rounded = (
        frames_of(load_encoder(known, None, dtype).eval(), *pad_features(features))
        for dtype in (torch.float32, torch.bfloat16)
    )
    for one, other in zip(exact, rounded, strict=True):
        near = torch.from_numpy(other).view(torch.bfloat16).float()
        assert (near - torch.from_numpy(one)).norm() < 0.03 * np.linalg.norm(one)


@pytest.mark.parametrize(("kind", "frames"), [("hubert", 99), ("wav2vec2", 99), ("w2v-bert", 99)])
def test_the_longest_clip_is_counted_without_computing_it(kind: str, frames: int, tmp_path: Path) -> None:
    known = chosen(kind, tmp_path)
    features = speech_features(known.audio)
    longest = features(noise(features.max_samples))
    assert known.audio.encoder_frames(longest.shape[1]) == frames <= known.audio.window_frames <= 100
    assert known.audio.encoder_frames(features(noise(1)).shape[1]) == 1
    assert known.audio_tokens(frames) == 25  # four neighbours a token
    with pytest.raises(AudioError, match=r"lasts 2\.50 s and the model hears 2 s"):
        features(noise(40_000))


@pytest.mark.parametrize("kind", FOREIGN_AUDIO)
def test_lora_is_beside_every_linear_layer_and_nothing_else_is_taught(kind: str, tmp_path: Path) -> None:
    lora = {**LORA, "targets": "all-linear"}
    original = foreign_encoder(kind, tmp_path)
    linear = sum(isinstance(module, torch.nn.Linear) for module in original.modules())
    bases = tmp_path / "bases"
    known = recipe(audio=FOREIGN_AUDIO[kind], encoder={"name": str(tmp_path), "lora": lora})
    write_bases(bases, recipe())
    whole = skeleton(known, bases)
    names = [name for name, weight in whole.encoder.named_parameters() if weight.requires_grad]
    assert len(names) == 2 * linear and all(".lora_" in name for name in names)
    size = sum(weight.numel() for name, weight in original.named_parameters() if name != "masked_spec_embed")
    assert count_weights(whole).encoder == size


@pytest.mark.parametrize("kind", FOREIGN_AUDIO)
def test_the_memory_that_is_estimated_is_what_the_weights_take(kind: str, tmp_path: Path) -> None:
    """The estimate is asked before anything is read, of a skeleton; what is loaded lies in as many bytes."""
    lora = {**LORA, "targets": "all-linear"}
    foreign_encoder(kind, tmp_path / "encoder")
    known = recipe(audio=FOREIGN_AUDIO[kind], encoder={"name": str(tmp_path / "encoder"), "lora": lora})
    write_bases(tmp_path / "bases", recipe())
    save_model(model(tmp_path, known), tmp_path / "model")
    estimate = count_weights(skeleton(known, tmp_path / "model"))
    for compute_type, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        weights = load_model(tmp_path / "model", dtype).model.parameters()
        storages = {storage.data_ptr(): storage.nbytes() for storage in (one.untyped_storage() for one in weights)}
        assert estimate.bytes_in(compute_type, on_cpu=True) == sum(storages.values())


def test_what_the_recipe_says_of_the_encoder_is_checked(tmp_path: Path) -> None:
    known = chosen("hubert", tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}), encoding="utf-8")
    with pytest.raises(ModelError, match=r"audio.normalise: .* was trained with false, the recipe says true"):
        load_encoder(known, None, torch.float32)
    other = known.model_copy(update={"audio": recipe().audio})
    with pytest.raises(ModelError, match=r"is a hubert; the recipe's audio\.kind, log-mel, is heard by whisper"):
        load_encoder(other, None, torch.float32)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    config["conv_stride"] = [5, 2, 2, 2, 2, 2, 1]
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelError, match=r"kernels \(10, .* and strides \(5, 2, 2, 2, 2, 2, 1\)"):
        load_encoder(known, None, torch.float32)


def test_what_needs_a_log_mel_is_refused_with_other_encoders() -> None:
    audio = WaveformConfig(kind="waveform", normalise=True).model_dump()
    hubert = {"audio": audio, "encoder": {"name": "hubert"}}
    stage = {"name": "asr", "tasks": {"asr": 1.0}, "trains": ["adapter"], "data": [{"name": "train"}]}
    augmented = {**stage, "schedule": {"steps": 1, "batch": 1, "learning_rate": 1e-3}, "augment": {"warp": 0.1}}
    for table, sentence in (
        ({"audio": audio}, "audio.kind: an encoder of \\[bases\\] is a small Whisper and hears log-mel, not waveform"),
        ({**hubert, "decoding": {"transcript_by": "whisper"}}, "decoding.transcript_by: whisper hears log-mel"),
        ({**hubert, "stages": [augmented]}, "stages.asr.augment: warp and masks are made in log-mel"),
        ({**hubert, "audio": {**audio, "mel_bins": 80}}, "audio.waveform.mel_bins: unknown key"),
        ({**hubert, "audio": {"kind": "ears"}}, "audio: .*'log-mel', 'waveform', 'fbank'"),
    ):
        with pytest.raises(RecipeError, match=sentence):
            recipe(**table)


def test_digests_tell_encoders_apart(tmp_path: Path) -> None:
    digests = set()
    for seed in range(2):
        foreign_encoder("hubert", tmp_path / str(seed), seed)
        known = recipe(audio=FOREIGN_AUDIO["hubert"], encoder={"name": str(tmp_path / str(seed))})
        encoders: list[SpeechEncoder] = [load_encoder(known, None, kind) for kind in (torch.float32, torch.bfloat16)]
        own = {encoder.digest() for encoder in encoders}
        assert len(own) == 1  # the same in whatever precision they are loaded
        digests |= own
    assert len(digests) == 2
