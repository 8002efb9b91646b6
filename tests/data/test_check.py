"""`dragoman check`: each defect that is planted is found, and nothing else; a clean corpus has none."""

from __future__ import annotations

import io
import json
import wave
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.data.audio import SAMPLE_RATE
from dragoman.data.check import Report, check, manifests_in, split_of
from dragoman.data.check.rules import RULES
from dragoman.data.check.skip import outputs, skip_bad
from dragoman.data.check.texts import MOST_SYLLABLES_PER_S, problems, rate_bounds, scripts, text_key
from dragoman.data.synthesis import write_flac
from dragoman.errors import DataError, ManifestError, OutputError
from dragoman.recipe import load_recipe
from dragoman.records import read_manifest
from dragoman.text.langid import KNOWN, identify
from dragoman.text.languages import LANGUAGES, SETS, find

Entry = dict[str, Any]
Corpus = dict[str, list[Entry | str | bytes]]

SENTENCES = {
    "train": (
        ("Yesterday the children went swimming in the lake.", "Gestern gingen die Kinder im See schwimmen."),
        ("My brother has bought a very old bicycle.", "Mein Bruder hat ein sehr altes Fahrrad gekauft."),
        ("Nobody knows where the keys are lying.", "Niemand weiß, wo die Schlüssel liegen."),
    ),
    "test": (
        ("The train to the city leaves at eight.", "Der Zug in die Stadt fährt um acht Uhr ab."),
        ("Could you please close the window?", "Könntest du bitte das Fenster schließen?"),
    ),
}  # fmt: skip


def write_noise(path: Path, duration_s: float) -> None:
    """A clip that no other name has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(list(path.name.encode()))
    write_flac(path, random.uniform(-0.5, 0.5, round(duration_s * SAMPLE_RATE)).astype(np.float32))


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Two languages of each sentence, each spoken for three seconds: rows by split, with their audio."""
    rows: Corpus = {}
    for split, sentences in SENTENCES.items():
        rows[split] = []
        for number, pair in enumerate(sentences):
            for code, text in zip(("eng", "deu"), pair, strict=True):
                name = f"{split}{number}-{code}"
                write_noise(tmp_path / "audio" / f"{name}.flac", 3.0)
                row = {"id": name, "audio": f"audio/{name}.flac", "language": code, "text": text, "duration_s": 3.0}
                rows[split].append(row | {"sentence": f"{split}{number}"})
    return rows


def write(folder: Path, corpus: Corpus) -> list[Path]:
    for split, rows in corpus.items():
        lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
        (folder / f"{split}.jsonl").write_bytes("\n".join([*lines, ""]).encode("utf-8", "surrogateescape"))
    return [folder / f"{split}.jsonl" for split in corpus]


def counts(report: Report) -> dict[str, int]:
    found: Counter[str] = Counter()
    for (kind, _), one in report.found.items():
        found[kind] += one.count
    return dict(found)


def test_a_clean_corpus_has_no_findings_and_is_counted(corpus: Corpus, tmp_path: Path) -> None:
    report = check(write(tmp_path, corpus))
    assert counts(report) == {}
    assert [(one.path.name, one.is_held_out, one.utterances) for one in report.manifests] == [
        ("train.jsonl", False, 6),
        ("test.jsonl", True, 4),
    ]
    assert report.directions == {"deu-eng": 5, "eng-deu": 5}
    assert report.durations == tuple((round(0.2 * n, 1), 10 * (n == 15)) for n in range(1, 16))
    assert [(one.code, one.utterances, one.texts, one.targets) for one in report.languages] == [
        ("deu", 5, 5, 1),
        ("eng", 5, 5, 1),
    ]
    assert sum(one.hours for one in report.languages) == pytest.approx(10 * 3 / 3600)
    assert json.loads(report.to_json())["findings"] == []


# --------------------------------------------------------------------------------------- one defect, one finding


def first(corpus: Corpus, split: str = "train", number: int = 0) -> Entry:
    row = corpus[split][number]
    assert isinstance(row, dict)
    return row


