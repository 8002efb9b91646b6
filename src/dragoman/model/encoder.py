"""The speech encoder: Whisper's, by Hugging Face's class, on padded windows (as the papers do) or on trimmed clips.

Shapes: U utterances, M mel bins, F mel frames (100 a second), S = F / 2 encoder frames, E width.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Literal

import torch
from torch import Tensor, nn
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from dragoman.errors import ModelError


class SpeechEncoder(nn.Module):
    """mel (U, M, F) and the number of valid mel frames (U,) -> frames (U, S, E) and the number of valid ones (U,).

    With padding "window" every clip fills Whisper's window and all frames count, silence too (the papers attend it).
    With "trimmed" clips are as long as they are: padding up to the longest of the batch is masked at every place
    where it could leak (between the convolutions, in attention), so that a clip's frames do not depend on the batch.
    """

    def __init__(self, whisper: WhisperEncoder, padding: Literal["window", "trimmed"]) -> None:
        super().__init__()
        self.whisper = whisper
        self.padding = padding

    @property
    def width(self) -> int:
        return int(self.whisper.config.d_model)

    @property
    def mel_bins(self) -> int:
        """M."""
        return int(self.whisper.config.num_mel_bins)

    @property
    def window_frames(self) -> int:
        """Mel frames of the longest clip it can hear."""
        return 2 * int(self.whisper.config.max_source_positions)

    def digest(self) -> str:
        """SHA-256 of the weights as bf16 has them, so that it is the same in whatever precision they are loaded."""
        digest = sha256()
        for name, weight in sorted(self.whisper.state_dict().items()):
            digest.update(f"{name} {tuple(weight.shape)} ".encode())
            digest.update(weight.to(torch.bfloat16).cpu().contiguous().view(torch.int16).numpy())
        return digest.hexdigest()

    def forward(self, mel: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        if self.padding == "window":
            frames = self.whisper(mel).last_hidden_state
            return frames, torch.full_like(num_frames, frames.shape[1])
        if mel.shape[-1] > self.window_frames:
            raise ModelError(f"A clip has {mel.shape[-1]} mel frames; this encoder hears at most {self.window_frames}.")
        return self._trimmed(mel, num_frames), (num_frames + 1) // 2

    def _trimmed(self, mel: Tensor, num_frames: Tensor) -> Tensor:
        whisper = self.whisper
        valid = _valid(num_frames, mel.shape[-1])
        hidden = nn.functional.gelu(whisper.conv1(mel * valid[:, None])) * valid[:, None]
        hidden = nn.functional.gelu(whisper.conv2(hidden)).transpose(1, 2)
        hidden = hidden + whisper.embed_positions.weight[: hidden.shape[1]]
        hidden = nn.functional.dropout(hidden, p=whisper.dropout, training=self.training)
        mask = _valid((num_frames + 1) // 2, hidden.shape[1])[:, None, None]
        for layer in whisper.layers:
            hidden = layer(hidden, mask)
        return whisper.layer_norm(hidden)


def _valid(lengths: Tensor, size: int) -> Tensor:
    """(U,) -> (U, size) booleans, true before each length."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]
