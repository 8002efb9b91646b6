"""Filters, caps, shares: what a stage draws from."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import recipe, stage

from dragoman.data.index import open_index
from dragoman.data.index.selection import Selection
from dragoman.errors import RecipeError
from dragoman.recipe import Stage
from dragoman.records import Utterance, write_rows
from dragoman.training.inputs.manifests import held_out

CODES = ["eng", "deu", "fra"]


def selection(folder: Path, rows: list[Utterance], name: str = "srt", **plan: Any) -> Selection:
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "train.jsonl", rows)
    chosen = recipe(stages=[stage(name, **plan)])
    return Selection([open_index(folder / "train.jsonl")] * len(chosen.stages[0].data), chosen.stages[0], chosen)


def utterance(name: str, language: str, text: str = "x", **more: Any) -> Utterance:
    return Utterance(id=name, audio=f"{name}.flac", language=language, text=text, **more)


def n_way(sentences: int, codes: list[str]) -> list[Utterance]:
    return [utterance(f"{code}{n}", code, sentence=str(n)) for code in codes for n in range(sentences)]


def ids(chosen: Selection) -> list[str]:
    draws = map(chosen.draw, range(len(chosen)))
    return [chosen.indexes[draw.source].utterance(draw.row, []).id for draw in draws]


def test_filters(tmp_path: Path) -> None:
    rows = [
        utterance("a", "eng", duration_s=2.0, translations={"deu": "1", "fra": "2"}),
        utterance("b", "deu", duration_s=2.0, translations={"eng": "1"}),
        utterance("c", "eng", duration_s=9.0),
        utterance("d", "eng", translations={"deu": ""}),
        utterance("e", "eng", "", translations={"deu": "1"}),
        utterance("f", "nld", translations={"deu": "1"}),
    ]

    def kept(name: str = "srt", tasks: dict[str, float] | None = None, **filters: Any) -> list[str]:
        plan = {"data": [{"name": "x", **filters}], **({"tasks": tasks} if tasks else {})}
        return ids(selection(tmp_path, rows, name, **plan))

    assert kept("asr") == ["a", "b", "c", "d"] == kept("srt", {"srt": 0.9, "asr": 0.1})
    assert kept("srt") == kept("smt") == ["a", "b"]
    assert kept("st") == ["a", "b", "e"]
    assert kept("asr", sources=["eng"]) == ["a", "c", "d"]
    assert kept("asr", max_duration_s=2.0) == ["a", "b", "d"]
    assert kept("srt", targets=["fra"]) == ["a"] == kept("srt", {"srt": 0.9, "asr": 0.1}, targets=["fra"])


def test_fewer_hours_are_part_of_more_in_every_stage(tmp_path: Path) -> None:
    rows = [utterance(f"{number:03}", "eng", duration_s=36.0 * (1 + number % 3)) for number in range(100)]
    at_most = {
        hours: selection(tmp_path, rows, "asr", data=[{"name": "rows", "max_hours": hours}], schedule={"seed": seed})
        for seed, hours in enumerate((0.5, 1.0, 9.0))
    }
    half, whole, every = (set(ids(chosen)) for chosen in at_most.values())
    assert half < whole < every == {row.id for row in rows}
    for hours, kept in ((0.5, half), (1.0, whole)):
        heard = sum(row.duration_s or 0 for row in rows if row.id in kept) / 3600
        assert hours - 0.03 < heard <= hours
    short = selection(tmp_path, rows, "asr", data=[{"name": "rows", "max_hours": 1.0, "max_duration_s": 40.0}])
    assert set(ids(short)) == {id for id in whole if int(id) % 3 == 0}  # the hours are drawn before the filters


@settings(max_examples=25)
@given(st.lists(st.sampled_from(CODES), min_size=1, max_size=40), st.integers(1, 9), st.integers(0, 3))
def test_a_cap_is_per_language_and_drawn_by_seed(tmp_path: Path, codes: list[str], most: int, seed: int) -> None:
    rows = [utterance(f"{code}-{number}", code) for number, code in enumerate(codes)]
    plan = {"max_per_language": most, "schedule": {"seed": seed}}
    kept = ids(selection(tmp_path, rows, "asr", **plan))
    assert Counter(name[:3] for name in kept) == {code: min(most, count) for code, count in Counter(codes).items()}
    assert kept == [row.id for row in rows if row.id in kept] == ids(selection(tmp_path, rows, "asr", **plan))


def test_a_cap_counts_only_what_a_task_can_use(tmp_path: Path) -> None:
    rows = [utterance(f"{n}", "eng", translations={"deu": "1"} if n % 10 == 0 else {}) for n in range(100)]
    assert len(selection(tmp_path, rows, max_per_language=10)) == 10


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.sampled_from(CODES), st.integers(0, 5)), max_size=25), st.integers(1, 4), st.integers(1, 3)
)
def test_a_direction_has_as_many_pairs_as_it_may(
    tmp_path: Path, recordings: list[tuple[str, int]], most: int, together: int
) -> None:
    rows = [utterance(f"{code}-{n}", code, sentence=str(s)) for n, (code, s) in enumerate(recordings)]
    plan = {"max_per_direction": most, "targets": together}
    capped, whole = selection(tmp_path, rows, **plan), selection(tmp_path, rows)
    index = whole.indexes[0]
    able = Counter(
        (ids(whole)[n][:3], code) for n in range(len(whole)) for code in index.target_codes(whole.draw(n).row)
    )
    pairs: dict[int, list[str]] = {}
    parts = Counter()
    for draw in map(capped.draw, range(len(capped))):
        assert draw.pairs is not None and draw.part == parts[draw.row]
        pairs[draw.row] = whole.indexes[0].named(np.array(draw.pairs, np.uint64))
        parts[draw.row] += 1
    drawn = Counter((rows[row].language, code) for row, codes in pairs.items() for code in codes)
    assert drawn == {direction: min(most, count) for direction, count in able.items()}
    assert parts == {row: -(-len(codes) // together) for row, codes in pairs.items()}


def test_what_a_cap_keeps_is_drawn_from_everywhere(tmp_path: Path) -> None:
    """From each source, otherwise by another seed, and for each target by itself."""
    rows = [utterance(str(number), "eng") for number in range(200)]

    def kept(seed: int) -> list[tuple[int, int]]:
        plan = {"data": [{"name": "x"}, {"name": "y"}], "max_per_language": 100, "schedule": {"seed": seed}}
        chosen = selection(tmp_path, rows, "asr", **plan)
        return [(draw.source, draw.row) for draw in map(chosen.draw, range(len(chosen)))]

    assert 30 < sum(source for source, _ in kept(0)) < 70 and kept(0) != kept(1)
    assert len({row for _, row in kept(0)}) > 70
    heard = ids(selection(tmp_path, n_way(100, CODES), max_per_direction=10, targets=2))
    assert all(10 < sum(name.startswith(code) for name in set(heard)) <= 20 for code in CODES)


def test_what_validates_a_stage_is_not_capped(tmp_path: Path) -> None:
    write_rows(tmp_path / "valid.jsonl", n_way(9, ["eng", "deu"]))
    chosen = recipe(stages=[stage("srt", max_per_language=2, max_per_direction=1)])
    assert len(held_out(open_index(tmp_path / "valid.jsonl"), chosen.stages[0], chosen)[1]) == 18


def test_rows_that_no_direction_drew_are_left_out_and_those_without_targets_are_transcribed(tmp_path: Path) -> None:
    rows = [*n_way(20, ["eng", "deu"]), utterance("alone", "eng")]
    plan = {"max_per_direction": 3, "tasks": {"srt": 0.5, "asr": 0.5}}
    kept = ids(selection(tmp_path, rows, **plan))
    assert len(kept) == 7 and "alone" in kept


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.sampled_from(CODES), st.booleans()), min_size=1, max_size=40),
    st.integers(1, 9),
    st.integers(1, 3),
)
def test_caps_are_over_all_sources(
    tmp_path: Path, recordings: list[tuple[str, bool]], most: int, together: int
) -> None:
    """Two manifests, which number their languages differently."""
    texts = dict.fromkeys(CODES, "x")
    rows: list[list[Utterance]] = [[], [utterance("other", "afr")]]
    for number, (code, second) in enumerate(recordings):
        others = {other: text for other, text in texts.items() if other != code}
        rows[second].append(utterance(f"{code}{number}", code, translations=others))
    indexes = []
    for name, part in zip("ab", rows, strict=True):
        write_rows(tmp_path / f"{name}.jsonl", part)
        indexes.append(open_index(tmp_path / f"{name}.jsonl"))
    wanted = {code: min(most, count) for code, count in Counter(code for code, _ in recordings).items()}

    def capped(**plan: Any) -> Selection:
        chosen = recipe(stages=[stage("srt", data=[{"name": "a"}, {"name": "b"}], **plan)])
        return Selection(indexes, chosen.stages[0], chosen)

    assert Counter(name[:3] for name in ids(capped(max_per_language=most))) == wanted
    pairs = capped(max_per_direction=most, targets=together)
    whole = {(draw.source, draw.row): draw for draw in map(pairs.draw, range(len(pairs)))}
    drawn = Counter(
        (rows[source][row].language, code)
        for (source, row), draw in whole.items()
        for code in indexes[source].named(np.array(draw.pairs, np.uint64))
    )
    assert drawn == {(code, other): count for code, count in wanted.items() for other in CODES if other != code}


def test_many_languages_n_way(tmp_path: Path) -> None:
    """All 4,830 directions, each with its two pairs."""
    chosen = recipe(sources=["mcat-70"], targets=["mcat-70"], bases=None, encoder={"name": "x"}, llm={"name": "y"})
    rows = n_way(4, list(chosen.sources))
    write_rows(tmp_path / "train.jsonl", rows)
    plan = Stage.model_validate(stage("srt", max_per_direction=2, targets=4))
    index = open_index(tmp_path / "train.jsonl")
    found = Selection([index], plan, chosen)
    drawn = Counter(
        (rows[draw.row].language, code)
        for draw in map(found.draw, range(len(found)))
        if draw.part == 0 and draw.pairs
        for code in index.named(np.array(draw.pairs, np.uint64))
    )
    assert len(drawn) == 4830 and set(drawn.values()) == {2}


def drawn_languages(chosen: Selection, epochs: int = 3) -> Counter[tuple[int, str]]:
    """How many of each source and language come in this many epochs."""
    order = chosen.order()
    steps = islice(order.steps(0), epochs * -(-len(chosen) // order.batch))
    draws = [draw for step in steps for draw in chosen.draws(step)]
    return Counter((draw.source, chosen.indexes[draw.source].utterance(draw.row, []).language) for draw in draws)


def test_temperature_and_weights_give_the_shares_they_say(tmp_path: Path) -> None:
    rows = [
        utterance(f"{code}{n}", code) for code, count in (("eng", 64), ("deu", 16), ("fra", 1)) for n in range(count)
    ]

    def shares(**plan: Any) -> dict[tuple[int, str], int]:
        return dict(drawn_languages(selection(tmp_path, rows, "asr", **plan)))

    assert shares() == {(0, "eng"): 3 * 64, (0, "deu"): 3 * 16, (0, "fra"): 3}
    # sqrt: 8 : 4 : 1 of 81
    assert shares(temperature=2.0) == {(0, "eng"): 3 * 50, (0, "deu"): 3 * 25, (0, "fra"): 3 * 6}
    two = [{"name": "x", "sources": ["eng"], "weight": 1.0}, {"name": "y", "sources": ["deu", "fra"], "weight": 2.0}]
    assert shares(data=two) == {(0, "eng"): 3 * 27, (1, "deu"): 3 * 51, (1, "fra"): 3 * 3}
    with pytest.raises(RecipeError, match=r"stages\.0: .*some sources have a weight"):
        recipe(stages=[stage("asr", data=[two[0], {"name": "y"}])])


def test_shards_come_together_in_a_new_order_each_epoch(tmp_path: Path) -> None:
    rows = [
        Utterance(id=str(n), audio=f"s/{n // 10}.tar#{n}.flac", language="eng", text="x", duration_s=1.0 + n % 7)
        for n in range(120)
    ]
    order = selection(tmp_path, rows, "asr", shards_at_once=2, schedule={"batch": 4}).order()
    epochs = [[int(n) // 10 for step in islice(order.steps(30 * epoch), 30) for n in step.item] for epoch in range(2)]
    items = [int(n) for step in islice(order.steps(0), 30) for n in step.item]
    assert sorted(items) == list(range(120)) and epochs[0] != epochs[1]
    short = selection(tmp_path, rows, "asr", shards_at_once=1, schedule={"batch": 1}).order()  # a bucket: 64
    first = [int(step.item[0]) // 10 for step in islice(short.steps(0), 64)]
    assert len(set(first)) == 7


def test_languages_are_the_same_in_manifests_that_number_them_differently(tmp_path: Path) -> None:
    """English has number 0 in the one and 1 in the other, and one share of both."""
    folders = [("a", n_way(64, ["eng"])), ("b", [*n_way(36, ["eng"]), *n_way(4, ["deu"])])]
    for name, rows in folders:
        write_rows(tmp_path / f"{name}.jsonl", rows)
    chosen = recipe(stages=[stage("asr", data=[{"name": "a"}, {"name": "b"}], temperature=2.0)])
    indexes = [open_index(tmp_path / f"{name}.jsonl") for name, _ in folders]
    shares = Selection(indexes, chosen.stages[0], chosen).shares()
    assert shares is not None and [index.numbers["eng"] for index in indexes] == [0, 1]
    assert shares.group.tolist() == [1] * 64 + [1] * 36 + [0] * 4
    assert shares.quota.tolist() == [17, 87]  # 2 to 10, the roots of 4 and 100