def edit(split: str = "train", number: int = 0, /, **changes: Any) -> Callable[[Corpus, Path], None]:
    return lambda corpus, folder: first(corpus, split, number).update(changes)


def sound(samples: Any, **changes: Any) -> Callable[[Corpus, Path], None]:
    """Another recording for the first row."""

    def plant(corpus: Corpus, folder: Path) -> None:
        write_flac(folder / "audio" / "planted.flac", np.asarray(samples, np.float32))
        first(corpus).update(audio="audio/planted.flac", **changes)

    return plant


def file(content: Callable[[bytes], bytes]) -> Callable[[Corpus, Path], None]:
    """Other bytes in the first row's recording."""

    def plant(corpus: Corpus, folder: Path) -> None:
        path = folder / first(corpus)["audio"]
        path.write_bytes(content(path.read_bytes()))

    return plant


def add(split: str, **row: Any) -> Callable[[Corpus, Path], None]:
    """One more row, with a recording of its own unless it names one."""

    def plant(corpus: Corpus, folder: Path) -> None:
        if "audio" not in row:
            write_noise(folder / "audio" / "added.flac", 3.0)
        corpus[split].append({"id": "added", "audio": "audio/added.flac", "language": "eng", **row})

    return plant


def line(text: str) -> Callable[[Corpus, Path], None]:
    return lambda corpus, folder: corpus["train"].append(text)


def noise(duration_s: float) -> Any:
    return np.random.default_rng(0).uniform(-0.5, 0.5, round(duration_s * SAMPLE_RATE))


def page(corpus: Corpus, folder: Path) -> None:
    """What a download may bring for a recording."""
    (folder / "audio" / "page.wav").write_text("<html>not found</html>")
    first(corpus).update(audio="audio/page.wav")


def header_only() -> bytes:
    held = io.BytesIO()
    with wave.open(held, "wb") as out:
        out.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
    return held.getvalue()


NEW = "Every morning the old woman feeds the birds."

