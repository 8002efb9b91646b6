"""The speech encoder, by Hugging Face's classes: Whisper, on padded windows (as the papers do) or on trimmed clips;
HuBERT, wav2vec 2.0 and w2v-BERT 2.0. Padding up to the longest clip of a batch is masked at every place where it could
leak, so that a clip's frames do not depend on its batch.

Shapes: U utterances, C channels and F frames of speech features (see `data.features`), S encoder frames (50 a second),
E width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from transformers import HubertModel, Wav2Vec2BertModel, Wav2Vec2Model
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from dragoman.errors import ModelError
from dragoman.recipe import AudioConfig, LogMelConfig

_KERNELS, _STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
"""Of the convolutions of all released HuBERT and wav2vec 2.0 models; `recipe.audio` counts on them."""
_LIKE = 1.15
"""How much longer than the shortest clip of a group its longest may be, on a CPU."""


class SpeechEncoder(nn.Module, ABC):
    """Features (U, C, F) and the number of valid ones (U,) -> frames (U, S, E) and the number of valid ones (U,).

    `backbone` is the pre-trained model, `models` its class by the `model_type` of its config.
    """

    models: ClassVar[Mapping[str, Any]]

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone

    @classmethod
    def of(cls, backbone: Any, audio: AudioConfig) -> SpeechEncoder:
        """That hears as a recipe says."""
        return cls(backbone)

    @property
    def width(self) -> int:
        return int(self.backbone.config.hidden_size)

    def digest(self) -> str:
        """SHA-256 of the weights as bf16 has them, so that it is the same in whatever precision they are loaded."""
        digest = sha256()
        for name, weight in sorted(self.backbone.state_dict().items()):
            digest.update(f"{name} {tuple(weight.shape)} ".encode())
            digest.update(weight.to(torch.bfloat16).cpu().contiguous().view(torch.int16).numpy())
        return digest.hexdigest()

    @abstractmethod
    def check(self, audio: Any) -> None:
        """Raise ModelError where the backbone hears otherwise than the recipe says."""

    @abstractmethod
    def forward(self, features: Tensor, num_features: Tensor) -> tuple[Tensor, Tensor]: ...


class MelEncoder(SpeechEncoder):
    """Whisper. With padding "window" every clip fills Whisper's window and all frames count, silence too (the papers
    attend it). With "trimmed" clips are as long as they are."""

    models: ClassVar[Mapping[str, Any]] = {"whisper": WhisperEncoder}

    def __init__(self, backbone: Any, padding: Literal["window", "trimmed"]) -> None:
        super().__init__(backbone)
        self.padding = padding

    @classmethod
    def of(cls, backbone: Any, audio: AudioConfig) -> MelEncoder:
        return cls(backbone, audio.padding)

    @property
    def mel_bins(self) -> int:
        """M."""
        return int(self.backbone.config.num_mel_bins)

    @property
    def window_frames(self) -> int:
        """Mel frames of the longest clip it can hear."""
        return 2 * int(self.backbone.config.max_source_positions)

    def check(self, audio: LogMelConfig) -> None:
        if self.window_frames != 2 * audio.window_frames:
            raise ModelError(
                f"audio.window_s: the encoder hears {self.window_frames / 100:g} s at a time, "
                f"the recipe says {audio.window_s:g}."
            )
        if self.mel_bins != audio.mel_bins:
            raise ModelError(f"audio.mel_bins: the encoder hears {self.mel_bins}, the recipe says {audio.mel_bins}.")

    def forward(self, features: Tensor, num_features: Tensor) -> tuple[Tensor, Tensor]:
        if self.padding == "window":
            frames = self.backbone(features).last_hidden_state
            return frames, torch.full_like(num_features, frames.shape[1])
        size = features.shape[-1]
        if size > self.window_frames:
            raise ModelError(f"A clip has {size} mel frames; this encoder hears at most {self.window_frames}.")
        num_frames = (num_features + 1) // 2
        if features.device.type != "cpu" or torch.is_grad_enabled():
            return self._trimmed(features, num_features), num_frames
        frames = features.new_zeros(len(features), (size + 1) // 2, self.width)
        for rows in _of_like_length(num_features.tolist()):
            heard = self._trimmed(features[rows, :, : int(num_features[rows].max())], num_features[rows])
            frames[rows, : heard.shape[1]] = heard
        return frames, num_frames

    def _trimmed(self, mel: Tensor, num_frames: Tensor) -> Tensor:
        whisper = self.backbone
        valid = _valid(num_frames, mel.shape[-1])
        hidden = nn.functional.gelu(whisper.conv1(mel * valid[:, None])) * valid[:, None]
        hidden = nn.functional.gelu(whisper.conv2(hidden)).transpose(1, 2)
        hidden = hidden + whisper.embed_positions.weight[: hidden.shape[1]]
        hidden = nn.functional.dropout(hidden, p=whisper.dropout, training=self.training)
        mask = _valid((num_frames + 1) // 2, hidden.shape[1])[:, None, None]
        for layer in whisper.layers:
            hidden = layer(hidden, mask)
        return whisper.layer_norm(hidden)


def _of_like_length(lengths: Sequence[int]) -> Iterator[list[int]]:
    """The rows of a batch in groups in which none is much longer than another: padding costs a CPU what speech does."""
    rows: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        if rows and lengths[row] > _LIKE * lengths[rows[0]]:
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows


class WaveformEncoder(SpeechEncoder):
    """HuBERT or wav2vec 2.0, on samples (U, 1, F). Convolutions are run clip by clip: in the base models the first of
    them is followed by a norm over all of a clip's time (GroupNorm), and none of them computes padding then."""

    models: ClassVar[Mapping[str, Any]] = {"hubert": HubertModel, "wav2vec2": Wav2Vec2Model}

    def check(self, audio: AudioConfig) -> None:
        config = self.backbone.config
        if (tuple(config.conv_kernel), tuple(config.conv_stride)) != (_KERNELS, _STRIDES):
            raise ModelError(
                f"The encoder's convolutions have kernels {tuple(config.conv_kernel)} and strides "
                f"{tuple(config.conv_stride)}; only {_KERNELS} and {_STRIDES} are known here: choose another encoder."
            )
        if getattr(config, "conv_pos_batch_norm", False):
            raise ModelError("The encoder normalises positions over a batch, padding too; choose another one.")
        _check_no_adapter(config)

    def forward(self, features: Tensor, num_features: Tensor) -> tuple[Tensor, Tensor]:
        convolve, project = self.backbone.feature_extractor, self.backbone.feature_projection
        clips = zip(features, num_features.tolist(), strict=True)
        convolved = [convolve(clip[:, :size])[0].T for clip, size in clips]  # (S, width of the convolutions) each
        num_frames = torch.tensor([len(clip) for clip in convolved], device=num_features.device)
        hidden = project(nn.utils.rnn.pad_sequence(convolved, batch_first=True))
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden  # wav2vec 2.0's own loss wants what is before too
        mask = _valid(num_frames, hidden.shape[1])
        return self.backbone.encoder(hidden, attention_mask=mask).last_hidden_state, num_frames


