"""Audio in front of the text, in hand-written integers."""

from __future__ import annotations

import torch

from dragoman.model.splice import positions, splice


def test_two_utterances_three_rows() -> None:
    audio = torch.tensor([[[1], [2], [0]], [[3], [4], [5]]])  # the first has 2 tokens
    text = torch.tensor([[[10], [11]], [[12], [0]], [[0], [13]]])
    text_mask = torch.tensor([[1, 1], [1, 0], [0, 1]])
    rows, mask, places = splice(audio, torch.tensor([2, 3]), text, text_mask, torch.tensor([0, 1, 0]))
    assert rows[..., 0].tolist() == [[1, 2, 0, 10, 11], [3, 4, 5, 12, 0], [1, 2, 0, 0, 13]]
    assert mask.tolist() == [[1, 1, 0, 1, 1], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]]
    assert places.tolist() == [[0, 1, 1, 2, 3], [0, 1, 2, 3, 3], [0, 1, 1, 1, 2]]


def test_no_text_and_no_audio() -> None:
    rows, mask, _ = splice(
        torch.ones(2, 1, 4), torch.tensor([1, 0]), torch.ones(2, 0, 4), torch.ones(2, 0), torch.tensor([0, 1])
    )
    assert rows.shape == (2, 1, 4) and mask.tolist() == [[1], [0]]


def test_positions_count_what_is_there() -> None:
    assert positions(torch.tensor([[0, 0, 1, 0, 1, 1]])).tolist() == [[0, 0, 0, 0, 1, 2]]