DEFECTS: dict[str, tuple[Callable[[Corpus, Path], None], dict[str, int]]] = {
    "no JSON": (line('{"id": "x", '), {"row": 1}),
    "not an object": (line("[]"), {"row": 1}),
    "not UTF-8": (line('{"id": "x", "audio": "\udcff", "language": "deu"}'), {"row": 1}),
    "a field too many": (edit(speaker="Ann"), {"row": 1}),
    "a field missing": (line('{"id": "x", "audio": "x.flac", "text": "Hallo"}'), {"row": 1}),
    "unknown language": (edit(language="qqq"), {"row": 1}),
    "unknown target": (edit(translations={"qqq": "Qapla'"}), {"row": 1}),
    "duration of zero": (edit(duration_s=0.0), {"row": 1}),
    "repeated id": (edit("train", 1, id="train0-eng"), {"repeated-id": 1}),
    "missing file": (edit(audio="audio/none.flac"), {"audio-missing": 1}),
    "folder for a file": (edit(audio="audio"), {"audio-broken": 1}),
    "file of no bytes": (file(lambda data: b""), {"audio-broken": 1}),
    "file of text": (page, {"audio-broken": 1}),
    "file with a hole": (
        file(lambda data: data[:20_000] + bytes(9_000) + data[29_000:]),
        {"audio-damaged": 1},
    ),
    "no samples": (file(lambda data: header_only()), {"audio-empty": 1}),
    "start beyond the end": (edit(start_s=9.0), {"audio-empty": 1}),
    "start beyond all": (edit(start_s=1e308), {"audio-empty": 1}),
    "duration beyond all": (edit(duration_s=1e308), {"duration": 1}),
    "name that no file can have": (edit(audio="n" * 999), {"audio-missing": 1}),
    "name with a NUL": (edit(audio="a\0b"), {"audio-missing": 1}),
    "silence": (sound(np.zeros(3 * SAMPLE_RATE)), {"audio-silent": 1}),
    "audio shorter than said": (sound(noise(2.5)), {"duration": 1}),
    "audio longer than said": (sound(noise(3.5)), {"duration": 1}),
    "too long for training": (sound(noise(31), duration_s=31.0, text=" ".join([NEW] * 8)), {"too-long": 1}),
    "nothing written": (edit(text=" ", sentence=None), {"no-text": 1}),
    "no transcript": (edit(text="", translations={"fra": "Hier, ils ont nagé."}), {"empty-text": 1}),
    "empty translation": (edit(translations={"fra": ""}), {"empty-text": 1}),
    "control character": (edit(text="Yesterday the children\x07 went swimming in the lake."), {"control": 1}),
    "bytes that were no text": (edit(translations={"fra": "Hier, ils ont nag� dans le lac."}), {"control": 1}),
    "line end": (edit(text="Yesterday the children\nwent swimming in the lake."), {"invisible": 1}),
    "byte-order mark": (edit(text="\ufeffYesterday the children went swimming."), {"invisible": 1}),
    "wrong script": (edit(text="Вчера дети купались в озере."), {"script": 1}),
    "wrong language": (edit(text="Gestern gingen die kleinen Kinder im Meer schwimmen."), {"language": 1}),
    "wrong language of a target": (edit(translations={"fra": NEW}), {"language": 1}),
    "more text than time": (edit(text=" ".join([NEW] * 5)), {"much-text": 1}),
    "less text than time": (sound(noise(25), duration_s=25.0, text="Yes, it is.", sentence=None), {"little-text": 1}),
    "same audio twice": (add("train", audio="audio/train0-eng.flac", text=NEW), {"same-audio": 1}),
    "leak of audio": (add("train", audio="audio/test0-eng.flac", text=NEW), {"leak-audio": 1}),
    "leak of text": (add("train", text="could you please close, the WINDOW"), {"leak-text": 1}),
    "leak of a target": (
        add("train", text=NEW, translations={"deu": "Könntest du bitte das Fenster schließen?"}),
        {"leak-text": 1},
    ),
    "leak of a sentence": (
        add("train", language="fra", text="Pourriez-vous fermer la fenêtre ?", sentence="test1"),
        {"leak-sentence": 1},
    ),
    "two corpora that count alike": (add("train", text=NEW, sentence="test1"), {"sentence-clash": 1}),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_each_defect_is_found_and_nothing_else(name: str, corpus: Corpus, tmp_path: Path) -> None:
    plant, expected = DEFECTS[name]
    plant(corpus, tmp_path)
    assert counts(check(write(tmp_path, corpus))) == expected


def test_two_held_out_splits_may_overlap_with_a_warning(corpus: Corpus, tmp_path: Path) -> None:
    corpus["fleurs.valid"] = corpus.pop("test")
    corpus["valid"] = corpus["fleurs.valid"]  # as `prepare` writes it
    assert counts(check(write(tmp_path, corpus))) == {}
    corpus["test"] = [{**first(corpus, "valid"), "sentence": "v0"}]
    assert counts(check(write(tmp_path, corpus))) == {"overlap": 1}


def test_a_short_phrase_may_be_in_both_with_a_warning(corpus: Corpus, tmp_path: Path) -> None:
    add("train", text="Thank you.")(corpus, tmp_path)
    corpus["test"].append({"id": "t", "audio": "audio/t.flac", "language": "eng", "text": "thank you"})
    write_noise(tmp_path / "audio" / "t.flac", 1.0)
    assert counts(check(write(tmp_path, corpus))) == {"leak-short": 1}


def test_a_long_clip_that_is_held_out_is_a_warning(corpus: Corpus, tmp_path: Path) -> None:
    report = check(write(tmp_path, corpus), window_s=2.0)
    assert counts(report) == {"too-long": 6, "long": 4}
    assert (report.count("error"), report.count("warning")) == (6, 4)


def test_a_long_clip_that_the_recipe_leaves_out_is_a_warning(corpus: Corpus, tmp_path: Path) -> None:
    paths = write(tmp_path, corpus)
    assert counts(check(paths, window_s=2.0, longest_s={"train": 2.5, "test": 2.5})) == {"left-out": 6, "long": 4}
    assert counts(check(paths, window_s=9.0, longest_s={"train": 2.5})) == {"left-out": 6}
    assert counts(check(paths, window_s=2.0, longest_s={"train": 4.0})) == {"too-long": 6, "long": 4}
    del first(corpus, "train")["duration_s"]  # training cannot know, and would stop there
    paths = write(tmp_path, corpus)
    report = check(paths, window_s=2.0, longest_s={"train": 2.5})
    assert counts(report) == {"left-out": 5, "too-long": 1, "long": 4}
    assert load_recipe("llm-srt-3b").longest_clips() == {"common_voice": 30.0, "fleurs": 30.0}


def test_segments_of_one_recording_are_no_wrong_durations(corpus: Corpus, tmp_path: Path) -> None:
    write_noise(tmp_path / "audio" / "talk.flac", 6.0)
    for number, row in enumerate(corpus["train"][:2]):
        assert isinstance(row, dict)
        row.update(audio="audio/talk.flac", start_s=3.0 * number)
    assert counts(check(write(tmp_path, corpus))) == {}


def test_a_clip_of_a_day_does_not_stretch_the_histogram(tmp_path: Path) -> None:
    rows: list[Entry | str | bytes] = [
        {"id": f"{n}", "audio": f"{n}.wav", "language": "fin", "text": "talo", "duration_s": d}
        for n, d in enumerate([1.0] * 500 + [4.5] * 499 + [86_400.0])
    ]
    report = check(write(tmp_path, {"test": rows}), decode=False)
    assert [bar for bar in report.durations if bar[1]] == [(1.0, 500), (4.5, 499), (86_400.0, 1)]


def test_without_decoding_no_recording_is_opened(corpus: Corpus, tmp_path: Path) -> None:
    first(corpus).update(audio="audio/none.flac")
    add("train", audio="audio/test0-eng.flac", text=NEW, duration_s=3.0)(corpus, tmp_path)
    assert counts(check(write(tmp_path, corpus), decode=False)) == {"leak-audio": 1}


def test_a_rate_that_stands_out_in_its_language_is_found(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [
        {"id": f"{n}", "audio": f"{n}.wav", "language": "fin", "text": "taloissani " * 3, "duration_s": 2 + d}
        for n, d in enumerate(random.uniform(0, 0.4, 100))
    ]
    rows.append(rows[0] | {"id": "far", "audio": "far.wav", "duration_s": 12.0})
    report = check(write(tmp_path, {"train": list(rows)}), decode=False)
    (place,) = report.found["little-text", ""].places
    assert counts(report) == {"little-text": 1} and place.id == "far"
    assert place.detail.startswith("2.5 characters a second; the median of Finnish is 13.")


def test_a_place_is_file_line_and_id(corpus: Corpus, tmp_path: Path) -> None:
    line('{"id": "x", "audio": "x.wav"}')(corpus, tmp_path)
    corpus["train"].insert(0, "  ")
    report = check(write(tmp_path, corpus))
    (group,) = report.found
    (place,) = report.found[group].places
    assert group == ("row", "language: Field required")
    assert (place.manifest, place.line, place.id) == (0, 8, "x")


# ------------------------------------------------------------------------------------------------- properties


@settings(max_examples=12)
@given(data=st.data())
def test_the_order_of_rows_changes_nothing(data: st.DataObject, corpus: Corpus, tmp_path: Path) -> None:
    rows = {split: list(entries) for split, entries in corpus.items()}
    rows["train"] += [
        {**first(corpus), "language": "fra"},
        {**first(corpus, "test"), "id": "leak"},
        '{"id": 3}',
        {**first(corpus, number=1), "id": "again", "text": ""},
    ]
    plain = check(write(tmp_path, rows), decode=False)
    mixed = {split: data.draw(st.permutations(entries)) for split, entries in rows.items()}
    shuffled = check(write(tmp_path, mixed), decode=False)
    assert counts(shuffled) == counts(plain)
    assert len(counts(plain)) >= 6
    assert shuffled.directions == plain.directions and shuffled.durations == plain.durations
    assert shuffled.languages == plain.languages and shuffled.manifests == plain.manifests


def test_the_number_of_processes_changes_nothing(corpus: Corpus, tmp_path: Path) -> None:
    for plant, _ in (DEFECTS["missing file"], DEFECTS["leak of text"], DEFECTS["no JSON"]):
        plant(corpus, tmp_path)
    many = [first(corpus) | {"id": f"more{n}", "text": ""} for n in range(200)]
    paths = write(tmp_path, {"train": [*corpus["train"], *many], "test": corpus["test"]})
    assert check(paths, workers=2).to_json() == check(paths, workers=1).to_json()


@pytest.mark.parametrize("code", SETS["fleurs-102"])
def test_every_language_has_scripts_bounds_and_is_known_to_the_identifier(code: str) -> None:
    from dragoman.text.langid import _identifier

    fewest, most = rate_bounds(code)
    assert scripts(code) and 0 < fewest < MOST_SYLLABLES_PER_S < most
    labels = {code, LANGUAGES[code].iso1, *{"nob": ("no",), "ful": ("fuv",)}.get(code, ())}
    assert bool(labels & set(_identifier().labels)) == (code in KNOWN)


def test_the_identifier_s_labels_are_languages() -> None:
    from dragoman.text.langid import _CODES, _identifier

    assert set(_identifier().labels) - {"zxx"} <= set(_CODES) and set(LANGUAGES) >= KNOWN
    assert {label for label, code in _CODES.items() if find(label).code != code} == {"nn", "fuv"}  # nearly, they are


def test_a_text_in_a_language_of_which_nothing_is_known_is_not_accused() -> None:
    assert not list(problems("text", "Allinllachu kachkanki, wawqiy? Ñuqaqa allinmi.", "quy"))
    assert not list(problems("text", "ꦱꦸꦒꦼꦁꦫꦮꦸꦃ", "kaw"))
    assert scripts("quy") == [] and rate_bounds("quy") == (0.25 * 1.2, 10 * 4.0)  # of any script


def test_the_identifier_gives_probabilities_of_our_codes() -> None:
    for code, text in {
        "deu": SENTENCES["test"][0][1],
        "eng": SENTENCES["test"][0][0],
        "yue": "佢哋一齊去坐的士。",
    }.items():
        likely = identify(text)
        assert next(iter(likely)) == code and sum(likely.values()) == pytest.approx(1.0, abs=1e-3)


def test_texts_that_sound_alike_have_one_key() -> None:
    assert text_key("Ｉt’s  late — so late!", "eng") == text_key("it's late. So LATE", "eng")
    assert text_key("It is late.", "eng") != text_key("It is late.", "deu")
    assert text_key("…", "eng") == (0, False)
    assert [text_key(text, "cmn")[1] for text in ("你好。", "今天的天气很好。")] == [False, True]


# ------------------------------------------------------------------------------------------ names and leaving out


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train.jsonl", ""), ("test.jsonl", "test"), ("fleurs-dev.jsonl", "dev"), ("deu_validation.jsonl", "valid"),
        ("corpus.jsonl", ""), ("test/manifest.jsonl", "test"), ("test/train.jsonl", ""), ("latest.jsonl", ""),
    ],
)  # fmt: skip
def test_the_name_tells_what_is_held_out(path: str, split: str) -> None:
    assert split_of(Path("/data") / path) == split


