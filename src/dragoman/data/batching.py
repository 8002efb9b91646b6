"""Examples -> batches. Shapes are named as in `dragoman.batch`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dragoman.batch import IGNORED, Batch, TextRows
from dragoman.data.features import Features
from dragoman.data.frames import Frames


@dataclass(frozen=True)
class TextRow:
    """One row of text: prompt and answer ids; the answer ends with the end token, and is empty in decoding.
    `rehearsed`: it asks for what the model could do before training began."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...] = ()
    rehearsed: bool = False


@dataclass(frozen=True)
class Example:
    """One utterance, features (C, F) or the frames (S, E) that the encoder made of them before, and the rows that
    share it; with neither it is text alone.
    `transcript` ids serve the auxiliary CTC loss."""

    features: Features | None
    rows: tuple[TextRow, ...]
    transcript: tuple[int, ...] = ()
    frames: Frames | None = None

    @property
    def uses_speech(self) -> bool:
        """Whether there is speech."""
        return self.features is not None or self.frames is not None


def collate(examples: Sequence[Example], pad_id: int, side: Literal["left", "right"] = "right") -> Batch:
    """Stack examples, all with features, all with frames or all without either; `side` is where text is padded: right
    in training, left in decoding."""
    features = frames = None
    num_frames = torch.zeros(len(examples), dtype=torch.long)
    if examples[0].frames is not None:
        frames, num_frames = pad_frames([example.frames for example in examples])  # type: ignore[misc]
    elif examples[0].features is not None:
        features, num_frames = pad_features([example.features for example in examples])  # type: ignore[misc]
    rows = [row for example in examples for row in example.rows]
    utterance_of = torch.tensor([at for at, example in enumerate(examples) for _ in example.rows], dtype=torch.long)
    transcripts, lengths = pad_ids([example.transcript for example in examples])
    rehearsed = torch.tensor([row.rehearsed for row in rows], dtype=torch.bool)
    text = pad_rows(rows, pad_id, side)
    return Batch(features, num_frames, text, utterance_of, transcripts, lengths, rehearsed, frames)


def pad_features(features: Sequence[Features]) -> tuple[Tensor, Tensor]:
    """(C, F_i) each -> (U, C, F) padded with zeros on the right, and the lengths (U,)."""
    lengths = torch.tensor([own.shape[1] for own in features])
    padded = torch.zeros(len(features), features[0].shape[0], int(lengths.max()))
    for at, own in enumerate(features):
        padded[at, :, : own.shape[1]] = torch.from_numpy(own)
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
