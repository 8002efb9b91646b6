"""COMET's regression network: an XLM-R encoder, a mix of its layers, pooling, a feed-forward head.

Rei et al. 2020 (COMET), section 2.3; names and defaults are those of the package unbabel-comet, so that its
checkpoints load name by name. Shapes: R texts, T tokens, H the encoder's width, B triples (R = 3 B).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn
from transformers import XLMRobertaModel

from dragoman.errors import ModelError

_ACTIVATIONS = {"Tanh": nn.Tanh, "Sigmoid": nn.Sigmoid}

# What a checkpoint says of its training, and its kind, which was checked; they change no score.
_OF_TRAINING = frozenset(
    {
        *("nr_frozen_epochs", "keep_embeddings_frozen", "optimizer", "warmup_steps", "encoder_learning_rate"),
        *("learning_rate", "layerwise_decay", "loss", "dropout", "batch_size", "train_data", "validation_data"),
        *("load_pretrained_weights", "load_weights_from_checkpoint", "local_files_only", "class_identifier"),
    }
)


class CometSettings(BaseModel):
    """What a checkpoint's hyper-parameters say of its network. The defaults are the package's: wmt20-comet-da is
    silent on the layer mix and relies on them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder_model: Literal["XLM-RoBERTa"] = "XLM-RoBERTa"
    pretrained_model: str = "xlm-roberta-large"
    """Whose tokenizer and config the encoder has: a folder, or a name on the hub."""
    pool: Literal["avg", "cls", "max"] = "avg"
    layer: Literal["mix"] | int = "mix"
    layer_transformation: Literal["softmax", "sparsemax"] = "softmax"
    layer_norm: bool = True
    hidden_sizes: tuple[int, ...] = (3072, 1024)
    activations: str = "Tanh"
    final_activation: str | None = None


def read_settings(hyper_parameters: Mapping[str, Any], origin: Path) -> CometSettings:
    """Raises ModelError naming the first key that is unknown or has a value that no released checkpoint has."""
    try:
        return CometSettings.model_validate({k: v for k, v in hyper_parameters.items() if k not in _OF_TRAINING})
    except ValidationError as error:
        first = error.errors()[0]
        key = first["loc"][0] if first["loc"] else "?"
        raise ModelError(f"{origin}: the hyper-parameter {key!r} cannot be followed ({first['msg']}).") from error


class Regressor(nn.Module):
    """A score for each source, hypothesis and reference. The encoder may be in half precision; all that follows it
    is computed in single precision."""

    def __init__(self, encoder: XLMRobertaModel, settings: CometSettings) -> None:
        """Raises ModelError for a layer that the encoder has not, or an unknown activation."""
        super().__init__()
        width, layers = encoder.config.hidden_size, encoder.config.num_hidden_layers + 1
        if settings.layer != "mix" and not 0 <= settings.layer < layers:
            raise ModelError(f"The hyper-parameter 'layer' is {settings.layer}; the encoder has 0 to {layers - 1}.")
        self.settings = settings
        self.encoder = nn.ModuleDict({"model": encoder})  # all names are those of the checkpoints
        if settings.layer == "mix":
            self.layerwise_attention = LayerMix(layers, settings.layer_transformation, settings.layer_norm)
        self.estimator = Head(6 * width, settings)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Tokens (3 B, T) of B sources, then B hypotheses, then B references; mask (3 B, T), one for a token, zero for
        padding. Returns (B,)."""
        states = self.encoder["model"](input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        if self.settings.layer == "mix":
            mixed = self.layerwise_attention(states, mask)
        else:
            mixed = states[self.settings.layer].float()
        return self.estimator(*self._pool(mixed, ids, mask).chunk(3))

    def _pool(self, states: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """(R, T, H) -> (R, H). A padding mark written in the text itself counts in the mean but adds nothing to it: so
        the package has it."""
        encoder = cast(Any, self.encoder["model"])
        padding = ids.eq(encoder.config.pad_token_id).unsqueeze(-1)
        if self.settings.pool == "cls":
            return states[:, 0]
        if self.settings.pool == "max":
            return states.masked_fill(padding, float("-inf")).amax(1)
        return states.masked_fill(padding, 0.0).sum(1) / mask.sum(1, keepdim=True)


class LayerMix(nn.Module):
    """The encoder's layers (embeddings first), weighted by one scalar each."""

    def __init__(self, layers: int, transformation: str, normed: bool) -> None:
        super().__init__()
        self.scalar_parameters = nn.ParameterList(nn.Parameter(torch.zeros(1)) for _ in range(layers))
        self.gamma = nn.Parameter(torch.ones(1))
        self.transformation = sparsemax if transformation == "sparsemax" else lambda scores: scores.softmax(0)
        self.normed = normed

    def forward(self, states: tuple[Tensor, ...], mask: Tensor) -> Tensor:
        """Each of `states` and the result (R, T, H)."""
        weights = self.transformation(torch.cat(list(self.scalar_parameters)))
        mixed = torch.zeros_like(states[0], dtype=torch.float32)
        for weight, state in zip(weights, states, strict=True):
            mixed += weight * (_normed(state.float(), mask) if self.normed else state.float())
        return self.gamma * mixed


class Head(nn.Module):
    """The estimator: six vectors of a triple to its score."""

    def __init__(self, width: int, settings: CometSettings) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for size in settings.hidden_sizes:
            # Identity stands where training had its dropout: the checkpoints' names count it.
            parts += [nn.Linear(width, size), _activation(settings.activations), nn.Identity()]
            width = size
        parts.append(nn.Linear(width, 1))
        if settings.final_activation is not None:
            parts.append(_activation(settings.final_activation))
        self.ff = nn.Sequential(*parts)

    def forward(self, source: Tensor, hypothesis: Tensor, reference: Tensor) -> Tensor:
        """Three times (B, H) -> (B,)."""
        pair = [hypothesis, reference]
        for other in (reference, source):
            pair += [hypothesis * other, (hypothesis - other).abs()]
        return self.ff(torch.cat(pair, dim=1)).squeeze(1)


def sparsemax(scores: Tensor) -> Tensor:
    """The probabilities (N,) nearest to `scores` (N,); many are zero. Martins and Astudillo 2016, algorithm 1."""
    falling = scores.sort(descending=True).values
    count = torch.arange(1, len(scores) + 1, device=scores.device)
    excess = falling.cumsum(0) - 1.0
    support = int((count * falling > excess).sum())
    return (scores - excess[support - 1] / support).clamp(min=0.0)


def _normed(states: Tensor, mask: Tensor) -> Tensor:
    """(R, T, H) with mean zero and variance one over all the numbers of a text, padding left out."""
    mask = mask.unsqueeze(-1).float()
    count = mask.sum((1, 2), keepdim=True) * states.shape[-1]
    centred = states - (states * mask).sum((1, 2), keepdim=True) / count
    variance = (centred * mask).square().sum((1, 2), keepdim=True) / count
    return centred / (variance + 1e-12).sqrt()


def _activation(name: str) -> nn.Module:
    kind = _ACTIVATIONS.get(name.title())
    if kind is None:
        raise ModelError(f"The activation {name!r} is unknown; known: {', '.join(_ACTIVATIONS)}.")
    return kind()