def test_a_folder_holds_manifests_and_others(corpus: Corpus, tmp_path: Path) -> None:
    paths = write(tmp_path, corpus)
    (tmp_path / "text.jsonl").write_text('{"id": "a", "texts": {}}\n')
    assert manifests_in(tmp_path) == (sorted(paths), [tmp_path / "text.jsonl"])


def test_what_is_left_is_clean_and_what_is_left_out_is_listed(corpus: Corpus, tmp_path: Path) -> None:
    names = [name for name, (_, expected) in DEFECTS.items() if RULES[next(iter(expected))].severity == "error"]
    for plant in (DEFECTS["leak of text"][0], DEFECTS["missing file"][0], DEFECTS["no JSON"][0]):
        plant(corpus, tmp_path)
    assert {"leak of text", "missing file", "no JSON"} <= set(names)
    out = tmp_path / "clean" / "here"
    kept = skip_bad(check(write(tmp_path, corpus)), out)
    assert kept == {out / "train.jsonl": (5, 3), out / "test.jsonl": (4, 0)}
    assert counts(check([*kept])) == {}
    assert all(Path(row.audio).is_file() for path in kept for row in read_manifest(path))
    skipped = [json.loads(entry) for entry in (out / "skipped.jsonl").read_text().splitlines()]
    assert [(row["file"], row["line"], row["id"]) for row in skipped] == [
        (str(tmp_path / "train.jsonl"), 1, "train0-eng"),
        (str(tmp_path / "train.jsonl"), 7, "added"),
        (str(tmp_path / "train.jsonl"), 8, None),
    ]
    assert skipped[1]["reason"] == "training text that is held out too: also test.jsonl:3"


