"""Every id and label of a batch, by hand."""

from __future__ import annotations

import numpy as np

from dragoman.data.batching import Example, TextRow, collate, pad_ids

SHORT = Example(np.full((2, 2), 5, np.float32), (TextRow((10, 11), (12, 1)),), transcript=(12,))
LONG = Example(np.full((2, 4), 7, np.float32), (TextRow((20,), (21, 22, 23, 1)), TextRow((30, 31))), transcript=())
I = -100  # noqa: E741


def test_padded_on_the_right() -> None:
    batch = collate([SHORT, LONG], pad_id=0)
    assert batch.text.input_ids.tolist() == [[10, 11, 12, 1, 0], [20, 21, 22, 23, 1], [30, 31, 0, 0, 0]]
    assert batch.text.attention_mask.tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    assert batch.text.labels.tolist() == [[I, I, 12, 1, I], [I, 21, 22, 23, 1], [I, I, I, I, I]]
    assert batch.utterance_of.tolist() == [0, 1, 1]
    assert batch.features.tolist() == [[[5, 5, 0, 0]] * 2, [[7, 7, 7, 7]] * 2]
    assert batch.num_frames.tolist() == [2, 4]
    assert batch.transcripts.tolist() == [[12], [0]] and batch.transcript_lengths.tolist() == [1, 0]
    assert (batch.num_targets, batch.num_rows) == (6, 3)


def test_padded_on_the_left() -> None:
    text = collate([SHORT, LONG], pad_id=9, side="left").text
    assert text.input_ids.tolist() == [[9, 10, 11, 12, 1], [20, 21, 22, 23, 1], [9, 9, 9, 30, 31]]
    assert text.attention_mask.tolist() == [[0, 1, 1, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 1, 1]]
    assert text.labels.tolist() == [[I, I, I, 12, 1], [I, 21, 22, 23, 1], [I, I, I, I, I]]


def test_a_pad_id_that_is_also_the_end_is_learnt_where_it_ends_an_answer() -> None:
    text = collate([SHORT, LONG], pad_id=1).text
    assert text.labels.tolist()[0] == [I, I, 12, 1, I] and text.input_ids.tolist()[0] == [10, 11, 12, 1, 1]


def test_no_ids_at_all() -> None:
    padded, lengths = pad_ids([(), ()])
    assert padded.shape == (2, 1) and lengths.tolist() == [0, 0]
