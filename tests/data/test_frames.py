"""What is stored is read, by row; what is damaged, missing or of something else is one clear sentence."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.data.batching import pad_frames
from dragoman.data.frames import Frames, FrameStore, new_frames, open_frames
from dragoman.errors import DataError

MADE_WITH = {"manifest": "m", "encoder": "e"}


def frames(row: int, kind: type = np.uint16) -> Frames:
    return (100 * np.random.default_rng(row).random((row % 4 + 1, 3))).astype(kind)


def filled(folder: Path, rows: list[int], per_shard: int, kind: type = np.uint16) -> FrameStore:
    store = new_frames(folder, np.array(rows, np.int32), per_shard, MADE_WITH)
    for number in store.missing():
        store.write(number, [frames(row, kind) for row in store.shards()[number].tolist()])
    return store


@settings(max_examples=25)
@given(st.sets(st.integers(0, 60), min_size=1), st.integers(1, 9), st.sampled_from([np.uint16, np.float32]))
def test_every_row_is_read_as_it_was_stored(
    tmp_path_factory: pytest.TempPathFactory, rows: set[int], per_shard: int, kind: type
) -> None:
    folder = tmp_path_factory.mktemp("store")
    filled(folder, sorted(rows), per_shard, kind)
    store = open_frames(folder, np.array(sorted(rows)), MADE_WITH)
    for copy in (store, pickle.loads(pickle.dumps(store))):  # as a worker process gets it
        for row in rows:
            assert copy[row].dtype == kind and np.array_equal(copy[row], frames(row, kind))


def test_damage_anywhere_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    filled(tmp_path, [0, 1, 2, 5, 6], 2)
    path = tmp_path / "000001.frames"
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        store = FrameStore(tmp_path)
        try:
            heard = [store[2], store[5]]
        except DataError as error:
            assert "000001.frames: is damaged" in str(error)
        else:  # a byte that says nothing: the header's padding, the version
            assert all(np.array_equal(own, frames(row)) for own, row in zip(heard, (2, 5), strict=True))
    path.write_bytes(whole[:-1])
    with pytest.raises(DataError, match=r"000001\.frames: is damaged or missing; remove it and run"):
        FrameStore(tmp_path)[2]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    rows = np.array([1, 2, 7], np.int32)
    with pytest.raises(DataError, match="holds no frames; make them with `dragoman encode`"):
        open_frames(tmp_path, rows, MADE_WITH)
    filled(tmp_path, rows.tolist(), 2)
    with pytest.raises(DataError, match="its frames were made with another encoder; encode into another folder"):
        open_frames(tmp_path, rows, {**MADE_WITH, "encoder": "f"})
    with pytest.raises(DataError, match="lacks 1 of 2 utterances"):
        open_frames(tmp_path, np.array([2, 3]), MADE_WITH)
    with pytest.raises(DataError, match="was begun for other rows"):
        new_frames(tmp_path, rows[:2], 2, MADE_WITH)
    (tmp_path / "000001.frames").unlink()
    with pytest.raises(DataError, match=r"not complete \(1 of 2 files are missing\); run `dragoman encode` again"):
        open_frames(tmp_path, rows, MADE_WITH)
    (tmp_path / "rows").write_bytes(b"")
    with pytest.raises(DataError, match="rows: cannot be read; remove"):
        open_frames(tmp_path, rows, MADE_WITH)


def test_bf16_comes_back_to_the_bit_and_padding_is_zero() -> None:
    values = [torch.randn(size, 3, dtype=torch.bfloat16) for size in (2, 4)]
    padded, lengths = pad_frames([value.view(torch.int16).numpy().view(np.uint16) for value in values])
    assert padded.dtype is torch.bfloat16 and lengths.tolist() == [2, 4]
    assert torch.equal(padded[0, :2], values[0]) and torch.equal(padded[1], values[1]) and not padded[0, 2:].any()
