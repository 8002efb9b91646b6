"""benchmarks/published.py at toy width: all systems write equally much, and the table holds through a full card."""

from __future__ import annotations

from typing import Any

import published
import pytest
import torch
from published import NAMES, REFERENCE, Machine, make, measure
from shapes import WHISPER_LARGE, qwen2_audio

CPU = torch.device("cpu")


def table(capsys: Any) -> list[list[str]]:
    lines = capsys.readouterr().out.splitlines()
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")][1:]


def test_qwen2_audio_is_as_large_as_released() -> None:
    with torch.device("meta"):
        model = qwen2_audio(WHISPER_LARGE, 2)
    assert sum(parameter.numel() for parameter in model.parameters()) == 8_397_094_912


@pytest.mark.parametrize("name", NAMES)
def test_each_system_writes_what_is_asked_in_bf16(name: str) -> None:
    machine = Machine(CPU, torch.bfloat16, full=False)
    for beams in (1, 2):  # measure fails where less or more is written
        cell = measure(make(name, machine), machine, 2, beams, 3, 4, 60.0)
        assert cell.samples == 4 and cell.peak_gb is None


def test_the_ratio_is_to_the_same_batch_and_beams_of_the_same_run(capsys: Any) -> None:
    options = "--width toy --device cpu --batches 1 2 --beams 1 --tokens 2 --samples 1"
    published.main([*options.split(), "--systems", "llm-srt-7b", REFERENCE])
    rows = table(capsys)
    assert [row[:3] for row in rows] == [[n, b, "1"] for n in (REFERENCE, "llm-srt-7b") for b in ("1", "2")]
    rates, ratios = [float(row[3]) for row in rows], [float(row[4]) for row in rows]
    expected = [1.0, 1.0, rates[2] / rates[0], rates[3] / rates[1]]
    assert ratios == pytest.approx(expected, rel=0.02, abs=0.006)


def test_out_of_memory_is_a_cell_and_not_the_end(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Small(published.System):
        def __call__(self, clips: Any, beams: int, tokens: int) -> list[int]:
            if len(clips) * beams > 2:
                raise torch.OutOfMemoryError("full")
            return [tokens] * len(clips)

    def built(name: str, machine: Machine) -> published.System:
        if name == "mcat-large-27b":
            raise torch.OutOfMemoryError("full")
        return Small()

    monkeypatch.setattr(published, "make", built)
    options = "--width toy --device cpu --batches 2 8 1 --beams 1 --tokens 2 --samples 1"
    published.main([*options.split(), "--systems", REFERENCE, "mcat-large-27b", "llm-srt-7b"])
    full = [row[0] for row in table(capsys) if row[3] == "out of memory"]
    assert full == [REFERENCE, "llm-srt-7b"] + ["mcat-large-27b"] * 3
