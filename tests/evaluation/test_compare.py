"""Comparing systems: the p-values are sacreBLEU's, and what it cannot say comes out as by hand.

speech.jsonl and text.jsonl are what the built-in model wrote from speech and from the transcripts of some of its
held-out sentences of Tatoeba (CC BY 2.0 FR): 40 deu-eng, 30 of the same deu-fra, 30 eng-fra.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sacrebleu.significance import PairedTest

from dragoman.errors import DataError
from dragoman.evaluation import significance
from dragoman.evaluation.compare import Comparison, compare, tallies, to_json
from dragoman.evaluation.metrics import METRICS, ScoringPair
from dragoman.evaluation.runs import Run, RunStats, read_run, write_run_stats
from dragoman.evaluation.score import score
from dragoman.evaluation.significance import DECOMPOSED
from dragoman.records import Hypothesis, read_hypotheses, write_rows
from dragoman.text.languages import LANGUAGES

FOLDER = Path(__file__).parent
SPEECH = read_hypotheses(FOLDER / "speech.jsonl")
TEXT = read_hypotheses(FOLDER / "text.jsonl")
NUMBERS = {id: number for number, id in enumerate(sorted({row.id for row in SPEECH}))}


def mixed(*thirds: int) -> list[Hypothesis]:
    """A system that wrote some utterances from the text and the rest from speech."""
    return [t if NUMBERS[s.id] % 3 in thirds else s for s, t in zip(SPEECH, TEXT, strict=True)]


WORSE, BETTER = mixed(0), mixed(1, 2)

Table = dict[tuple[str, str], Comparison]


@pytest.fixture
def fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials, where their number does not matter."""
    monkeypatch.setattr(significance, "TRIALS", 200)
    monkeypatch.setattr(significance, "RESAMPLES", 100)
    significance._flips.cache_clear()
    significance._resamples.cache_clear()


@pytest.fixture(autouse=True)
def drawn_anew() -> None:
    significance._flips.cache_clear()
    significance._resamples.cache_clear()


def compared(first: list[Hypothesis], second: list[Hypothesis], **options: Any) -> Table:
    options = {"metrics": ("WER", "BLEU", "chrF"), **options}
    rows = compare([Run("first", first), Run("second", second)], **options)
    return {(row.metric, row.direction): row for row in rows}


def said(words: str, reference: str = "a b c d", id: str = "1", target: str = "eng") -> Hypothesis:
    """A transcript, or a translation into another target, of four English words."""
    if target == "eng":
        return Hypothesis(id=id, source="eng", target="eng", transcript=words, reference_transcript=reference)
    return Hypothesis(id=id, source="eng", target=target, translation=words, reference=reference)


def of(rows: list[Hypothesis], direction: str) -> list[Hypothesis]:
    return sorted((row for row in rows if f"{row.source}-{row.target}" == direction), key=lambda row: row.id)


def test_a_system_is_worse_for_what_it_invents_in_silence(fewer: None) -> None:
    quiet = [said("a b c d"), said("", "", "2"), said("", "", "3")]
    table = compared(quiet, [said("a b c d"), said("thank you", "", "2"), said("", "", "3")], metrics=["WER"])
    row = table["WER", "eng"]
    assert (row.baseline_value, row.value, row.count, row.verdict) == (0.0, 50.0, 3, "worse")


# ------------------------------------------------------------------------------------------ against sacreBLEU


@pytest.fixture(scope="module")
def table() -> Table:
    significance._flips.cache_clear()
    significance._resamples.cache_clear()
    return compared(WORSE, BETTER)


@pytest.mark.parametrize("kind", ["bs", "ar"])
def test_p_values_are_sacrebleus(table: Table, kind: str) -> None:
    worse, better = of(WORSE, "deu-eng"), of(BETTER, "deu-eng")
    metrics = {name: DECOMPOSED[name](LANGUAGES["eng"]) for name in ("BLEU", "chrF")}
    systems = [("first", [row.translation for row in worse]), ("second", [row.translation for row in better])]
    _, found = PairedTest(systems, metrics, [[row.reference or "" for row in worse]], test_type=kind)()
    for metric, name in (("BLEU", "BLEU"), ("chrF", "chrF2")):
        row = table[metric, "deu-eng"]
        theirs: Any = found[name]
        assert (row.baseline_value, row.value) == (theirs[0].score, theirs[1].score)
        assert (row.p_bootstrap if kind == "bs" else row.p_randomisation) == theirs[1].p_value
        assert 0.0002 < theirs[1].p_value < 1  # not a case in which every method says the same


