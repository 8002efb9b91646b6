"""Audio embeddings in front of the text: a pure function.

The papers' sequence is [audio][prompt][answer]. Rows of unequal length leave holes of padding between audio and text or
at the ends; they are masked, and positions count only what is there, so that no row depends on its batch.
"""

from __future__ import annotations

import torch
from torch import Tensor


def splice(
    audio: Tensor, num_audio: Tensor, text: Tensor, text_mask: Tensor, utterance_of: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """audio (U, A, D), num_audio (U,), text (B, T, D), text_mask (B, T), utterance_of (B,)
    -> embeddings (B, A + T, D), attention mask (B, A + T), position ids (B, A + T)."""
    audio_mask = torch.arange(audio.shape[1], device=audio.device) < num_audio[:, None]
    rows = torch.cat([audio[utterance_of].to(text.dtype), text], dim=1)
    mask = torch.cat([audio_mask[utterance_of].to(text_mask.dtype), text_mask], dim=1)
    return rows, mask, positions(mask)


def positions(mask: Tensor) -> Tensor:
    """(B, L) 0/1 -> position ids: the number of valid places before each; 0 where there is none."""
    return (mask.cumsum(1) - 1).clamp(min=0)
