"""Where stderr is not a terminal, a line is left of each thing that was done."""

from __future__ import annotations

import pytest

from dragoman.cli.progress import progress_bars


def test_one_line_for_each_thing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as tell:
        for step in range(4):
            tell("stage [asr]", step, 3, f"loss {step}")
        tell("reading", 7, None)
    found = capsys.readouterr()
    first, second = found.err.splitlines()
    assert first.startswith("stage [asr] ") and "3/3" in first and "loss 3" in first
    assert second.startswith("reading ") and "7/?" in second and not found.out


def test_who_is_not_shown_anything_reads_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars(shown=False) as tell:
        tell("encoding", 1, 1)
    assert capsys.readouterr() == ("", "")
