"""Examples -> batches; every shape is written here.

U unique utterances, B rows (several targets of one utterance are several rows), M mel bins, F mel frames, S encoder
frames, E encoder width, T text tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dragoman.data.frames import Frames

IGNORED = -100
"""The label of a token that is not learnt."""

Mel = NDArray[np.float32]


@dataclass(frozen=True)
class TextRow:
    """One row of text: prompt and answer ids; the answer ends with the end token, and is empty in decoding.
    `rehearsed`: it asks for what the model could do before training began."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...] = ()
    rehearsed: bool = False


@dataclass(frozen=True)
class Example:
    """One utterance, mel (M, F) or the frames (S, E) that the encoder made of it before, and the rows that share it;
    with neither it is text alone.
    `transcript` ids serve the auxiliary CTC loss."""

    mel: Mel | None
    rows: tuple[TextRow, ...]
    transcript: tuple[int, ...] = ()
    frames: Frames | None = None

    @property
    def uses_speech(self) -> bool:
        """Whether there is speech."""
        return self.mel is not None or self.frames is not None

    @property
    def mel_frames(self) -> int:
        """F, even where the frames are stored: two to each of them."""
        if self.frames is not None:
            return 2 * len(self.frames)
        return 0 if self.mel is None else self.mel.shape[1]


@dataclass(frozen=True)
class TextRows:
    """input_ids, attention_mask and labels, each (B, T); labels are IGNORED outside the answers. `learnt` (N,): the
    places, counted through all rows, whose next token has a label, row by row; found here, on the CPU: an accelerator
    would have to be waited for to know how many there are. A prompt is never empty, so no label is lost."""

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    learnt: Tensor = field(default=None)

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
    """mel (U, M, F) or, where the encoder has heard it before, frames (U, S, E), or neither; num_frames (U,); text
    (B, T); utterance_of (B,): which utterance each row hears; transcripts (U, L) with their lengths (U,) for CTC;
    rehearsed (B,): see Row."""

    mel: Tensor | None
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
            None if self.mel is None else _moved(self.mel, device),
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
        heard, utterance_of = self.utterance_of[self.rehearsed].unique(return_inverse=True)
        return Batch(
            None if self.mel is None else self.mel[heard],
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


def collate(examples: Sequence[Example], pad_id: int, side: Literal["left", "right"] = "right") -> Batch:
    """Stack examples, all with mels, all with frames or all without either; `side` is where text is padded: right
    in training, left in decoding."""
    mel = frames = None
    num_frames = torch.zeros(len(examples), dtype=torch.long)
    if examples[0].frames is not None:
        frames, num_frames = pad_frames([example.frames for example in examples])  # type: ignore[misc]
    elif examples[0].mel is not None:
        mel, num_frames = pad_mels([example.mel for example in examples])  # type: ignore[misc]
    rows = [row for example in examples for row in example.rows]
    utterance_of = torch.tensor([at for at, example in enumerate(examples) for _ in example.rows], dtype=torch.long)
    transcripts, lengths = pad_ids([example.transcript for example in examples])
    rehearsed = torch.tensor([row.rehearsed for row in rows], dtype=torch.bool)
    return Batch(mel, num_frames, pad_rows(rows, pad_id, side), utterance_of, transcripts, lengths, rehearsed, frames)


def pad_mels(mels: Sequence[Mel]) -> tuple[Tensor, Tensor]:
    """(M, F_i) each -> (U, M, F) padded with zeros on the right, and the lengths (U,)."""
    lengths = torch.tensor([mel.shape[1] for mel in mels])
    padded = torch.zeros(len(mels), mels[0].shape[0], int(lengths.max()))
    for at, mel in enumerate(mels):
        padded[at, :, : mel.shape[1]] = torch.from_numpy(mel)
    return padded, lengths


def pad_frames(frames: Sequence[Frames]) -> tuple[Tensor, Tensor]:
    """(S_i, E) each -> (U, S, E) in bf16 or fp32, padded with zeros on the right, and the lengths (U,)."""
    lengths = torch.tensor([len(own) for own in frames])
    padded = np.zeros((len(frames), int(lengths.max()), frames[0].shape[1]), frames[0].dtype)
    for at, own in enumerate(frames):
        padded[at, : len(own)] = own
    tensor = torch.from_numpy(padded)
    return (tensor.view(torch.bfloat16) if padded.dtype == np.uint16 else tensor), lengths


def pad_ids(sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids of unequal length -> (U, L) padded with 0 on the right, and the lengths (U,)."""
    lengths = torch.tensor([len(ids) for ids in sequences])
    padded = torch.zeros(len(sequences), max(1, int(lengths.max())), dtype=torch.long)
    for at, ids in enumerate(sequences):
        padded[at, : len(ids)] = torch.tensor(ids, dtype=torch.long)
    return padded, lengths


def pad_rows(rows: Sequence[TextRow], pad_id: int, side: Literal["left", "right"] = "right") -> TextRows:
    """Prompt and answer one after the other, padded to the longest row."""
    size = max((len(row.prompt) + len(row.answer) for row in rows), default=0)
    input_ids = torch.full((len(rows), size), pad_id)
    attention_mask = torch.zeros((len(rows), size), dtype=torch.long)
    labels = torch.full((len(rows), size), IGNORED)
    for at, row in enumerate(rows):
        ids = torch.tensor([*row.prompt, *row.answer], dtype=torch.long)
        start = 0 if side == "right" else size - len(ids)
        answer_from = start + len(row.prompt)
        input_ids[at, start : start + len(ids)] = ids
        attention_mask[at, start : start + len(ids)] = 1
        labels[at, answer_from : start + len(ids)] = ids[len(row.prompt) :]
    return TextRows(input_ids, attention_mask, labels)
