"""benchmarks/peers.py: one recording a language, a process for each way, a table with word errors beside the times."""

from __future__ import annotations

from pathlib import Path

import peers
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples" / "manifest.jsonl"


@pytest.mark.slow
def test_a_way_is_measured_in_a_process_of_its_own(random_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--languages", "eng", "deu", "--threads", "1", "--repeats", "1", "--pause", "0.5"]
    peers.main([str(EXAMPLES), "--model", str(random_model), *asked, "--ways", peers.OURS[0]])
    about, _, header, _, row = capsys.readouterr().out.splitlines()
    assert about.endswith("s of sound: eng, deu")
    cells = dict(zip(header.strip("| ").split(" | "), row.strip("| ").split(" | "), strict=True))
    assert cells["way"] == peers.OURS[0] and cells["ratio"] == "-" and float(cells["processor s"]) > 0
    assert float(cells["MB at most"]) > 100 and cells["WER"].startswith("eng ")


def test_ratios_are_to_the_first_of_the_others_with_as_many_threads(capsys: pytest.CaptureFixture[str]) -> None:
    spoken = [peers.Spoken("a.flac", "eng", 10.0, "one two three four")]
    turns = {
        (peers.OURS[0], 1): [peers.Cell(2.0, 2.0, 300.0, ["one two three"]), peers.Cell(4.0, 4.0, 200.0, ["one two"])],
        ("faster-whisper int8", 1): [peers.Cell(1.0, 1.0, 100.0, ["one two three four"])] * 2,
    }
    peers.show(turns, spoken)
    ours, theirs = (line.split(" | ") for line in capsys.readouterr().out.splitlines()[-2:])
    assert ours[1:] == ["1", "3.0", "3.00", "3.0", "0.300", "300", "eng 50.0 |"]
    assert theirs[3] == "1.00" and theirs[-1] == "eng 0.0 |"