def test_leaving_out_overwrites_nothing_and_leaves_something(corpus: Corpus, tmp_path: Path) -> None:
    train, test = write(tmp_path, corpus)
    with pytest.raises(OutputError, match="would overwrite"):
        outputs([train], tmp_path)
    (tmp_path / "b").mkdir()
    twin = tmp_path / "b" / "train.jsonl"
    twin.write_text('{"id": 1}\n')
    with pytest.raises(OutputError, match="another file of the run has this name"):
        outputs([train, twin], tmp_path / "out")
    with pytest.raises(DataError, match="has no row without an error"):
        skip_bad(check([test, twin]), tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_a_manifest_without_rows_and_one_that_is_not_there(tmp_path: Path) -> None:
    report = check(write(tmp_path, {"train": []}))
    assert (report.manifests[0].utterances, report.languages, report.directions, report.found) == (0, (), {}, {})
    with pytest.raises(ManifestError, match="cannot be read"):
        check([Path("none.jsonl")])
    with pytest.raises(DataError, match="no manifest"):
        check([])


# ------------------------------------------------------------------------------------------------ on the command line


def run(*arguments: object) -> int:
    import sys

    from dragoman.cli import main

    sys.argv = ["dragoman", "check", *map(str, arguments), "--workers", "1"]
    with pytest.raises(SystemExit) as end:
        main()
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.mark.usefixtures("kept_argv")
def test_exit_codes_and_where_things_are_written(
    corpus: Corpus, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, corpus)
    assert run(tmp_path) == 0
    assert "Nothing is wrong." in capfd.readouterr().out
    edit(text="Вчера дети купались в озере.")(corpus, tmp_path)
    write(tmp_path, corpus)
    assert run(tmp_path, "--json") == 0
    assert json.loads(capfd.readouterr().out)["warnings"] == 1
    edit(audio="\x1b[31m.flac", id="[red]\x1b[0m")(corpus, tmp_path)
    write(tmp_path, corpus)
    assert run(tmp_path) == 2
    done = capfd.readouterr()
    assert "train.jsonl:1 [red]\\x1b[0m" in done.out and "\x1b[" not in done.out
    assert done.err == "dragoman: 1 error; fix them, or leave their rows out with --skip_bad FOLDER.\n"
    assert run(tmp_path, "--skip_bad", tmp_path / "out") == 0
    assert "train.jsonl: 5 rows, 1 left out." in capfd.readouterr().err
    assert run(tmp_path / "none.jsonl") == 2


@pytest.fixture
def kept_argv(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(sys, "argv", list(sys.argv))
