"""From items to examples: who translates whom, what is drawn, what goes to the machine at once."""

from __future__ import annotations

import pickle
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import TEXTS, recipe, stage, tokenizer, write_corpus
from toy import examples as noise

from dragoman.data.examples import Examples, TextEncoder
from dragoman.data.index import open_index
from dragoman.data.index.selection import Selection
from dragoman.records import read_manifest, write_rows


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_corpus(tmp_path)
    return tmp_path / "train.jsonl"


def examples_of(manifest: Path, **plan: Any) -> tuple[Selection, Examples]:
    """The items of a stage of this plan, and what makes examples of them."""
    limits = {key: plan.pop(key) for key in ("micro_batch", "micro_tokens") if key in plan}
    chosen = recipe(stages=[stage(plan.pop("name", "srt"), **plan)])
    indexes = [open_index(manifest)] * len(chosen.stages[0].data)
    selection = Selection(indexes, chosen.stages[0], chosen)
    return selection, Examples(indexes, chosen.stages[0], chosen, tokenizer(), **limits)


def test_several_targets_share_one_mel(data: Path) -> None:
    selection, examples = examples_of(data, targets=2)
    draw = next(draw for draw in map(selection.draw, range(12)) if examples.utterance(draw).id == "eng1")
    decode = examples.text.tokenizer.decode
    example = examples.example(draw)
    assert [decode(row.prompt) for row in example.rows] == ["<|eng|><|deu|>", "<|eng|><|fra|>"]
    assert [decode(row.answer) for row in example.rows] == [
        "we go home<|eng|><|deu|> wir gehen heim<|end|>",
        "we go home<|eng|><|fra|> nous rentrons<|end|>",
    ]
    (batch,) = examples.micro_batches([draw, draw])
    assert len(batch.features) == 2 and batch.utterance_of.tolist() == [0, 0, 1, 1]


def test_targets_take_turns_and_follow_from_seed_visit_and_number(data: Path) -> None:
    selection, examples = examples_of(data, tasks={"srt": 1.0, "asr": 1.0})
    rows = [examples.example(selection.draw(0, visit)).rows for visit in range(40)]
    assert all(len(row) == 1 for row in rows)
    prompts = Counter(examples.text.tokenizer.decode(row[0].prompt) for row in rows)
    assert set(prompts) == {"<|eng|>", "<|eng|><|deu|>", "<|eng|><|fra|>"} and prompts["<|eng|>"] > 10
    again = pickle.loads(pickle.dumps(examples))  # as a worker process gets it
    assert [again.example(selection.draw(0, visit)).rows for visit in reversed(range(40))] == rows[::-1]


def test_targets_are_found_among_all_recordings_and_no_others_are_used(data: Path) -> None:
    """Only English speech is trained on, but its translations are the texts of the other recordings."""
    source = {"name": "train", "sources": ["eng"], "targets": ["fra"]}
    selection, examples = examples_of(data, data=[source], targets=2)
    found = [examples.utterance(selection.draw(number)) for number in range(len(selection))]
    assert [(row.language, row.translations) for row in found] == [("eng", {"fra": text}) for text in TEXTS["fra"]]
    assert all(len(examples.example(selection.draw(number)).rows) == 1 for number in range(4))


def test_without_translations_only_asr_is_asked(data: Path) -> None:
    rows = [row.model_copy(update={"sentence": None, "audio": Path(row.audio).name}) for row in read_manifest(data)]
    write_rows(data, rows)
    selection, examples = examples_of(data, tasks={"srt": 0.99, "asr": 0.01})
    assert len(selection) == 12
    drawn = [examples.example(selection.draw(0, visit)).rows for visit in range(5)]
    assert {len(row.prompt) for rows in drawn for row in rows} == {1}
    assert len(examples_of(data, name="smt")[0]) == 0


@pytest.mark.parametrize("targets", [1, 2])
def test_capped_directions_are_asked_once_each_an_epoch(data: Path, targets: int) -> None:
    selection, examples = examples_of(data, max_per_direction=2, targets=targets, schedule={"batch": 3})
    per_epoch = -(-len(selection) // 3)
    epochs = []
    for epoch in range(4):
        asked: list[tuple[str, str]] = []
        for step in islice(selection.order().steps(epoch * per_epoch), per_epoch):
            for draw in selection.draws(step):
                task, codes = examples.asked(draw, examples.random(draw))
                assert task == "srt" and 1 <= len(codes) <= targets
                asked += [(examples.utterance(draw).id, code) for code in codes]
        assert len(set(asked)) == len(asked) == 12  # 6 directions, 2 of each
        assert set(Counter((name[:3], code) for name, code in asked).values()) == {2}
        epochs.append(asked)
    assert all(set(asked) == set(epochs[0]) for asked in epochs) and len({*map(tuple, epochs)}) == 4


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(10, 200), st.integers(1, 3)), min_size=1), st.integers(1, 6), st.integers(1, 250))
def test_micro_batches_keep_to_the_tokens_and_lose_nothing(
    data: Path, sizes: list[tuple[int, int]], micro_batch: int, micro_tokens: int
) -> None:
    _, made = examples_of(data, micro_batch=micro_batch, micro_tokens=micro_tokens)
    step = noise(*zip(*sizes, strict=True))
    parts = made._cut(step)
    for part in parts:
        rows = sum(len(example.rows) for example in part)
        assert len(part) == 1 or (len(part) <= micro_batch and rows * made._widest(part) <= micro_tokens)
    assert sorted(id(example) for part in parts for example in part) == sorted(map(id, step))
    unlimited = examples_of(data, micro_batch=micro_batch)[1]._cut(step)
    assert [id(example) for part in unlimited for example in part] == list(map(id, sorted(step, key=made._positions)))
    assert {len(part) for part in unlimited[:-1]} <= {micro_batch}


def test_prompt_and_answer_are_tokenised_apart_and_end_with_the_end() -> None:
    text = TextEncoder(tokenizer())
    end = text.tokenizer.eos_token_id
    assert text.prompt("the c") + text.plain("at") != text.plain("the cat")
    assert text.answer("the cat") == (*text.plain("the cat"), end)
    assert text.answer("") == (end,)
    assert text.answer("the ", "cat") == (*text.plain("the "), *text.plain("cat"), end)


def test_ctc_gets_the_transcript_only_where_it_is_asked_for(data: Path) -> None:
    for weight in (0.0, 0.5):
        selection, examples = examples_of(data, name="asr", ctc_weight=weight)
        draw = selection.draw(0)
        example = examples.example(draw)
        assert example.transcript == (examples.text.plain(examples.utterance(draw).text) if weight else ())
        assert (
            example.features.dtype == np.float32 and abs(example.features.shape[1] - selection.order().lengths[0]) <= 2
        )
