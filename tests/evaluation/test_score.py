"""Scoring a file of hypotheses: every row counts, each utterance's transcript once, and no torch."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest
import sacrebleu
from rich.console import Console

from dragoman.errors import DataError, LanguageError
from dragoman.evaluation.metrics import METRICS, Score, ScoringPair, choose
from dragoman.evaluation.score import ScoringJob, run, score, table, to_json
from dragoman.records import Hypothesis, write_rows
from dragoman.text.languages import Language

FOUR = choose(["WER", "CER", "BLEU", "chrF"])


def row(id: str, source: str, target: str, **fields: Any) -> Hypothesis:
    known = {
        "transcript": "one two three four",
        "reference_transcript": "one two three four",
        "translation": "eins zwei drei vier",
        "reference": "eins zwei drei vier",
    }
    return Hypothesis(id=id, source=source, target=target, **{**known, **fields})


def value(scores: list[Score], metric: str, direction: str) -> float:
    return by_name(scores)[metric, direction].value


def by_name(scores: list[Score]) -> dict[tuple[str, str], Score]:
    return {(s.metric, s.direction): s for s in scores}


def test_a_table_by_hand() -> None:
    scores = score(
        [
            row("1", "eng", "deu"),
            row("1", "eng", "fra", translation="", reference="un deux trois quatre"),
            row("2", "eng", "deu", transcript="one two", truncated=True),
            row("3", "jpn", "deu", transcript="今日木", reference_transcript="今日は"),
        ],
        FOUR,
    )
    assert [(s.metric, s.direction, round(s.value, 3), s.count) for s in scores] == [
        ("WER", "eng", 25.0, 2),
        ("WER", "all", 25.0, 2),
        ("CER", "jpn", 33.333, 1),
        ("CER", "all", 33.333, 1),
        ("BLEU", "eng-deu", 100.0, 2),
        ("BLEU", "eng-fra", 0.0, 1),
        ("BLEU", "jpn-deu", 100.0, 1),
        ("BLEU", "all", 66.667, 4),
        ("chrF", "eng-deu", 100.0, 2),
        ("chrF", "eng-fra", 0.0, 1),
        ("chrF", "jpn-deu", 100.0, 1),
        ("chrF", "all", 66.667, 4),
        ("empty", "eng-deu", 0, 2),
        ("empty", "eng-fra", 1, 1),
        ("empty", "jpn-deu", 0, 1),
        ("empty", "all", 1, 4),
        ("truncated", "eng-deu", 1, 2),
        ("truncated", "eng-fra", 0, 1),
        ("truncated", "jpn-deu", 0, 1),
        ("truncated", "all", 1, 4),
    ]


def test_targets_of_one_utterance_count_its_transcript_once() -> None:
    wrong, right = row("1", "eng", "deu", transcript=""), row("2", "eng", "deu")
    more = [row("1", "eng", target, transcript="") for target in ("fra", "ita", "spa")]
    assert value(score([wrong, right]), "WER", "eng") == value(score([wrong, right, *more]), "WER", "eng") == 50.0


def test_an_empty_translation_is_scored_as_empty() -> None:
    hypotheses = [row("1", "eng", "deu"), row("2", "eng", "deu", translation="")]
    direct = sacrebleu.corpus_bleu(["eins zwei drei vier", ""], [["eins zwei drei vier"] * 2]).score
    assert 0 < direct < 100
    assert value(score(hypotheses), "BLEU", "eng-deu") == direct


def test_the_order_of_rows_does_not_matter() -> None:
    rows = [row(str(n), s, t) for n, (s, t) in enumerate([("eng", "deu"), ("fra", "deu"), ("eng", "fra")])]
    assert score(rows) == score(rows[::-1])


def test_signatures_name_the_tokenizer_of_the_target() -> None:
    scores = by_name(score([row("1", "eng", "jpn"), row("1", "eng", "deu")]))
    assert "tok:char" in scores["BLEU", "eng-jpn"].signature
    assert "tok:13a" in scores["BLEU", "eng-deu"].signature
    mean = scores["BLEU", "all"].signature
    assert mean.startswith("mean:2|") and "tok:13a" in mean and "tok:char" in mean


def test_a_missing_reference_is_an_error_that_names_the_row() -> None:
    with pytest.raises(DataError, match=r"'2' \(eng-deu\) has no reference translation"):
        score([row("1", "eng", "deu"), row("2", "eng", "deu", reference=None)])
    with pytest.raises(DataError, match=r"'2' \(eng-deu\) has no reference transcript"):
        score([row("1", "eng", "deu"), row("2", "eng", "deu", reference_transcript=None)])


def test_what_is_written_where_nothing_is_said_is_inserted_and_counted() -> None:
    noise = {"reference_transcript": "", "reference": ""}
    rows = [
        row("1", "eng", "deu"),
        row("2", "eng", "deu", transcript="thank you", translation="danke schön", **noise),
        row("3", "eng", "deu", transcript="", translation="", **noise),
        row("4", "fra", "deu", transcript="merci", translation="danke", **noise),
        row("5", "fra", "fra", transcript="", translation="", **noise),
    ]
    scores = by_name(score(rows, FOUR))
    assert scores["WER", "eng"].value == 50.0  # two words more than the four that were said
    assert 0 < scores["BLEU", "eng-deu"].value < 100 and scores["BLEU", "eng-deu"].count == 3
    assert not {("WER", "fra"), ("BLEU", "fra-deu")} & scores.keys()  # there is nothing to be right about
    told = {key: (one.value, one.count) for key, one in scores.items() if key[0] in ("hallucinated", "empty")}
    assert told == {
        ("hallucinated", "eng-deu"): (1, 2),
        ("hallucinated", "fra-deu"): (1, 1),
        ("hallucinated", "fra"): (0, 1),
        ("hallucinated", "all"): (2, 4),
        ("empty", "eng-deu"): (0, 1),  # of the others it is right to be empty
        ("empty", "all"): (0, 1),
    }


def test_another_unicode_form_than_the_reference_is_said(caplog: pytest.LogCaptureFixture) -> None:
    composed, decomposed = (normalize(form, "Tiếng Việt rất đẹp, phải không?") for form in ("NFC", "NFD"))

    def told(text: str, reference: str) -> float:
        caplog.clear()
        return value(score([row("1", "eng", "vie", translation=text, reference=reference)], FOUR), "BLEU", "eng-vie")

    assert told(composed, decomposed) < 50  # sacreBLEU's number
    assert "eng-vie: 1 texts are in another Unicode form (NFC, NFD) than their references" in caplog.text
    assert told(composed, composed) == told(decomposed, decomposed) == pytest.approx(100) and not caplog.text
    assert told("Tieng Viet", decomposed) < 50 and not caplog.text  # wrong, but in no other form


def test_a_repeated_pair_is_an_error() -> None:
    with pytest.raises(DataError, match="'1' has two hypotheses in deu"):
        score([row("1", "eng", "deu"), row("1", "eng", "deu", translation="x")])


def test_one_utterance_has_one_source_and_one_reference_transcript() -> None:
    for other in (row("1", "fra", "ita"), row("1", "eng", "ita", reference_transcript="five")):
        with pytest.raises(DataError, match="rows of utterance '1' differ"):
            score([row("1", "eng", "deu"), other])


def test_nothing_to_score_and_unknown_language() -> None:
    with pytest.raises(DataError, match="no hypotheses"):
        score([])
    with pytest.raises(LanguageError):
        score([row("1", "eng", "gibberish")])


def test_a_system_that_only_translates_has_no_error_rate() -> None:
    metrics = {s.metric for s in score([row("1", "eng", "deu", transcript="")], FOUR)}
    assert metrics == {"BLEU", "chrF", "empty", "truncated"}
    assert metrics == {s.metric for s in score([row("1", "eng", "deu", reference_transcript=None)], FOUR)}


def test_transcription_alone() -> None:
    rows = [row("1", "eng", "eng", translation="", reference=None), row("2", "eng", "eng", transcript="")]
    scores = by_name(score(rows))
    assert scores["WER", "eng"].value == 50.0
    assert scores["empty", "eng"].value == 1
    assert ("BLEU", "eng") not in scores
    assert "eng" in shown(list(scores.values()))


def test_a_chosen_metric_alone() -> None:
    scores = score([row("1", "eng", "deu")], {"BLEU": METRICS["BLEU"]})
    assert {s.metric for s in scores} == {"BLEU", "empty", "truncated"}


def test_other_things_can_be_counted() -> None:
    scores = score([row("1", "eng", "deu"), row("2", "eng", "deu")], {}, {"second": lambda row: row.id == "2"})
    assert [(s.metric, s.direction, s.value, s.count) for s in scores] == [
        ("second", "eng-deu", 1, 2),
        ("second", "all", 1, 2),
    ]


class Sources:
    """A metric of one's own, which looks at the sources."""

    side = "translation"

    def __init__(self, language: Language) -> None:
        self.signature = f"Sources|language:{language.code}"

    @staticmethod
    def suits(language: Language) -> bool:
        return language.code == "deu"

    def score(self, pairs: Sequence[ScoringPair]) -> float:
        return float(sum(pair.source == "one two three four" for pair in pairs))