@pytest.mark.parametrize("kind", ["bs", "ar"])
def test_error_rates_go_through_sacrebleus_own_test_too(table: Table, kind: str) -> None:
    first, second = ({row.id: row for row in rows if row.source == "deu"} for rows in (WORSE, BETTER))
    systems = [(str(n), [rows[id].transcript for id in sorted(rows)]) for n, rows in enumerate((first, second))]
    references = [[first[id].reference_transcript or "" for id in sorted(first)]]
    _, found = PairedTest(systems, {"WER": DECOMPOSED["WER"]("deu")}, references, test_type=kind)()
    theirs: Any = found["error rate"]
    row = table["WER", "deu"]
    assert (row.p_bootstrap if kind == "bs" else row.p_randomisation) == theirs[1].p_value
    assert row.verdict == "better" and row.value < row.baseline_value


def test_the_command_line_of_sacrebleu_prints_the_same(table: Table, tmp_path: Path) -> None:
    worse, better = of(WORSE, "eng-fra"), of(BETTER, "eng-fra")
    columns = {
        "reference": [row.reference for row in worse],
        "first": [row.translation for row in worse],
        "second": [row.translation for row in better],
    }
    for name, lines in columns.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    command = [sys.executable, "-m", "sacrebleu", "reference", "-i", "first", "second", "-m", "bleu"]
    done = subprocess.run(
        [*command, "--paired-bs", "--format", "json", "--width", "6"], cwd=tmp_path, capture_output=True, text=True
    )
    theirs = json.loads(done.stdout)[1]["BLEU"]
    row = table["BLEU", "eng-fra"]
    assert (row.value, row.p_bootstrap) == pytest.approx((theirs["score"], theirs["p_value"]), abs=1e-6)


# -------------------------------------------------------------------------------------------------- by hand


def test_a_system_against_itself_is_a_tie_everywhere(fewer: None) -> None:
    rows = compare([Run("first", SPEECH), Run("second", SPEECH[::-1])])
    assert {(row.metric, row.direction) for row in rows} >= {("BLEU", "all"), ("chrF", "deu-eng"), ("WER", "all")}
    for row in rows:
        assert (row.verdict, row.p_bootstrap, row.p_randomisation) == ("equal", 1.0, 1.0)
    assert all((tally.better, tally.worse, tally.equal) == (0, 0, tally.directions) for tally in tallies(rows))


@pytest.mark.parametrize(("sentences", "least"), [(1, 1.0), (2, 0.5), (5, 2**-4), (10, 2**-9)])
def test_a_few_sentences_prove_nothing(sentences: int, least: float) -> None:
    first = [said("a b c x", id=str(n)) for n in range(sentences)]
    second = [said("a b c d", id=str(n)) for n in range(sentences)]
    row = compared(first, second)["WER", "eng"]
    assert (row.baseline_value, row.value, row.verdict) == (25.0, 0.0, "better")
    assert row.p_randomisation == least  # all or none exchanged: two of 2^k ways
    assert row.significant == (sentences == 10)


def test_randomisation_by_hand() -> None:
    # Better by one word in five sentences, worse in three: of 2^8 ways to exchange them, those with a sum of -2, 0 or
    # 2 are no more extreme: C(8, 4) + 2 C(8, 3) = 182. That leaves 74 of 256.
    right, wrong = "a b c d", "a b c x"
    first = [said(wrong if n < 5 else right, id=str(n)) for n in range(8)]
    second = [said(right if n < 5 else wrong, id=str(n)) for n in range(8)]
    row = compared(first, second)["WER", "eng"]
    assert (row.baseline_value, row.value) == pytest.approx((100 * 5 / 32, 100 * 3 / 32))
    assert row.p_randomisation == pytest.approx(74 / 256, abs=0.015)
    assert not row.significant


def test_the_order_of_systems_and_rows_changes_no_p_value(fewer: None) -> None:
    forth, back = compared(WORSE, BETTER), compared(BETTER[::-1], WORSE)
    opposite = {"better": "worse", "worse": "better", "equal": "equal"}
    assert forth.keys() == back.keys()
    for key, row in forth.items():
        assert (row.p_bootstrap, row.p_randomisation) == (back[key].p_bootstrap, back[key].p_randomisation)
        assert back[key].verdict == opposite[row.verdict]


