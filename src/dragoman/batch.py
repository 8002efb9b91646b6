"""What flows from data to model; every shape is written here.

U unique utterances, B rows (several targets of one utterance are several rows), C channels and F frames of speech
features (see `data.features`), S encoder frames, E encoder width, L transcript tokens, T text tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

IGNORED = -100
"""The label of a token that is not learnt."""


@dataclass(frozen=True)
class TextRows:
    """input_ids, attention_mask and labels, each (B, T); labels are IGNORED outside the answers."""

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor

    @property
    def num_targets(self) -> int:
        """Label tokens."""
        return int((self.labels != IGNORED).sum())

    @property
    def num_rows(self) -> int:
        return len(self.input_ids)

    def to(self, device: torch.device) -> TextRows:
        return TextRows(self.input_ids.to(device), self.attention_mask.to(device), self.labels.to(device))

    def only(self, rows: Tensor) -> TextRows:
        """Those that a mask (B,) names."""
        return TextRows(self.input_ids[rows], self.attention_mask[rows], self.labels[rows])


@dataclass(frozen=True)
class Batch:
    """features (U, C, F) or, where the encoder has heard them before, frames (U, S, E), or neither; num_frames (U,), of
    either; text (B, T); utterance_of (B,): which utterance each row hears; transcripts (U, L) with their lengths (U,)
    for CTC; rehearsed (B,): see data.batching.TextRow."""

    features: Tensor | None
    num_frames: Tensor
    text: TextRows
    utterance_of: Tensor
    transcripts: Tensor
    transcript_lengths: Tensor
    rehearsed: Tensor
    frames: Tensor | None = None

    @property
    def num_targets(self) -> int:
        """Label tokens; where the LLM is left out, those of the transcripts."""
        return self.text.num_targets if self.text.num_rows else int(self.transcript_lengths.sum())

    @property
    def num_rows(self) -> int:
        return self.text.num_rows or len(self.num_frames)

    def to(self, device: torch.device) -> Batch:
        return Batch(
            None if self.features is None else self.features.to(device),
            self.num_frames.to(device),
            self.text.to(device),
            self.utterance_of.to(device),
            self.transcripts.to(device),
            self.transcript_lengths.to(device),
            self.rehearsed.to(device),
            None if self.frames is None else self.frames.to(device),
        )

    def rehearsed_part(self) -> Batch:
        """The rehearsed rows and what they hear, padded as they are here."""
        heard, utterance_of = torch.unique(self.utterance_of[self.rehearsed], return_inverse=True)
        return Batch(
            None if self.features is None else self.features[heard],
            self.num_frames[heard],
            self.text.only(self.rehearsed),
            utterance_of,
            self.transcripts[heard],
            self.transcript_lengths[heard],
            self.rehearsed[self.rehearsed],
            None if self.frames is None else self.frames[heard],
        )
