"""The adapters are the papers' in size, and no clip depends on its batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn
from toy import MLP, Q_FORMER, STACKED, recipe
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    Qwen2Config,
    Qwen2ForCausalLM,
    WhisperConfig,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from dragoman.model.adapters import ADAPTERS, make_adapter
from dragoman.model.llm import with_lora
from dragoman.recipe import AdapterConfig, Lora, load_recipe

QWEN_3B = {"hidden_size": 2048, "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 2,
           "intermediate_size": 11008}  # fmt: skip
GEMMA_9B = {"hidden_size": 3584, "num_hidden_layers": 42, "num_attention_heads": 16, "num_key_value_heads": 8,
            "head_dim": 256, "intermediate_size": 14336}  # fmt: skip
GEMMA_27B = {"hidden_size": 5376, "num_hidden_layers": 62, "num_attention_heads": 32, "num_key_value_heads": 16,
             "head_dim": 128, "intermediate_size": 21504}  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {"q-former": Q_FORMER, "mlp": MLP, "stacked": STACKED}


def settings(table: dict[str, Any]) -> Any:
    return TypeAdapter(AdapterConfig).validate_python(table)


def size(module: nn.Module, trained_only: bool = False) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trained_only)


@pytest.mark.parametrize(
    ("name", "llm_width", "mlp_hidden", "parameters"),
    [
        ("llm-srt-3b", 2048, 1536, 73_700_352),
        ("llm-srt-3b", 3584, 2560, 80_521_728),
        ("llm-srt-3b", 5120, 2560, 84_458_496),
        ("mcat-small-9b", 3584, 2560, 80_575_488),
        ("mcat-small-9b", 5376, 2560, 85_168_384),
        ("llast-2b", 2048, None, 11_016_192),
        ("llast-2b", 4096, None, 38_809_600),
        ("llast-2b", 5120, None, 58_997_760),
    ],
)
def test_adapters_have_the_published_size(name: str, llm_width: int, mlp_hidden: int | None, parameters: int) -> None:
    table = load_recipe(name).adapter.model_dump()
    if mlp_hidden is not None:
        table["mlp_hidden"] = mlp_hidden
    with torch.device("meta"):
        adapter = make_adapter(settings(table), 1280, llm_width)
    assert size(adapter) == parameters


def test_the_recipes_name_the_published_widths() -> None:
    assert load_recipe("llm-srt-3b").adapter.mlp_hidden == 1536  # type: ignore[union-attr]
    assert load_recipe("mcat-small-9b").adapter.mlp_hidden == 2560  # type: ignore[union-attr]


def test_q_former_and_whisper_have_the_published_size() -> None:
    with torch.device("meta"):
        adapter: Any = make_adapter(load_recipe("llm-srt-3b").adapter, 1280, 2048)
        whisper = WhisperEncoder(
            WhisperConfig(
                num_mel_bins=128, d_model=1280, encoder_layers=32, encoder_attention_heads=20, encoder_ffn_dim=5120
            )
        )
    assert size(adapter.qformer) == 69_305_856
    assert adapter.query.shape == (1, 80, 768)
    assert size(whisper) == 636_968_960


@pytest.mark.parametrize(
    ("kind", "config", "rank", "parameters"),
    [
        (Qwen2ForCausalLM, Qwen2Config(**QWEN_3B), 8, 1_843_200),
        (Gemma2ForCausalLM, Gemma2Config(**GEMMA_9B), 16, 8_945_664),
        (Gemma3ForCausalLM, Gemma3TextConfig(**GEMMA_27B), 16, 16_760_832),
    ],
)
def test_lora_has_the_published_size(kind: Any, config: Any, rank: int, parameters: int) -> None:
    with torch.device("meta"):
        llm = with_lora(kind(config), Lora(rank=rank, alpha=32, dropout=0.05, targets=["q_proj", "v_proj"]))
    assert size(llm, trained_only=True) == parameters


def test_every_adapter_is_tried() -> None:
    assert set(SETTINGS) == set(ADAPTERS)


@pytest.mark.parametrize("kind", ADAPTERS)
@pytest.mark.parametrize("padding", ["window", "trimmed"])
def test_a_clip_does_not_depend_on_its_batch(kind: str, padding: str) -> None:
    chosen = recipe(adapter=SETTINGS[kind], audio={"mel_bins": 80, "window_s": 2.0, "padding": padding})
    torch.manual_seed(0)
    adapter = make_adapter(chosen.adapter, 32, 48).eval()
    mel_frames = [200, 200] if padding == "window" else [200, 74, 2]
    lengths = torch.tensor(mel_frames) // 2
    frames = torch.randn(len(lengths), int(lengths.max()), 32)
    with torch.no_grad():
        audio, num_audio = adapter(frames, lengths)
        for at, length in enumerate(lengths.tolist()):
            alone, num_alone = adapter(frames[at : at + 1, :length], lengths[at : at + 1])
            count = int(num_audio[at])
            assert int(num_alone) == count == alone.shape[1] == chosen.audio_tokens(mel_frames[at] // 2)
            torch.testing.assert_close(audio[at, :count], alone[0], rtol=1e-5, atol=1e-5)
            assert audio.shape[2] == 48


@pytest.mark.parametrize("kind", ADAPTERS)
def test_what_is_padded_is_never_seen(kind: str) -> None:
    torch.manual_seed(0)
    adapter = make_adapter(settings(SETTINGS[kind]), 32, 48).eval()
    frames, lengths = torch.randn(2, 30, 32), torch.tensor([30, 13])
    with torch.no_grad():
        before, count = adapter(frames, lengths)
        frames[1, 13:] = 1e3
        after, _ = adapter(frames, lengths)
    torch.testing.assert_close(after[1, : count[1]], before[1, : count[1]], rtol=1e-5, atol=1e-5)


def test_pooling_drops_the_remainder_and_takes_means() -> None:
    torch.manual_seed(0)
    pooled: Any = make_adapter(settings({**Q_FORMER, "mlp_hidden": None}), 32, 16).eval()
    assert recipe(adapter=Q_FORMER).audio_tokens(100) == 3  # 7 queries, 2 a token
    pooled.mlp, pooled.norm = nn.Identity(), nn.Identity()
    frames, lengths = torch.randn(1, 5, 32), torch.tensor([5])
    with torch.no_grad():
        tokens, _ = pooled(frames, lengths)
        pooled.pool = 1
        queries, _ = pooled(frames, lengths)
    torch.testing.assert_close(tokens, (queries[:, 0:6:2] + queries[:, 1:6:2]) / 2)