class FbankEncoder(SpeechEncoder):
    """w2v-BERT 2.0, on pairs of filter banks (U, 160, F): a frame each."""

    models: ClassVar[Mapping[str, Any]] = {"wav2vec2-bert": Wav2Vec2BertModel}

    def check(self, audio: AudioConfig) -> None:
        if (size := self.backbone.config.feature_projection_input_dim) != 160:
            raise ModelError(f"The encoder hears {size} numbers a frame; pairs of 80 filter banks are 160.")
        _check_no_adapter(self.backbone.config)

    def forward(self, features: Tensor, num_features: Tensor) -> tuple[Tensor, Tensor]:
        mask = _valid(num_features, features.shape[-1])
        return self.backbone(features.transpose(1, 2), attention_mask=mask.long()).last_hidden_state, num_features


ENCODERS: dict[str, type[SpeechEncoder]] = {
    "log-mel": MelEncoder,
    "waveform": WaveformEncoder,
    "fbank": FbankEncoder,
}
"""By what they hear: `kind` in a recipe's [audio]."""


def _check_no_adapter(config: Any) -> None:
    if getattr(config, "add_adapter", False):
        raise ModelError("The encoder has layers behind it that shorten its frames (add_adapter); choose another one.")


def _valid(lengths: Tensor, size: int) -> Tensor:
    """(U,) -> (U, size) booleans, true before each length."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]