def test_translations_of_the_same_speech_are_drawn_together(fewer: None) -> None:
    # Two targets that go right and wrong together tell no more than one, whatever the order of rows.
    def run(every: int) -> list[Hypothesis]:
        texts = ["a b c x" if n % every == 0 else "a b c d" for n in range(30)]
        return [said(text, id=f"{n:02}", target=t) for t in ("deu", "fra") for n, text in enumerate(texts)]

    first, second = run(3), run(4)
    both, one = compared(first, second), compared(first[:30], second[:30])
    for metric in ("BLEU", "chrF"):
        alone, mean = one[metric, "eng-deu"], both[metric, "all"]
        assert (mean.p_bootstrap, mean.p_randomisation) == (alone.p_bootstrap, alone.p_randomisation)
        assert one[metric, "all"].p_randomisation == alone.p_randomisation  # the mean of one direction is it
    independent = [row.model_copy(update={"id": row.id + row.target}) for row in first]
    other = [row.model_copy(update={"id": row.id + row.target}) for row in second]
    apart = compared(independent, other)["chrF", "all"]
    assert apart.p_randomisation < both["chrF", "all"].p_randomisation  # twice the evidence


# ------------------------------------------------------------------------------------------------- as a whole


def test_values_and_signatures_are_those_of_score(fewer: None) -> None:
    table = compared(SPEECH, TEXT)
    for rows, field in ((SPEECH, "baseline_value"), (TEXT, "value")):
        known = {(s.metric, s.direction): s for s in score(rows) if s.metric in ("WER", "BLEU", "chrF")}
        assert known.keys() == table.keys()
        for key, row in table.items():
            assert (getattr(row, field), row.count) == pytest.approx((known[key].value, known[key].count))
            assert row.signature == known[key].signature


@pytest.mark.parametrize("name", sorted(DECOMPOSED.keys() - {"spBLEU", "BLEU-ko-mecab"}))  # they need files
def test_what_is_summed_over_sentences_is_the_metric(name: str) -> None:
    known = map(LANGUAGES.__getitem__, ("eng", "jpn", "cmn", "hin", "tha"))
    language = next(language for language in known if METRICS[name].suits(language))
    hypotheses, references = ["The cat, sat.", "", "良い天木 です"], ["The cat sat!", "No one.", "良い天気。"]
    pairs = [ScoringPair(*texts) for texts in zip(hypotheses, references, strict=True)]
    metric = DECOMPOSED[name](language)
    stats = significance.counts(metric, hypotheses, references)
    assert significance.value(metric, stats) == pytest.approx(METRICS[name](language).score(pairs))


def test_wins_are_counted_by_direction(fewer: None) -> None:
    right, wrong = "a b c d", "a b c x"
    first = [said(wrong, id=str(n), target=t) for t in ("deu", "fra", "ita") for n in range(8)]
    second = [
        *(said(right, id=str(n), target="deu") for n in range(8)),
        *(said(wrong, id=str(n), target="fra") for n in range(8)),
        *(said("x" if n == 0 else wrong, id=str(n), target="ita") for n in range(8)),
    ]
    counted = {tally.metric: tally for tally in tallies(compared(first, second).values())}["chrF"]
    assert (counted.directions, counted.better, counted.worse, counted.equal) == (3, 1, 1, 1)
    assert (counted.better_significantly, counted.worse_significantly) == (1, 0)


