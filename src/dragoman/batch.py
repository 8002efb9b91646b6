"""What flows from data to model; every shape is written here.

U unique utterances, B rows (several targets of one utterance are several rows), C channels and F frames of speech
features (see `data.features`), S encoder frames, E encoder width, L transcript tokens, T text tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

IGNORED = -100
"""The label of a token that is not learnt."""


@dataclass(frozen=True)
class TextRows:
    """input_ids, attention_mask and labels, each (B, T); labels are IGNORED outside the answers. `learnt` (N,): the
    places, counted through all rows, whose next token has a label, row by row; found here, on the CPU: an accelerator
    would have to be waited for to know how many there are. A prompt is never empty, so no label is lost."""

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    learnt: Tensor = field(default=None)  # type: ignore[assignment]  # a tensor from __post_init__ on

    def __post_init__(self) -> None:
        if self.learnt is None:
            size = self.labels.shape[1]
            rows, places = (self.labels[:, 1:] >= 0).nonzero(as_tuple=True)
            object.__setattr__(self, "learnt", rows * size + places)

    @property
    def learnt_labels(self) -> Tensor:
        """(N,)."""
        return self.labels.flatten()[self.learnt + 1]

    @property
    def num_targets(self) -> int:
        """Label tokens."""
        return int((self.labels != IGNORED).sum())

    @property
    def num_rows(self) -> int:
        return len(self.input_ids)

    def to(self, device: torch.device) -> TextRows:
        own = (self.input_ids, self.attention_mask, self.labels, self.learnt)
        return TextRows(*(_moved(tensor, device) for tensor in own))

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
            None if self.features is None else _moved(self.features, device),
            _moved(self.num_frames, device),
            self.text.to(device),
            _moved(self.utterance_of, device),
            _moved(self.transcripts, device),
            _moved(self.transcript_lengths, device),
            _moved(self.rehearsed, device),
            None if self.frames is None else _moved(self.frames, device),
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


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """To a GPU from pinned memory, without waiting for it to arrive: what uses it there comes behind it."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
