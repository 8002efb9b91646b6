"""The encoder is Whisper's in the papers' mode, and in the trimmed mode no clip depends on its batch."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import recipe
from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperDecoder, WhisperEncoder

from dragoman.errors import ModelError
from dragoman.model.build import load_encoder
from dragoman.model.encoder import MelEncoder

CONFIG = WhisperConfig(
    num_mel_bins=80, d_model=32, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=48,
    max_source_positions=50, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=48, vocab_size=60,
    pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def whisper() -> WhisperEncoder:
    torch.manual_seed(0)
    return WhisperEncoder(CONFIG).eval()


@torch.no_grad()
def test_a_padded_window_is_whispers(whisper: WhisperEncoder) -> None:
    mel = torch.randn(2, 80, 100)
    frames, num = MelEncoder(whisper, "window").eval()(mel, torch.tensor([100, 100]))
    assert torch.equal(frames, whisper(mel).last_hidden_state)
    assert num.tolist() == [50, 50]


@torch.no_grad()
def test_a_clip_that_fills_the_window_is_the_same_in_both_modes(whisper: WhisperEncoder) -> None:
    mel, lengths = torch.randn(2, 80, 100), torch.tensor([100, 100])
    window, _ = MelEncoder(whisper, "window").eval()(mel, lengths)
    trimmed, _ = MelEncoder(whisper, "trimmed").eval()(mel, lengths)
    torch.testing.assert_close(window, trimmed, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_trimmed_clip_does_not_depend_on_its_batch(whisper: WhisperEncoder) -> None:
    encoder = MelEncoder(whisper, "trimmed").eval()
    lengths = torch.tensor([96, 40, 2, 62])
    mel = torch.randn(4, 80, 96)  # what lies past the end of a clip is noise, not zeros
    frames, num = encoder(mel, lengths)
    for at, length in enumerate(lengths.tolist()):
        alone, num_alone = encoder(mel[at : at + 1, :, :length], lengths[at : at + 1])
        assert int(num_alone) == int(num[at]) == alone.shape[1] == length // 2
        torch.testing.assert_close(frames[at, : length // 2], alone[0], rtol=1e-5, atol=1e-5)


def test_too_long_a_clip_is_an_error(whisper: WhisperEncoder) -> None:
    with pytest.raises(ModelError, match="102 mel frames"):
        MelEncoder(whisper, "trimmed")(torch.zeros(1, 80, 102), torch.tensor([102]))


@pytest.mark.parametrize("kind", [WhisperModel, WhisperForConditionalGeneration])
def test_whole_whisper_models_give_their_encoder_and_nothing_else(kind: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    saved = kind(CONFIG)
    saved.save_pretrained(tmp_path)
    expected = {name: tensor.clone() for name, tensor in saved.get_encoder().state_dict().items()}
    del saved
    before = decoders()
    chosen = recipe(encoder={"name": str(tmp_path)}, audio={"mel_bins": 80, "window_s": 1.0, "padding": "trimmed"})
    loaded = load_encoder(chosen, None, torch.float32).backbone
    assert type(loaded) is WhisperEncoder
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())
    assert decoders() == before


def decoders() -> int:
    """How many of Whisper's decoders are alive in this process, those of other tests among them."""
    gc.collect()
    return sum(type(thing) is WhisperDecoder for thing in gc.get_objects())
