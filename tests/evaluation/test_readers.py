"""What `dragoman score` reads: the same hypotheses in every format, none dropped, a sentence for what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.errors import DragomanError
from dragoman.evaluation.metrics import choose
from dragoman.evaluation.readers import FORMATS, InputSpec, read
from dragoman.evaluation.score import score
from dragoman.records import Hypothesis

SOURCES = ["That is very good.", "No, thank you.", "Yes."]
REFERENCES = ["Das ist sehr gut.", "Nein, danke.", "Ja."]
OUTPUTS = ["Das ist gut.", "", "Ja."]  # an empty one stays


def dragoman(n: int) -> str:
    row = {"id": str(n + 1), "source": "eng", "target": "deu", "translation": OUTPUTS[n], "reference": REFERENCES[n]}
    return json.dumps(row | {"reference_transcript": SOURCES[n]})


def srt(prompt: str, gt: str, response: str) -> str:
    return json.dumps(
        {"gt": gt, "response": response, "source": "srt", "audio_path": "a.wav", "prompt": prompt, "rank": 0}
    )


def papers(n: int) -> str:
    return srt(f"{SOURCES[n]}<|eng|><|deu|>", REFERENCES[n], OUTPUTS[n])


EXAMPLES = {
    "dragoman": dragoman,
    "papers": papers,
    "tsv": lambda n: f"{OUTPUTS[n]}\t{REFERENCES[n]}\t{SOURCES[n]}",
    "text": lambda n: OUTPUTS[n],
}
EVERY = pytest.mark.parametrize("name", FORMATS)


def written(folder: Path, name: str, lines: list[str], end: str = "\n") -> Path:
    path = folder / name
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


def asked(folder: Path, name: str, end: str = "\n") -> InputSpec:
    """The example of a format, with what has to be said beside it."""
    path = written(folder, name, [EXAMPLES[name](n) for n in range(3)], end)
    if FORMATS[name].complete:
        return InputSpec(path)
    if name == "tsv":
        return InputSpec(path, direction="en-de")
    return InputSpec(path, written(folder, "ref", REFERENCES, end), written(folder, "src", SOURCES, end), "eng-deu")


def read_lines(folder: Path, lines: list[str]) -> list[Hypothesis]:
    return read(InputSpec(written(folder, "h.jsonl", lines))).rows


# ------------------------------------------------------------------------------------------------- every format


@EVERY
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str, end: str) -> None:
    found = read(asked(tmp_path, name, end))
    expected = [
        Hypothesis(id=str(n + 1), source="eng", target="deu", translation=OUTPUTS[n], reference=REFERENCES[n])
        for n in range(3)
    ]
    bare = [row.model_copy(update={"raw": "", "reference_transcript": None}) for row in found.rows]
    assert bare == expected
    assert [row.reference_transcript for row in found.rows] == SOURCES
    counted = {s.metric: (s.value, s.count) for s in score(found.rows, {}, found.counts) if s.direction == "all"}
    assert counted.pop("empty") == (1, 3) and all(value == (0, 3) for value in counted.values())


def test_every_format_gives_the_same_scores(tmp_path: Path) -> None:
    scores = [score(read(asked(tmp_path, name)).rows, choose(["BLEU", "chrF"]), {}) for name in FORMATS]
    assert scores == [scores[0]] * len(FORMATS)


def test_a_byte_order_mark_and_a_missing_last_line_end_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "h"
    path.write_bytes(b"\xef\xbb\xbf" + "\n".join(OUTPUTS).encode())
    given = InputSpec(path, written(tmp_path, "ref", REFERENCES), direction="eng-deu")
    assert [row.translation for row in read(given).rows] == OUTPUTS


@given(st.lists(st.text(st.characters(blacklist_characters="\n", codec="utf-8"), max_size=8), min_size=1, max_size=6))
def test_no_plain_line_is_lost_or_made(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    lines = [f".{line}." for line in lines]  # so that nothing depends on a line end or on braces
    folder = tmp_path_factory.mktemp("plain")
    path = written(folder, "h", lines)
    assert [row.translation for row in read(InputSpec(path, path, direction="eng-deu")).rows] == lines


# ------------------------------------------------------------------------------------------------- the papers' rows


def test_an_srt_output_is_parted_at_its_tags(tmp_path: Path) -> None:
    row = read_lines(tmp_path, [srt("<|eng|><|zho|>", "Yes.<|eng|><|zho|>是。", " Yes. <|eng|><|zho|> 对。 ")])[0]
    assert (row.source, row.target) == ("eng", "cmn")  # LLM-SRT's zho is our cmn
    assert (row.transcript, row.reference_transcript) == ("Yes.", "Yes.")
    assert (row.translation, row.reference) == ("对。", "是。")
    assert row.raw == " Yes. <|eng|><|zho|> 对。 "


@pytest.mark.parametrize(
    "response", ["Error", "", "Yes.<|eng|><|fra|>Ja.", "Yes.<|eng|><|deu|>Ja.<|eng|><|deu|>Ja.", "Yes.<|eng|>Ja."]
)
def test_a_response_that_does_not_keep_the_format_is_scored_as_it_is_and_counted(tmp_path: Path, response: str) -> None:
    tags = "<|eng|><|deu|>"
    good, bad = (srt(tags, f"Yes.{tags}Ja.", text) for text in (f"Yes.{tags}Ja.", response))
    found = read(InputSpec(written(tmp_path, "h.jsonl", [good, bad, good])))
    assert [row.id for row in found.rows] == ["1", "2", "3"]
    assert (found.rows[1].transcript, found.rows[1].translation) == (response, response)
    values = {(s.metric, s.direction): (s.value, s.count) for s in score(found.rows, choose(["WER"]), found.counts)}
    assert values["malformed", "eng-deu"] == (1, 3)
    assert values["WER", "eng"][1] == 3 and values["WER", "eng"][0] > 0


def test_asr_and_st_outputs_keep_to_their_side(tmp_path: Path) -> None:
    asr, direct = srt("<|eng|>", "Yes.", "Yess."), srt("<|eng|><|deu|>", "Ja.", "Nein.")
    row = read_lines(tmp_path, ["", asr])[0]
    assert (row.id, row.source, row.target, row.transcript) == ("2", "eng", "eng", "Yess.")
    row = read_lines(tmp_path, [direct])[0]
    assert (row.transcript, row.translation, row.reference_transcript) == ("", "Nein.", None)
    with pytest.raises(DragomanError, match="mixes tasks with and without transcripts"):
        read_lines(tmp_path, [asr, direct])


# ------------------------------------------------------------------------------------------------- columns and lines


def test_columns_by_name(tmp_path: Path) -> None:
    lines = ["Source\tReference\tHypothesis", "Yes.\tJa.\tNein.", "No.\tNein.\t"]
    rows = read(InputSpec(written(tmp_path, "h.tsv", lines), direction="eng-deu")).rows
    assert [(row.translation, row.reference, row.reference_transcript) for row in rows] == [
        ("Nein.", "Ja.", "Yes."),
        ("", "Nein.", "No."),
    ]


def test_transcripts(tmp_path: Path) -> None:
    path = written(tmp_path, "h", ["one too", "three"])
    rows = read(InputSpec(path, written(tmp_path, "ref", ["one two", "three"]), direction="English")).rows
    assert {s.direction: s.value for s in score(rows, choose(["WER"]), {})} == {"eng": pytest.approx(100 / 3)} | {
        "all": pytest.approx(100 / 3)
    }


def test_outputs_that_are_all_empty_are_outputs(tmp_path: Path) -> None:
    given = InputSpec(written(tmp_path, "h", ["", ""]), written(tmp_path, "ref", ["a", "b"]), direction="eng-deu")
    assert {s.metric: s.value for s in score(read(given).rows, choose(["BLEU"])) if s.direction == "all"}["empty"] == 2


@pytest.mark.parametrize(
    ("lines", "more", "says"),
    [
        ([], {}, "h: is empty"),
        (["a", "b"], {}, "h: holds plain lines; give their references with --ref"),
        (
            ["a", "b"],
            {"references": "one", "direction": "eng-deu"},
            "h has 2 lines and .*one has 1; they must be parallel",
        ),
        (["a"], {"references": "one", "sources": "two", "direction": "eng-deu"}, "h has 1 lines and .*two has 2"),
        (["a"], {"references": "one"}, "with --direction, such as eng-deu"),
        (["a"], {"references": "one", "direction": "eng-gibberish"}, "Unknown language 'gibberish'"),
        (["a"], {"references": "one", "sources": "one", "direction": "eng"}, "transcripts have no source"),
        (["a"], {"references": "none", "direction": "eng-deu"}, "none: cannot be read"),
        (["a\tb", "c"], {"direction": "eng-deu"}, "h:2: has 1 columns where 2 are expected"),
        (["a\tb"], {"sources": "one", "direction": "eng-deu"}, "leave --src out"),
        (["a\tb\tc\td"], {"direction": "eng-deu"}, "h:1: has 4 columns where 3 are expected"),
        ([dragoman(0)], {"references": "one"}, "h: brings its references and languages; leave out --ref"),
        ([dragoman(0), "{"], {}, r"h:2: row: Invalid JSON"),
        ([papers(0)], {"direction": "eng-deu"}, "h: brings its references"),
        (['{"prompt": "<|eng|>", "gt": "x"}'], {}, "h:1: response: Field required"),
        ([srt("Translate!", "a", "b")], {}, "h:1: prompt: does not end with tags of languages"),
        ([srt("<|eng|><|xyz|>", "a", "b")], {}, "h:1: prompt: Unknown language 'xyz'"),
        ([srt("<|eng|><|deu|>", "a<|eng|><|deu|>b<|eng|><|deu|>c", "b")], {}, "h:1: gt: holds .* 2 times"),
        (['{"hypotheses": []}'], {}, "h: is in no format that can be scored"),
    ],
)
def test_what_does_not_fit_is_one_sentence(tmp_path: Path, lines: list[str], more: dict[str, str], says: str) -> None:
    written(tmp_path, "one", ["x"])
    written(tmp_path, "two", ["x", "y"])
    paths = {key: value if key == "direction" else tmp_path / value for key, value in more.items()}
    with pytest.raises(DragomanError, match=says) as error:
        read(InputSpec(written(tmp_path, "h", lines), **paths))  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_other_encodings_are_told(tmp_path: Path) -> None:
    (tmp_path / "h").write_bytes("grün".encode("latin-1"))
    with pytest.raises(DragomanError, match="h: is not UTF-8 text"):
        read(InputSpec(tmp_path / "h"))