def test_a_metric_from_elsewhere_sees_the_sources() -> None:
    rows = [row("1", "eng", "deu"), row("2", "eng", "deu", reference_transcript="five"), row("1", "eng", "fra")]
    found = [(s.direction, s.value, s.signature) for s in score(rows, {"Sources": Sources}, {})]
    assert found == [("eng-deu", 1.0, "Sources|language:deu"), ("all", 1.0, "mean:1|Sources|language:deu")]
    missing = [row("1", "eng", "deu", reference_transcript=None)]
    assert score(missing, {"Sources": Sources}, {})[0].value == 0.0


def test_one_direction_can_be_scored_in_another_process() -> None:
    pairs = [ScoringPair("eins zwei", "eins zwei drei", "one two three")]
    for name, kind in choose().items():
        job = ScoringJob(name, kind, "deu" if kind.side == "transcript" else "eng-deu", pairs)
        assert run(pickle.loads(pickle.dumps(job))) == run(job)


def test_json_comes_back() -> None:
    scores = score([row("1", "eng", "deu"), row("2", "jpn", "deu"), row("3", "hin", "deu")])
    assert [Score(**fields) for fields in json.loads(to_json(scores))] == scores


def test_the_table_shows_values_summary_and_signatures() -> None:
    scores = score([row("1", "eng", "deu", transcript="one two", truncated=True), row("2", "jpn", "deu")], FOUR)
    lines = [line.replace("│", " ").split() for line in shown(scores).splitlines()]
    assert ["eng-deu", "50.00", "100.00", "100.00", "0", "1"] in lines
    assert ["all", "50.00", "0.00", "100.00", "100.00", "0", "1"] in lines
    assert not [line for line in lines if line[:1] == ["eng"]]
    assert "tok:13a" in shown(scores) and "mean:" not in shown(scores)


