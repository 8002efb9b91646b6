"""What runs/report_small.py measures and how its tables say it."""

from __future__ import annotations

import json
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import small_dev
import toy
from report_small import ADAPTER, BOTH, CASCADE, CEILING, Report
from small_recordings import PAUSE_S, _write_long, music, nothing_said, silences

from dragoman.evaluation import significance
from dragoman.evaluation.intervals import estimates
from dragoman.model.bases.fetch import is_fetched
from dragoman.records import read_hypotheses

HYPOTHESES = Path(__file__).parents[1] / "evaluation"
SPEECH, TEXT = (read_hypotheses(HYPOTHESES / f"{name}.jsonl") for name in ("speech", "text"))


@pytest.fixture
def fewer(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trials, where their number does not matter."""
    monkeypatch.setattr(significance, "TRIALS", 100)
    monkeypatch.setattr(significance, "RESAMPLES", 100)
    drawn = (significance._flips, significance._resamples)
    for cache in drawn:
        cache.cache_clear()
    yield
    for cache in drawn:
        cache.cache_clear()


def test_the_three_ways_stand_below_their_ceiling(fewer: None, tmp_path: Path) -> None:
    evaluate = small_dev.Evaluator("small", tmp_path, threads=1)
    base = toy.recipe(decoding={"transcript_by": "whisper", "translate_from": "transcript"})
    found = {ADAPTER: SPEECH, CASCADE: TEXT, BOTH: SPEECH}
    rows = Report(evaluate, base, [1], None)._three_ways(1, TEXT, found)
    assert [row[2] for row in rows[-4:]] == [CEILING, ADAPTER.name, f"**{CASCADE.name}**", BOTH.name]
    *_, ceiling, adapter, cascade, both = rows
    assert {row[0] for row in rows[-4:]} == {"all (100)"} and both[3:] == adapter[3:]
    assert cascade[3:5] == ceiling[3:5] and cascade[6:] == ("", "100.0 [100.0, 100.0]")
    chrf = {rows is SPEECH: estimates(rows, "chrF")["all"].value for rows in (SPEECH, TEXT)}
    assert adapter[6].startswith(f"{chrf[True] - chrf[False]:+.1f}")
    assert adapter[7].startswith(f"{100 * chrf[True] / chrf[False]:.1f} [")


def test_only_people_s_sentences_are_taken_and_stories_are_texts_both_ways(tmp_path: Path) -> None:
    row = {"language": "spa", "text": "agua", "duration_s": 2.0, "human": "yes", "translations": {}}
    told = {"audio": "storybooks/spa-0007-01.mp3", "translations": {"eng": "water", "deu": "Wasser", "jpn": "水"}}
    rows = [
        row | told,
        row | told | {"audio": "storybooks/ara-0007-01.mp3", "language": "ara", "text": "ماء"},
        row | {"audio": "long/spa.flac", "human": "UNSURE"},
        row | {"audio": "fsdd/1.wav", "language": "eng"},
        row | {"audio": "misc/1.wav", "language": "eng"},
    ]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    sources, targets = ["eng", "deu", "spa"], ["eng", "deu", "spa"]
    (story,) = small_dev.stories(tmp_path, sources, targets)
    assert (story.language, story.translations) == ("spa", {"eng": "water", "deu": "Wasser"})
    assert [one.id for one in small_dev.readings(tmp_path, sources)] == ["misc/1"]
    texts = {one.language: one.translations for one in small_dev.parallel_texts(tmp_path, sources, targets)}
    assert texts == {"eng": {"deu": "Wasser", "spa": "agua"}, "deu": {"eng": "water"}, "spa": {"eng": "water"}}


def test_a_page_gets_a_table_between_its_markers_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a -->\nold\n<!-- /a -->\nafter\n")
    for text in ("new\n", "newer\n"):
        small_dev.put_between_markers(page, "a", text)
        assert page.read_text() == f"before\n<!-- a -->\n{text}<!-- /a -->\nafter\n"
    with pytest.raises(SystemExit, match="has no <!-- b -->"):
        small_dev.put_between_markers(page, "b", "")


def test_a_long_recording_is_clips_round_and_round(tmp_path: Path) -> None:
    rows = [one.model_copy(update={"audio": str(tmp_path / one.audio)}) for one in toy.write_corpus(tmp_path)[:2]]
    said = _write_long(tmp_path / "long.wav", rows, hours=5 / 3600)
    with wave.open(str(tmp_path / "long.wav")) as file:
        length_s = file.getnframes() / 16000
    each = [(one.duration_s or 0) + PAUSE_S for one in rows]
    assert 5 <= length_s < 5 + max(each)
    rounds = said.split(rows[0].text)
    assert len(rounds) > 2 and {part.strip() for part in rounds[1:-1]} == {rows[1].text}


def test_what_says_nothing_is_within_full_scale() -> None:
    for samples in [*silences(), music(0)]:
        assert np.isfinite(samples).all() and np.abs(samples).max() <= 1
    assert not silences()[0].any()


@pytest.mark.base_model
def test_small_writes_nothing_where_nothing_is_said(tmp_path: Path) -> None:
    """Tones of which the VAD takes two for speech, silence, and music, by the way that it translates by default."""
    if missing := [name for name in ("whisper-base", "gemma-3-270m") if not is_fetched(name)]:
        pytest.skip(f"{missing[0]} is not here; run `dragoman fetch {missing[0]}`")
    counted = nothing_said("small", tmp_path / "none", tmp_path / "out", {"default": ()}, 1)
    assert [int(row[1]) for row in counted] == [0, 12, 9, 8] and {row[2] for row in counted} == {"0"}
