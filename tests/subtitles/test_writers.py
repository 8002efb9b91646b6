"""A recording's files: read back by another library where one reads the format rightly, else compared to the letter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pysubs2
import pytest

from dragoman.errors import OutputError
from dragoman.inference.result import Result, Segment
from dragoman.model.calibration import Calibration
from dragoman.subtitles.cues import Cue, SubtitleOptions, cues
from dragoman.subtitles.writers import FORMATS, to_dict, to_json, to_srt, to_tsv, to_txt, to_vtt, write_outputs

RESULT = Result(
    "talk.mp3",
    ("deu", "fra"),
    [
        Segment(0.5, 1.25, "eng", "Good morning.", {"deu": "Guten Morgen.", "fra": "Bonjour."}, -0.25),
        Segment(
            3725.0004, 3726.9996, "eng", "a < b & c {x}\n\nx --> y", {"deu": "", "fra": "a\tb"}, -1.0, ("transcript",)
        ),
    ],
)


def test_srt_to_the_letter() -> None:
    assert to_srt(cues(RESULT, ["eng"])) == (
        "1\n00:00:00,500 --> 00:00:01,333\nGood morning.\n\n2\n01:02:05,000 --> 01:02:07,000\na < b & c {x} x → y\n"
    )


def test_vtt_to_the_letter() -> None:
    assert to_vtt(cues(RESULT, ["eng"])) == (
        "WEBVTT\n"
        "\n"
        "00:00:00.500 --> 00:00:01.333\nGood morning.\n"
        "\n"
        "01:02:05.000 --> 01:02:07.000\na &lt; b &amp; c {x} x --&gt; y\n"
    )


def test_tsv_and_txt_hold_the_segments_as_they_are() -> None:
    assert to_tsv(RESULT, "fra") == "start\tend\ttext\n500\t1250\tBonjour.\n3725000\t3727000\ta b\n"
    assert to_txt(RESULT, "fra") == "Bonjour.\na b\n"
    assert to_txt(RESULT, "deu") == "Guten Morgen.\n"  # a segment without a translation has no line


@pytest.mark.parametrize(("name", "writer"), [("srt", to_srt), ("vtt", to_vtt)])
@pytest.mark.parametrize("hours", [0, 27, 99])
def test_another_library_reads_the_same_times(name: str, writer: Callable[[Iterable[Cue]], str], hours: int) -> None:
    late_ms = 3_600_000 * hours + 59_999
    read = pysubs2.SSAFile.from_string(
        writer([Cue(500, 1250, "Good morning."), Cue(late_ms, late_ms + 1, "one")]), name
    )
    found = [(event.start, event.end, event.plaintext) for event in read]
    assert found == [(500, 1250, "Good morning."), (late_ms, late_ms + 1, "one")]


def test_hours_go_beyond_two_digits() -> None:
    assert "100:00:01,000 --> " in to_srt([Cue(360_001_000, 360_002_000, "x")])


def test_json_holds_everything_and_reads_back() -> None:
    read = json.loads(to_json(to_dict(RESULT)))
    assert read["language"] == "eng" and read["targets"] == ["deu", "fra"]
    assert read["translations"] == {"deu": "Guten Morgen.", "fra": "Bonjour. a\tb"}
    assert read["segments"][0]["start_s"] == 0.5 and read["segments"][1]["truncated"] == ["transcript"]


def test_json_says_what_to_doubt() -> None:
    segment = Segment(
        0, 1, "eng", "Yes.", {"deu": "Ja.", "fra": "Yes, I do."}, -0.1, looped=("deu",), off_target=("fra",),
        missed={"deu": ("doch",)}, scores={"deu": -0.2, "fra": -3.0}, language_confidence=0.75,
        calibration=Calibration(
            about="2 clips", low_transcript=0.8, low_translation=0.7, low_language=0.6, language_temperature=1.0
        ),
    )  # fmt: skip
    other = Segment(1, 4, "eng", "No.", {}, 0.0, language_confidence=0.5)
    read = json.loads(to_json(to_dict(Result("a", ("deu", "fra"), [segment, other]))))
    row = read["segments"][0]
    assert row["confidence"] == {"transcript": 0.9048, "deu": 0.8187, "fra": 0.0498}
    assert row["low_confidence"] == {"transcript": False, "deu": False, "fra": True}
    assert (row["looped"], row["off_target"], row["missed"]) == (["deu"], ["fra"], {"deu": ["doch"]})
    assert (row["language_confidence"], read["language_confidence"]) == (0.75, 0.5625)
    assert read["calibration"] == "2 clips"
    nobody_knows = to_dict(Result("a", ("deu", "fra"), [replace(segment, calibration=None)]))
    assert nobody_knows["calibration"] == "not calibrated"
    assert nobody_knows["segments"][0]["low_confidence"] == {"transcript": None, "deu": None, "fra": None}
    assert nobody_knows["segments"][0]["confidence"] == row["confidence"]


def test_json_of_a_name_that_is_not_utf8_is_utf8_and_gives_the_name_back() -> None:
    name = os.fsdecode(b"bad\xff\x9b.wav")
    text = to_json({"audio": name, "text": "grün\x9b"})
    assert "grün" in text and "\x9b" not in text
    assert json.loads(text.encode("utf-8"))["audio"] == name


def test_one_file_a_language_and_one_json(tmp_path: Path) -> None:
    written = write_outputs(RESULT, tmp_path, "talk", FORMATS)
    names = {f"talk.{code}.{kind}" for code in ("eng", "deu", "fra") for kind in ("txt", "vtt", "srt", "tsv")}
    assert {path.name for path in written} == {path.name for path in tmp_path.iterdir()} == {*names, "talk.json"}


def test_bilingual_subtitles_are_files_of_their_own(tmp_path: Path) -> None:
    write_outputs(RESULT, tmp_path, "talk", ["srt", "txt"], SubtitleOptions(bilingual=True))
    one = {f"talk.{code}.{kind}" for code in ("eng", "deu", "fra") for kind in ("srt", "txt")}
    assert {path.name for path in tmp_path.iterdir()} == {*one, "talk.deu+eng.srt", "talk.fra+eng.srt"}
    both = (tmp_path / "talk.fra+eng.srt").read_text(encoding="utf-8")
    assert both.startswith("1\n00:00:00,500 --> 00:00:01,333\nBonjour.\nGood morning.\n\n2\n")


def test_a_recording_without_speech_still_has_its_files(tmp_path: Path) -> None:
    write_outputs(Result("a.wav", ("deu",)), tmp_path, "a", FORMATS)
    contents = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert json.loads(contents.pop("a.json"))["segments"] == []
    assert contents == {"a.deu.txt": "", "a.deu.srt": "", "a.deu.vtt": "WEBVTT\n", "a.deu.tsv": "start\tend\ttext\n"}


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "talk.deu.srt").mkdir()  # something else has the name
    with pytest.raises(OutputError, match=r"talk\.deu\.srt: cannot be written"):
        write_outputs(RESULT, tmp_path, "talk", ["srt"])
    assert {path.name for path in tmp_path.iterdir()} == {"talk.eng.srt", "talk.deu.srt"}


def test_no_torch() -> None:
    code = "import sys, dragoman.subtitles.writers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
