"""The papers' models by their shapes alone: random weights at full size, or at toy width."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    HubertConfig,
    HubertModel,
    LlamaConfig,
    LlamaForCausalLM,
    M2M100Config,
    M2M100ForConditionalGeneration,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3OmniMoeThinkerConfig,
    Qwen3OmniMoeThinkerForConditionalGeneration,
    SeamlessM4TConfig,
    SeamlessM4TForSpeechToText,
    SeamlessM4Tv2Config,
    SeamlessM4Tv2ForSpeechToText,
    Speech2TextConfig,
    Speech2TextForConditionalGeneration,
    VoxtralConfig,
    VoxtralForConditionalGeneration,
    WhisperConfig,
    WhisperForConditionalGeneration,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from dragoman.model.encoder import ENCODERS, SpeechEncoder
from dragoman.recipe import Recipe

# What the hub's config.json of each LLM says, where transformers' defaults do not say it already.
CONFIGS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "Qwen/Qwen2.5-3B": (Qwen2ForCausalLM, Qwen2Config, {
        "hidden_size": 2048, "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 2,
        "intermediate_size": 11008, "vocab_size": 151936, "tie_word_embeddings": True,
    }),
    "Qwen/Qwen2.5-7B": (Qwen2ForCausalLM, Qwen2Config, {
        "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
        "intermediate_size": 18944, "vocab_size": 152064, "tie_word_embeddings": False,
    }),
    "Qwen/Qwen2.5-32B": (Qwen2ForCausalLM, Qwen2Config, {
        "hidden_size": 5120, "num_hidden_layers": 64, "num_attention_heads": 40, "num_key_value_heads": 8,
        "intermediate_size": 27648, "vocab_size": 152064, "tie_word_embeddings": False,
    }),
    "ModelSpace/GemmaX2-28-9B-v0.1": (Gemma2ForCausalLM, Gemma2Config, {
        "hidden_size": 3584, "num_hidden_layers": 42, "num_attention_heads": 16, "num_key_value_heads": 8,
        "head_dim": 256, "intermediate_size": 14336, "vocab_size": 256000,
    }),
    "google/gemma-3-27b-it": (Gemma3ForCausalLM, Gemma3TextConfig, {
        "hidden_size": 5376, "num_hidden_layers": 62, "num_attention_heads": 32, "num_key_value_heads": 16,
        "head_dim": 128, "intermediate_size": 21504, "vocab_size": 262208,
    }),
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": (LlamaForCausalLM, LlamaConfig, {
        "hidden_size": 2048, "num_hidden_layers": 22, "num_attention_heads": 32, "num_key_value_heads": 4,
        "intermediate_size": 5632, "vocab_size": 32000,
    }),
    "NousResearch/Llama-2-7b-chat-hf": (LlamaForCausalLM, LlamaConfig, {
        "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
        "intermediate_size": 11008, "vocab_size": 32000,
    }),
    "NousResearch/Llama-2-13b-chat-hf": (LlamaForCausalLM, LlamaConfig, {
        "hidden_size": 5120, "num_hidden_layers": 40, "num_attention_heads": 40, "num_key_value_heads": 40,
        "intermediate_size": 13824, "vocab_size": 32000,
    }),
    "Qwen/Qwen1.5-7B-Chat": (Qwen2ForCausalLM, Qwen2Config, {
        "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
        "intermediate_size": 11008, "vocab_size": 151936, "tie_word_embeddings": False,
    }),
    "chargoddard/internlm2-7b-llama": (LlamaForCausalLM, LlamaConfig, {
        "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "intermediate_size": 14336, "vocab_size": 92544,
    }),
}  # fmt: skip


def _whisper(width: int, layers: int) -> tuple[Any, Any, dict[str, int]]:
    heads = {"encoder_layers": layers, "encoder_attention_heads": width // 64, "encoder_ffn_dim": 4 * width}
    return WhisperEncoder, WhisperConfig, {"d_model": width, **heads}


ENCODER_CONFIGS: dict[str, tuple[Any, Any, dict[str, int]]] = {
    "openai/whisper-base": _whisper(512, 6),
    "openai/whisper-small": _whisper(768, 12),
    "openai/whisper-medium": _whisper(1024, 24),
    "openai/whisper-large-v2": _whisper(1280, 32),
    "openai/whisper-large-v3": _whisper(1280, 32),
    "voidful/mhubert-base": (
        HubertModel,
        HubertConfig,
        {"mask_time_prob": 0},
    ),  # transformers' defaults are HuBERT-base
}
WHISPER_LARGE = {"d_model": 1280, "encoder_layers": 32, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120}
TOY_LLM = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
    "intermediate_size": 48, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": 1,
}  # fmt: skip
TOY_WHISPER = {"d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 48}
TOY_HUBERT = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48, "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
TOY_ENCODERS = {"log-mel": TOY_WHISPER, "waveform": TOY_HUBERT}
TOY_ADAPTER = {"layers": 2, "hidden": 16, "heads": 2, "feed_forward": 24, "mlp_hidden": 20}
# Of Qwen/Qwen2-Audio-7B's config.json, what transformers' defaults do not say already (its encoder is theirs).
QWEN2_AUDIO_LLM = {
    "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
    "intermediate_size": 11008, "vocab_size": 156032, "rms_norm_eps": 1e-5,
}  # fmt: skip


def llm_of(recipe: Recipe, **over: Any) -> Any:
    kind, config, table = CONFIGS[recipe.llm.name]
    return kind(config(**{**table, **over}))


def encoder_of(recipe: Recipe, **over: Any) -> SpeechEncoder:
    kind, config, table = ENCODER_CONFIGS[recipe.encoder.name]
    audio = recipe.audio
    if audio.kind == "log-mel":
        over = {"num_mel_bins": audio.mel_bins, "max_source_positions": audio.window_frames, **over}
    return ENCODERS[audio.kind].of(kind(config(**{**table, **over})), audio)


def qwen2_audio(encoder: dict[str, int], audio_id: int, **over: Any) -> Any:
    """`audio_id` is the token that stands where audio goes; `over` is of its LLM."""
    config = Qwen2AudioConfig(
        text_config={"model_type": "qwen2", **QWEN2_AUDIO_LLM, **over},
        audio_config={"model_type": "qwen2_audio_encoder", **encoder},
        audio_token_index=audio_id,
    )
    return Qwen2AudioForConditionalGeneration(config)


def whisper_of(width: int, layers: int, **over: Any) -> tuple[Any, Any]:
    """A whole Whisper, 64 wide a head (Radford et al. 2022, table 1); 80 mel bins and 51,865 tokens up to large-v2."""
    config: dict[str, Any] = {"d_model": width, "num_mel_bins": 80, "vocab_size": 51865, **over}
    for part in ("encoder", "decoder"):
        config |= {f"{part}_layers": layers, f"{part}_ffn_dim": 4 * width, f"{part}_attention_heads": width // 64}
    return WhisperForConditionalGeneration, WhisperConfig(**config)


def others() -> dict[str, tuple[Any, Any]]:
    """Other systems' checkpoints at full size: class and config, as the hub's config.json of each says."""
    nllb = {"encoder_layers": 24, "decoder_layers": 24, "encoder_ffn_dim": 8192, "decoder_ffn_dim": 8192}
    medium = {"encoder_layers": 12, "decoder_layers": 12, "encoder_ffn_dim": 4096, "decoder_ffn_dim": 4096}
    moe = {
        "vocab_size": 152064, "hidden_size": 2048, "num_hidden_layers": 48, "num_attention_heads": 32,
        "num_key_value_heads": 4, "head_dim": 128, "moe_intermediate_size": 768, "num_experts": 128,
    }  # fmt: skip
    ministral = {
        "model_type": "llama", "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 30,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 131072,
    }  # fmt: skip
    return {
        "openai/whisper-small": whisper_of(768, 12),
        "openai/whisper-medium": whisper_of(1024, 24),
        "openai/whisper-large-v2": whisper_of(1280, 32),
        "openai/whisper-large-v3": whisper_of(1280, 32, num_mel_bins=128, vocab_size=51866),
        "facebook/s2t-small-covost2-fr-en-st": (
            Speech2TextForConditionalGeneration,
            Speech2TextConfig(vocab_size=277, tie_word_embeddings=False),
        ),
        "facebook/hf-seamless-m4t-medium": (
            SeamlessM4TForSpeechToText,
            SeamlessM4TConfig(vocab_size=256206, speech_encoder_layers=12, **medium),
        ),
        "facebook/hf-seamless-m4t-large": (SeamlessM4TForSpeechToText, SeamlessM4TConfig()),
        "facebook/nllb-200-3.3B": (
            M2M100ForConditionalGeneration,
            M2M100Config(d_model=2048, vocab_size=256206, **nllb),
        ),
        "facebook/seamless-m4t-v2-large": (SeamlessM4Tv2ForSpeechToText, SeamlessM4Tv2Config()),
        "Qwen/Qwen2.5-Omni-7B": (
            Qwen2_5OmniThinkerForConditionalGeneration,
            Qwen2_5OmniThinkerConfig(vision_config={"hidden_size": 1280}),
        ),
        "Qwen/Qwen3-Omni-30B-A3B-Instruct": (
            Qwen3OmniMoeThinkerForConditionalGeneration,
            Qwen3OmniMoeThinkerConfig(
                text_config=moe, audio_config={"output_dim": 2048}, vision_config={"out_hidden_size": 2048}
            ),
        ),
        "mistralai/Voxtral-Mini-3B-2507": (VoxtralForConditionalGeneration, VoxtralConfig(text_config=ministral)),
    }


def sizes_of_others() -> Iterator[tuple[str, int]]:
    """Checkpoint and parameters, on the meta device."""
    with torch.device("meta"):
        yield "Qwen/Qwen2-Audio-7B", _size(qwen2_audio(WHISPER_LARGE, 2))
        for name, (kind, config) in others().items():
            yield name, _size(kind(config))


def _size(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
