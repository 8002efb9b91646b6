"""Speech encoders of other classes than Whisper's with a few thousand random weights, saved by transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    HubertConfig,
    HubertModel,
    PreTrainedModel,
    Wav2Vec2BertConfig,
    Wav2Vec2BertModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
)

_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
_WAVEFORM = {**_SMALL, "conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
_LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
_CONFIGS: dict[str, tuple[Any, Any]] = {
    "hubert": (HubertModel, HubertConfig(**_WAVEFORM)),
    "hubert-large": (HubertModel, HubertConfig(**_WAVEFORM, **_LARGE)),
    "wav2vec2": (Wav2Vec2Model, Wav2Vec2Config(**_WAVEFORM)),
    "w2v-bert": (Wav2Vec2BertModel, Wav2Vec2BertConfig(**_SMALL)),
}
FOREIGN_AUDIO: dict[str, dict[str, Any]] = {
    "hubert": {"kind": "waveform", "normalise": True, "window_s": 2.0},
    "hubert-large": {"kind": "waveform", "normalise": True, "window_s": 2.0},
    "wav2vec2": {"kind": "waveform", "normalise": False, "window_s": 2.0},
    "w2v-bert": {"kind": "fbank", "window_s": 2.0},
}
"""What each hears, as a recipe says it."""


def foreign_encoder(kind: str, folder: Path, seed: int = 0) -> PreTrainedModel:
    """In evaluation mode, and in `folder`."""
    model, config = _CONFIGS[kind]
    torch.manual_seed(seed)
    made: PreTrainedModel = model(config).eval()
    for name, parameter in made.named_parameters():
        if parameter.dim() > 1 and "parametrizations" not in name:  # as they begin, frames hardly differ
            torch.nn.init.normal_(parameter, std=1 / parameter[0].numel() ** 0.5)
    made.save_pretrained(folder)
    return made