def test_several_runs_go_against_the_first(fewer: None) -> None:
    progress = list[tuple[int, int]]()
    rows = compare(
        [Run("a", SPEECH), Run("b", BETTER), Run("c", TEXT)], on_progress=lambda *numbers: progress.append(numbers)
    )
    assert [row.system for row in rows] == ["b"] * (len(rows) // 2) + ["c"] * (len(rows) // 2)
    assert {row.baseline for row in rows} == {"a"}
    assert progress[-1] == (22, 22) and len(progress) == 22
    assert rows[: len(rows) // 2] == compare([Run("a", SPEECH), Run("b", BETTER)])


def test_processes_change_nothing() -> None:
    first, second = ([said(words, id=str(n)) for n in range(9)] for words in ("a b c x", "a b c d"))
    first, second = (
        [*rows, *(row.model_copy(update={"id": "x" + row.id, "source": "deu", "target": "deu"}) for row in rows)]
        for rows in (first, second)
    )
    assert len(alone := compared(first, second)) > 2
    assert compared(first, second, workers=2) == alone


def test_a_system_without_transcripts_is_said(fewer: None, caplog: pytest.LogCaptureFixture) -> None:
    silent = [row.model_copy(update={"transcript": ""}) for row in TEXT]
    assert {metric for metric, _ in compared(SPEECH, silent)} == {"BLEU", "chrF"}
    assert "transcripts are not compared: second has none" in caplog.text


# ------------------------------------------------------------------------------------------------- bad input


def test_runs_must_hold_the_same(tmp_path: Path) -> None:
    lacking = (
        r"second has no hypothesis for utterance '.*' in eng, but first has \(98 hypotheses against 100, 2 in only"
    )
    with pytest.raises(DataError, match=lacking):
        compared(SPEECH, TEXT[2:])
    with pytest.raises(DataError, match=r"first has no hypothesis for utterance '1' in fra, but second has \(1 hyp"):
        compared([said("a", target="deu")], [said("a", target="deu"), said("b", target="fra")])
    with pytest.raises(DataError, match="Utterance '1' in deu has one reference in first and another in second"):
        compared([said("a", target="deu")], [said("a", "other", target="deu")])
    with pytest.raises(DataError, match="second: utterance '1' has 2 hypotheses in deu"):
        compared([said("a", target="deu")], [said("a", target="deu"), said("b", target="deu")])
    with pytest.raises(DataError, match="second: there are no hypotheses"):
        compared(SPEECH, [])
    with pytest.raises(DataError, match="There is one run"):
        compare([Run("first", SPEECH)])
    with pytest.raises(DataError, match="A run is named twice"):
        compare([Run("first", SPEECH), Run("second", TEXT), Run("second", TEXT)])
    with pytest.raises(
        DataError, match="length cannot be tested: it is not a function of sums over sentences; use WER, "
    ):
        compared(SPEECH, TEXT, metrics=["length"])
    without = [row.model_copy(update={"reference": None}) for row in SPEECH]
    with pytest.raises(DataError, match="has no reference translation"):
        compared(without, without)


def test_a_run_is_a_folder_or_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(DataError, match=r"is not a run: there is no hypotheses\.jsonl"):
        read_run(folder)
    (folder / "hypotheses.jsonl.part1").touch()
    with pytest.raises(DataError, match="is not finished"):
        read_run(folder)
    write_rows(folder / "hypotheses.jsonl", SPEECH)
    stats = RunStats(model="tiny", parameters=27_000_000, hypotheses=100, seconds=12.5, hardware="cpu, 1 threads")
    assert read_run(folder).stats is None
    write_run_stats(folder, stats)
    assert read_run(folder) == Run(str(folder), SPEECH, stats) and stats.speed == 8.0
    assert read_run(folder / "hypotheses.jsonl").stats is None
    (folder / "run.json").write_text('{"model": "tiny"}')
    with pytest.raises(DataError, match=r"run\.json: parameters: Field required; fix it"):
        read_run(folder)


def test_json_holds_everything(fewer: None) -> None:
    stats = RunStats(model="tiny", parameters=27_000_000, hypotheses=100, seconds=12.5, hardware="cpu, 1 threads")
    runs = [Run("first", SPEECH, stats), Run("second", BETTER)]
    rows = compare(runs)
    whole = json.loads(to_json(runs, rows))
    assert "seed:12345|least:2^(1-k)" in whole["tests"]["bootstrap"] and "ar:200" in whole["tests"]["randomisation"]
    assert whole["runs"][0]["account"]["hypotheses_per_second"] == 8.0 and whole["runs"][1]["account"] is None
    assert [Comparison(**{k: v for k, v in row.items() if k != "significant"}) for row in whole["comparisons"]] == rows
    assert [tally["metric"] for tally in whole["tallies"]] == ["WER", "BLEU", "chrF", "chrF++"]


def test_the_command_line_shows_a_table_or_json(tmp_path: Path) -> None:
    def run(*options: str) -> str:
        command = [sys.executable, "-m", "dragoman", "compare", str(tmp_path / "a.jsonl"), "b.jsonl", *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout

    for name, rows in (("a", SPEECH), ("b", TEXT)):
        write_rows(tmp_path / f"{name}.jsonl", of(rows, "eng-fra"))
    shown = run("--workers", "1")
    assert "b.jsonl against" in shown and "BLEU: better in 1 of 1 (" in shown
    assert (
        "paired-bootstrap|bs:1000|seed:12345|least:2^(1-k)|sacrebleu:" in shown and "BLEU|nrefs:1|case:mixed" in shown
    )
    whole = json.loads(run("--workers", "1", "--json"))
    assert {row["direction"] for row in whole["comparisons"]} == {"eng", "eng-fra", "all"}
