"""From utterances to examples: who translates whom, what is filtered, what is drawn."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy import TEXTS, recipe, stage, tokenizer, write_corpus

from dragoman.data.examples import StageExamples, TextEncoder, select, usable, with_translations
from dragoman.errors import DataError
from dragoman.recipe import Source, Stage
from dragoman.records import Utterance, read_manifest


def utterance(name: str, language: str, text: str = "x", **more: Any) -> Utterance:
    return Utterance(id=name, audio=f"{name}.flac", language=language, text=text, **more)


def the_stage(name: str = "srt", **over: Any) -> Stage:
    return recipe(stages=[stage(name, **over)]).stages[0]


@pytest.fixture
def utterances(tmp_path: Path) -> list[Utterance]:
    write_corpus(tmp_path)
    return with_translations(read_manifest(tmp_path / "train.jsonl"), list(TEXTS))


def test_recordings_of_one_sentence_translate_each_other() -> None:
    rows = [
        utterance("a", "eng", "one", sentence="1"),
        utterance("b", "deu", "eins", sentence="1", translations={"fra": "un", "eng": "own"}),
        utterance("c", "deu", "noch eins", sentence="1"),
        utterance("d", "fra", "deux", sentence="2"),
        utterance("e", "eng", "alone", translations={"deu": "allein", "nld": "alleen"}),
    ]
    found = [row.translations for row in with_translations(rows, ["eng", "deu", "fra"])]
    assert found == [{"deu": "eins"}, {"eng": "own", "fra": "un"}, {"eng": "one"}, {}, {"deu": "allein"}]


def test_filters() -> None:
    rows = [
        utterance("a", "eng", duration_s=2.0, translations={"deu": "1", "fra": "2"}),
        utterance("b", "deu", duration_s=2.0, translations={"eng": "1"}),
        utterance("c", "eng", duration_s=9.0),
    ]

    def ids(**filters: Any) -> list[str]:
        return [row.id for row in select(rows, Source(name="x", **filters), 0)]

    assert ids() == ["a", "b", "c"]
    assert ids(sources=["eng"]) == ["a", "c"]
    assert ids(max_duration_s=2.0) == ["a", "b"]
    assert [row.translations for row in select(rows, Source(name="x", targets=["fra"]), 0)] == [{"fra": "2"}, {}, {}]
    assert [row.id for row in usable(rows, the_stage("srt"))] == ["a", "b"]
    assert usable(rows, the_stage("asr")) == usable(rows, the_stage(tasks={"asr": 0.1, "srt": 0.9})) == rows


def test_a_cap_is_per_language_drawn_by_seed_and_keeps_the_order() -> None:
    rows = [utterance(f"{code}{number}", code) for number in range(20) for code in ("eng", "deu")] + [
        utterance("f", "fra")
    ]
    capped = [select(rows, Source(name="x", max_per_language=5), seed) for seed in (0, 0, 1)]
    assert Counter(row.language for row in capped[0]) == {"eng": 5, "deu": 5, "fra": 1}
    assert capped[0] == capped[1] != capped[2]
    assert [row for row in rows if row in capped[0]] == capped[0]


def test_several_targets_share_one_mel(utterances: list[Utterance]) -> None:
    chosen = recipe(stages=[stage("srt", targets=2)])
    examples = StageExamples(utterances, chosen.stages[0], chosen, tokenizer())
    number = next(n for n, u in enumerate(examples.utterances) if u.id == "eng1")
    example = examples.example(0, number)
    decode = examples.text.tokenizer.decode
    assert [decode(row.prompt) for row in example.rows] == ["<|eng|><|deu|>", "<|eng|><|fra|>"]
    assert [decode(row.answer) for row in example.rows] == [
        "we go home<|eng|><|deu|> wir gehen heim<|end|>",
        "we go home<|eng|><|fra|> nous rentrons<|end|>",
    ]
    batch = examples.batch(0, [number, number])
    assert len(batch.mel) == 2 and batch.utterance_of.tolist() == [0, 0, 1, 1]


def test_targets_take_turns_and_follow_from_seed_epoch_and_number(utterances: list[Utterance]) -> None:
    chosen = recipe(stages=[stage("srt", tasks={"srt": 1.0, "asr": 1.0})])
    examples = StageExamples(utterances, chosen.stages[0], chosen, tokenizer())
    rows = [examples.example(epoch, 0).rows for epoch in range(40)]
    assert all(len(row) == 1 for row in rows)
    prompts = Counter(examples.text.tokenizer.decode(row[0].prompt) for row in rows)
    assert set(prompts) == {"<|eng|>", "<|eng|><|deu|>", "<|eng|><|fra|>"} and prompts["<|eng|>"] > 10
    again = pickle.loads(pickle.dumps(examples))  # as a worker process gets it
    assert [again.example(epoch, 0).rows for epoch in reversed(range(40))] == rows[::-1]


def test_without_translations_only_asr_is_asked(utterances: list[Utterance]) -> None:
    alone = [u.model_copy(update={"translations": {}}) for u in utterances]
    chosen = recipe(stages=[stage("srt", tasks={"srt": 0.99, "asr": 0.01}), stage("smt")])
    examples = StageExamples(alone, chosen.stages[0], chosen, tokenizer())
    assert len(examples.utterances) == len(alone)
    assert {len(row.prompt) for epoch in range(5) for row in examples.example(epoch, 0).rows} == {1}
    with pytest.raises(DataError, match="stage smt: no utterance is left"):
        StageExamples(alone, chosen.stages[1], chosen, tokenizer())


def test_prompt_and_answer_are_tokenised_apart_and_end_with_the_end() -> None:
    text = TextEncoder(tokenizer())
    end = text.tokenizer.eos_token_id
    assert text.prompt("the c") + text.plain("at") != text.plain("the cat")
    assert text.answer("the cat") == (*text.plain("the cat"), end)
    assert text.answer("") == (end,)


def test_ctc_gets_the_transcript_only_where_it_is_asked_for(utterances: list[Utterance]) -> None:
    for weight in (0.0, 0.5):
        chosen = recipe(stages=[stage("asr", ctc_weight=weight)])
        examples = StageExamples(utterances, chosen.stages[0], chosen, tokenizer())
        example = examples.example(0, 0)
        assert example.transcript == (examples.text.plain(examples.utterances[0].text) if weight else ())
        assert example.mel.dtype == np.float32 and abs(example.mel.shape[1] - examples.lengths[0]) <= 2
