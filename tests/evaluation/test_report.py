"""Matrices that come out as published, and reports that hold what they should and nothing that could run."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.errors import DataError, OutputError
from dragoman.evaluation.metrics import METRICS
from dragoman.evaluation.report import audio, samples
from dragoman.evaluation.report.matrix import averages, bins, by_source, by_target, directions, in_order, pearson
from dragoman.evaluation.report.model_card import card
from dragoman.evaluation.report.page import render
from dragoman.evaluation.report.samples import align, choose
from dragoman.evaluation.report.tables import Table, comet_bins
from dragoman.evaluation.report.write import write_report
from dragoman.evaluation.runs import ScoredRun, read_runs, text_run
from dragoman.evaluation.score import score, to_json
from dragoman.records import Hypothesis, Utterance, write_rows
from dragoman.text.languages import LANGUAGES, SETS

ANCHORS = Path(os.environ.get("DRAGOMAN_ANCHORS", Path(__file__).parents[3] / "shared" / "anchors"))
PUBLISHED = ANCHORS / "mcat-large-27b.fleurs-70x69.csv"
TINY = Path(__file__).parents[2] / "src" / "dragoman" / "assets" / "tiny"
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)><!-- \u202e& \u2028 'q' \"z\""


@pytest.fixture(scope="module")
def published() -> ScoredRun:
    if not PUBLISHED.exists():
        pytest.skip(f"{PUBLISHED} is not here; set DRAGOMAN_ANCHORS to the folder that holds it.")
    return read_runs([PUBLISHED])[0]


def row(id: str, source: str = "eng", target: str = "deu", **fields: Any) -> Hypothesis:
    known = {
        "transcript": "one too three",
        "reference_transcript": "one two three",
        "translation": "eins zwei drei",
        "reference": "eins zwei vier",
    }
    return Hypothesis(id=id, source=source, target=target, **{**known, **fields})


def run_folder(
    folder: Path, rows: list[Hypothesis], system: str = "tiny 00, beams 1", metrics: tuple[str, ...] = ("WER", "BLEU")
) -> Path:
    """What `dragoman evaluate` leaves."""
    folder.mkdir(parents=True)
    write_rows(folder / "hypotheses.jsonl", rows)
    (folder / "hypotheses.jsonl.request.json").write_text(json.dumps({"system": system}))
    (folder / "scores.json").write_text(to_json(score(rows, {name: METRICS[name] for name in metrics})))
    return folder


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_averages_are_the_published_ones_to_the_digit(published: ScoredRun) -> None:
    spbleu, comet = (averages(published.values(metric)) for metric in ("spBLEU", "COMET"))
    found = {name: f"{spbleu[name]:.2f}/{comet[name]:.2f}" for name in comet}
    assert {name: found[name] for name in ("70 x 69", "eng to 69", "69 to eng", "9 x 27", "9 x 69")} == {
        "70 x 69": "17.42/77.30",
        "eng to 69": "30.32/86.46",
        "69 to eng": "25.51/78.70",
        "9 x 27": "21.29/81.27",
        "9 x 69": "20.06/81.49",
    }
    assert f"{comet['eng to 27']:.1f}" == "86.3"  # MCAT, Table VII


def test_comet_bins_are_the_published_ones(published: ScoredRun) -> None:
    expected = {"<50": 31, "50-60": 160, "60-70": 602, "70-80": 1834, "80-90": 2197, ">90": 6}
    assert bins(published.values("COMET")) == expected
    assert comet_bins([published]).rows == [[published.name, *expected.values()]]


def test_the_published_matrix_is_whole(published: ScoredRun) -> None:
    assert set(published.directions) == set(directions(SETS["mcat-70"], SETS["mcat-70"]))
    means = by_source(published.values("COMET"))
    assert list(means) == in_order(SETS["mcat-70"])
    assert min(means, key=means.__getitem__) == "mya"  # MCAT, V-D4: good as targets, very bad as sources
    assert by_target(published.values("COMET"))["mya"] > means["mya"] + 20


@given(st.dictionaries(st.sampled_from(directions(("eng", "deu", "tha"), ("eng", "deu", "fra"))), st.floats(0, 100)))
def test_language_means_stay_within_the_matrix(matrix: dict[str, float]) -> None:
    for means in (by_source(matrix), by_target(matrix)):
        assert all(min(matrix.values()) - 1e-9 <= mean <= max(matrix.values()) + 1e-9 for mean in means.values())
    assert sum(bins(matrix).values()) == len(matrix)
    assert averages(matrix) == {}  # no set is whole


def test_pearson_of_a_line_is_one_and_of_too_little_is_none() -> None:
    assert pearson([(1, 2), (2, 4), (3, 6)]) == pytest.approx(1)
    assert pearson([(1, 2), (2, 4)]) is None
    assert pearson([(1, 2), (1, 4), (1, 5)]) is None


def test_word_errors_are_marked_in_the_texts_as_they_were_written() -> None:
    said, heard = align("Yes, I saw TWO men.", "Yes! I saw too old", LANGUAGES["eng"])
    assert "".join(text for text, _ in said) == "Yes, I saw TWO men."
    assert [piece for piece in said if piece[1]] == [("TWO men.", "s")]
    assert [piece for piece in heard if piece[1]] == [("too old", "s")]
    assert align("a b c", "a c", LANGUAGES["eng"])[0] == [("a ", ""), ("b", "d"), (" c", "")]
    assert align("a c", "a b c", LANGUAGES["eng"])[1] == [("a ", ""), ("b", "i"), (" c", "")]
    assert align("今日は", "今木は", LANGUAGES["jpn"]) == (
        [("今", ""), ("日", "s"), ("は", "")],
        [("今", ""), ("木", "s"), ("は", "")],
    )


def test_an_error_in_a_vowel_sign_is_marked() -> None:
    assert align("मेरी किताब", "मेरी कताब", LANGUAGES["hin"])[1] == [("मेरी ", ""), ("कताब", "s")]
    said, _ = align("กิน", "กัน", LANGUAGES["tha"])
    assert said == [("ก", ""), ("\u0e34", "s"), ("น", "")]


@settings(max_examples=50)
@given(st.text(max_size=20), st.text(max_size=20), st.sampled_from(["eng", "jpn"]))
def test_marking_never_changes_a_text(said: str, heard: str, language: str) -> None:
    for text, pieces in zip((said, heard), align(said, heard, LANGUAGES[language]), strict=True):
        assert "".join(piece for piece, _ in pieces) == text


def test_few_are_all_shown_and_many_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        row(str(i), target=("deu", "fra")[i % 2], translation="eins" if i == 7 else "eins zwei vier") for i in range(60)
    ]
    rows[11] = row("11", target="fra", transcript="", translation="eins zwei vier")
    assert len(choose(rows)) == 60
    monkeypatch.setattr(samples, "WORST", 1)
    monkeypatch.setattr(samples, "SAMPLE", 10)
    chosen = choose(rows)
    assert len(chosen) <= 12
    assert {sample.row.target for sample in chosen} == {"deu", "fra"}
    assert chosen[0].row.id == "7"  # the worst translation first
    assert next(s for s in chosen if s.row.id == "11").errors == 100.0
    assert len({(s.row.id, s.row.target) for s in chosen}) == len(chosen)


def test_one_sample_of_a_direction_is_its_median(monkeypatch: pytest.MonkeyPatch) -> None:
    """At thousands of directions each has one, which is neither its best nor its worst."""
    texts = ("acht", "eins zwei", "eins zwei vier")
    rows = [row(f"{text} {to}", target=to, translation=text) for text in texts for to in ("deu", "fra")]
    monkeypatch.setattr(samples, "WORST", 0)
    monkeypatch.setattr(samples, "SAMPLE", 2)
    assert {sample.row.id for sample in choose(rows)} == {"eins zwei deu", "eins zwei fra"}


def test_a_run_and_its_text_run_find_each_other() -> None:
    heard, read, other = (
        ScoredRun("a", "tiny 00, beams 1"),
        ScoredRun("b", "tiny 00, text"),
        ScoredRun("c", "tiny 11, text"),
    )
    assert text_run(heard, [heard, other, read]) is read
    assert text_run(read, [heard, read]) is None
    assert text_run(ScoredRun("published"), [read]) is None


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    rows = [
        row(f"{i}{HOSTILE}", translation=HOSTILE, transcript=HOSTILE, target=t) for i in (1, 2) for t in ("deu", "fra")
    ]
    folder = run_folder(tmp_path / "a<b>&$title", rows, system=f"{HOSTILE}, beams 1")
    page = render(read_runs([folder]), {folder.name: choose(rows)}, {folder.name: 4}, {})
    assert page.count("<script") == 2 and page.count("</script>") == 2
    assert "<img" not in page and "<b>" not in page
    sample = data_of(page)["runs"][0]["samples"][0]
    assert sample["translation"] == HOSTILE
    assert not re.search(r'(src|href)="(?!#)', page) and "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "innerHTML" not in page


def test_a_report_holds_page_figures_and_tables(tmp_path: Path) -> None:
    rows = [
        row(str(i), source, target)
        for i, (source, target) in enumerate([("eng", "deu"), ("deu", "fra"), ("fra", "eng")])
    ]
    heard = run_folder(tmp_path / "dev", rows)
    read = run_folder(
        tmp_path / "dev-text", [r.model_copy(update={"transcript": "one two three"}) for r in rows], "tiny 00, text"
    )
    out = tmp_path / "out"
    write_report(read_runs([heard, read]), out)
    figures = {path.name for path in (out / "figures").iterdir()}
    kinds = ("BLEU-matrix", "BLEU-bars", "BLEU-text-speech", "BLEU-errors")
    assert {f"dev-{kind}.{ending}" for kind in kinds for ending in ("png", "svg")} <= figures
    scores = list(csv.DictReader((out / "tables" / "scores.csv").read_text().splitlines()))
    assert {"run": "dev", "metric": "WER", "direction": "eng", "hypotheses": "1"}.items() <= scores[1].items()
    assert float(scores[1]["value"]) == pytest.approx(100 / 3)
    data = data_of((out / "report.html").read_text(encoding="utf-8"))
    assert [run["name"] for run in data["runs"]] == ["dev", "dev-text"]
    assert data["runs"][0]["choice"] == "All 3 hypotheses are in this page."
    before = (out / "report.html").read_bytes(), (out / "figures" / "dev-BLEU-matrix.svg").read_bytes()
    write_report(read_runs([heard, read]), out)  # again, in its own place, to the same bytes
    assert before == ((out / "report.html").read_bytes(), (out / "figures" / "dev-BLEU-matrix.svg").read_bytes())


def test_languages_of_no_family_known_here_come_last_and_are_all_there(tmp_path: Path) -> None:
    tibetan = {"transcript": "བོད་སྐད་", "reference_transcript": "བོད་ཡིག་"}
    rows = [row("1", "bod", "deu", **tibetan), row("2", "deu", "quy"), row("3", "eng", "deu")]
    folder = run_folder(tmp_path / "dev", rows, metrics=("WER", "CER", "BLEU"))
    runs = read_runs([folder])
    data = data_of(render(runs, {"dev": choose(rows)}, {"dev": 3}, {}))
    assert data["order"] == ["eng", "deu", "bod", "quy"] and data["families"][-1] == ["others", ["bod", "quy"]]
    assert data["names"]["quy"] == "Ayacucho Quechua"
    assert {sample["id"]: sample["unit"] for sample in data["runs"][0]["samples"]} == {
        "1": "character",
        "2": "word",
        "3": "word",
    }
    assert set(runs[0].scores["CER"]) == {"bod"} and set(runs[0].scores["WER"]) == {"deu", "eng"}


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").touch()
    with pytest.raises(OutputError, match=r"thesis\.doc.*choose another folder"):
        write_report([ScoredRun("a")], tmp_path)
    assert (tmp_path / "thesis.doc").exists()


def test_speech_goes_into_the_page_until_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wave

    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((3000 * np.sin(np.arange(16000) / 9)).astype("<i2").tobytes())
    utterances = {id: Utterance(id=id, audio=str(tmp_path / "a.wav"), language="eng") for id in "abc"}
    one = audio.encode(audio.load_audio(tmp_path / "a.wav"))
    assert audio.load_audio(one).shape[0] == pytest.approx(16000, abs=800)
    monkeypatch.setattr(audio, "MOST_BYTES", 2 * len(one))
    assert list(audio.embed(["b", "b", "unknown", "a", "c"], utterances)) == ["b", "a"]


def test_the_card_holds_table_signatures_and_licences(tmp_path: Path) -> None:
    heard = run_folder(
        tmp_path / "dev",
        [row("1"), row("2", "deu", "eng", translation="eins zwei vier fünf", reference="eins zwei vier fünf")],
    )
    read = run_folder(
        tmp_path / "text",
        [row("1", translation="eins zwei vier fünf", reference="eins zwei vier fünf")],
        "tiny 00, text",
    )
    text = card(read_runs([heard, read]), TINY)
    assert "| from | word errors, % | to | BLEU from text | BLEU from speech |" in text
    assert "| deu | 33.3 | eng |  | 100.0 |" in text
    assert "`WER|case:lower|norm:whisper-basic|" in text
    assert (
        "Licence of the weights: CC-BY-2.0-FR." in text and "[CREDITS.txt](CREDITS.txt): Sentences from Tatoeba" in text
    )
    with pytest.raises(DataError, match="but 2 are named"):
        card(read_runs([heard, run_folder(tmp_path / "b", [row("1")])]), TINY)
    with pytest.raises(DataError, match="is a run of 'other', not of 'tiny'; name its model with --model"):
        card(read_runs([run_folder(tmp_path / "o", [row("1")], "other 00, beams 1")]), TINY)


def test_a_run_knows_its_text_run_by_what_evaluate_calls_them() -> None:
    heard = ScoredRun("a", "tiny 95863daf, beams 4, bfloat16")
    read = ScoredRun("b", "tiny 95863daf, text, beams 4, bfloat16")
    assert text_run(heard, [heard, read]) is read and read.reads_text and not heard.reads_text
    assert text_run(ScoredRun("c", "tiny 00000000, beams 4"), [heard, read]) is None


def test_the_card_counts_epochs_and_what_is_heard_in_silence(tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "model")
    recipe = json.loads((TINY / "recipe.json").read_text(encoding="utf-8"))
    recipe["stages"][0]["schedule"] |= {"steps": None, "epochs": 2}
    recipe["stages"][1]["schedule"] |= {"steps": None, "epochs": 1}
    (tmp_path / "model" / "recipe.json").write_text(json.dumps(recipe), encoding="utf-8")
    noise = {"reference_transcript": "", "reference": ""}
    rows = [row("1"), row("2", **noise), row("3", transcript="", translation="", **noise)]
    text = card(read_runs([run_folder(tmp_path / "dev", rows)]), tmp_path / "model")
    lengths = [line.split(" | ")[3].rstrip(" |") for line in text.splitlines() if line.count(" | ") == 3]
    assert lengths[-len(recipe["stages"]) :][:2] == ["2 epochs", "1 epoch"]
    assert "Where nothing is said (silence, noise, music) it wrote something in 1 of 2 outputs." in text


def test_tables_escape_what_their_format_takes_for_its_own() -> None:
    table = Table(["a|b_c", "value"], [["50 % & <x>", 1.255], ["", None]])
    assert table.csv() == "a|b_c,value\n50 % & <x>,1.255\n,\n"
    assert table.markdown() == "| a\\|b_c | value |\n|---|---:|\n| 50 % & <x> | 1.25 |\n|  |  |\n"
    assert (
        r"50 \% \& \textless{}x\textgreater{} & 1.25 \\" in table.latex()
        and r"a\textbar{}b\_c & value \\" in table.latex()
    )


def test_anyones_hypotheses_become_a_report(tmp_path: Path) -> None:
    rows = [row(str(n), target=code) for n in range(3) for code in ("deu", "fra")]
    ours = run_folder(tmp_path / "ours", rows)
    theirs = tmp_path / "theirs.jsonl"
    theirs.write_text(
        "".join(
            json.dumps({"prompt": "<|eng|><|deu|>", "gt": f"one<|eng|><|deu|>eins {n}", "response": response}) + "\n"
            for n, response in enumerate(("one<|eng|><|deu|>eins 0", "one"))
        )
    )
    runs = read_runs([ours, ours / "hypotheses.jsonl", theirs])
    assert runs[1].values("BLEU") == runs[0].values("BLEU")
    assert runs[2].scores["malformed"]["eng-deu"].value == 1
    page, *_ = write_report(runs, tmp_path / "report")
    assert [len(run["samples"]) for run in data_of(page.read_text())["runs"]] == [6, 6, 2]


def test_wrong_input_is_one_sentence(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    for text, complaint in [
        ("iso3,comet\neng_deu,1\neng_eng2,2\n", r"t\.csv:3: iso3: 'eng_eng2' is not a direction like eng-deu"),
        ("iso3,comet\neng_deu,high\n", r"t\.csv:2: comet: 'high' is not a number"),
        ("language,comet\neng_deu,1\n", "has no column 'direction'"),
        ("iso3,comet\neng_deu,1\neng_deu,2\n", "COMET of eng-deu is there twice"),
        ("iso3,comet\neng_deu,nan\n", r"COMET of eng-deu is not a number \(nan\)"),
        ("iso3,comet\n", "holds no scores"),
    ]:
        table.write_text(text)
        with pytest.raises(DataError, match=complaint):
            read_runs([table])
    with pytest.raises(DataError, match="name a folder that `dragoman evaluate` wrote"):
        read_runs([tmp_path])
    with pytest.raises(DataError, match="is named twice"):
        read_runs([table, table])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "Name a folder for the report with --out"),
        (["--card", "--out", "x"], "--card prints the card alone"),
        (["--out", "thesis"], "'a.doc', which is not part of a report"),
    ],
)
def test_the_command_says_what_to_do(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    run_folder(tmp_path / "dev", [row("1")])
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "a.doc").touch()
    command = [sys.executable, "-c", "from dragoman.cli import main; main()", "report", "dev", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert complaint in done.stderr


def test_a_report_needs_no_torch() -> None:
    modules = "dragoman.evaluation.report.write, dragoman.evaluation.report.model_card"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