def shown(scores: list[Score]) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(table(scores))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_scoring_a_file_loads_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "hypotheses.jsonl"
    write_rows(path, [row("1", "eng", "deu")])
    code = (
        "import sys; from dragoman.records import read_hypotheses; from dragoman.evaluation import generate;"
        "from dragoman.evaluation.score import score, table; table(score(read_hypotheses(sys.argv[1])));"
        "print(*{'torch', 'transformers', 'peft'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(path)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == ""


def test_processes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(str(n), s, t, translation=f"eins {n}") for n in range(6) for s, t in (("eng", "deu"), ("jpn", "fra"))]
    rows = [r.model_copy(update={"id": r.id + r.source}) for r in rows]
    alone = score(rows)
    monkeypatch.setattr("dragoman.evaluation.score._WORTH_STARTING", 1)
    progress = list[tuple[int, int]]()
    assert score(rows, workers=2, on_progress=lambda *numbers: progress.append(numbers)) == alone
    assert progress == [(done, len(progress)) for done in range(1, len(progress) + 1)]


def test_a_mistake_found_in_another_process_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dragoman.evaluation.score._WORTH_STARTING", 1)
    with pytest.raises(DataError, match="contain no words"):
        score([row("1", "eng", "deu", reference_transcript="...")], workers=2)
