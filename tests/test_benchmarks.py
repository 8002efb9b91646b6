"""benchmarks/published.py at toy width: all systems write equally much, and the table holds through a full card."""

from __future__ import annotations

import weakref
from typing import Any

import published
import pytest
import torch
from published import NAMES, REFERENCE, Cell, Machine, Shelf, log_mels, make, measure

CPU = torch.device("cpu")


def table(capsys: Any) -> list[list[str]]:
    """The rows of the last table."""
    last = capsys.readouterr().out.split("After turn ")[-1]
    return [line.strip("| ").split(" | ") for line in last.splitlines() if line.startswith("| ")][1:]


@pytest.mark.parametrize("name", NAMES)
def test_each_system_writes_what_is_asked_in_bf16(name: str) -> None:
    machine = Machine(CPU, torch.bfloat16, full=False)
    for beams in (1, 2):  # measure fails where less or more is written
        cell = measure(make(name, machine), machine, log_mels(2), beams, 3, 4, 60.0)
        assert cell.samples == 4 and cell.peak_gb is None


def test_they_take_turns_and_the_ratio_is_the_median_of_the_turns(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    options = "--width toy --device cpu --batches 1 2 --beams 1 --tokens 2 --samples 1 --turns 3"
    names = {REFERENCE: published.Qwen2Audio, "llm-srt-7b": published.SpeechLlm}
    measured: list[tuple[str, int, Cell]] = []

    def noted(system: Any, machine: Machine, mels: Any, *given: Any) -> Cell:
        name = next(name for name, kind in names.items() if isinstance(system, kind))
        measured.append((name, len(mels), measure(system, machine, mels, *given)))
        return measured[-1][2]

    monkeypatch.setattr(published, "measure", noted)
    published.main([*options.split(), "--systems", "llm-srt-7b", REFERENCE])
    assert [row[:2] for row in measured] == 3 * [(name, batch) for batch in (1, 2) for name in names]
    rates = {
        (n, b): [cell.rate for name, size, cell in measured if (name, size) == (n, b)] for n in names for b in (1, 2)
    }
    for name, batch, beams, _, ratio, *_ in table(capsys):
        turns = [own / other for own, other in zip(rates[name, int(batch)], rates[REFERENCE, int(batch)], strict=True)]
        assert beams == "1" and float(ratio) == pytest.approx(sorted(turns)[1], abs=0.006)


def test_the_protocol_of_a_table_is_measured_beside_it(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """LLM-SRT's Table 7, each cell of 1,000 samples, however long they take; a card too small for one says so."""
    asked: set[tuple[float, float]] = set()

    def measured(
        system: str, machine: Machine, mels: Any, beams: int, tokens: int, samples: float, most_s: float, *_: Any
    ) -> Cell:
        asked.add((samples, most_s))
        if system == REFERENCE and len(mels) * beams > 4:
            raise torch.OutOfMemoryError("full")
        return Cell(2 * len(mels), 0.1 * len(mels), None)

    monkeypatch.setattr(published, "make", lambda name, machine: name)
    monkeypatch.setattr(published, "measure", measured)
    monkeypatch.setattr(published, "log_mels", lambda count: (None,) * count)
    published.main(["--protocol", "llm-srt", "--width", "toy", "--device", "cpu", "--turns", "2"])
    assert asked == {(500.0, float("inf"))}
    found = {(name, int(batch), int(beams)): rest for name, batch, beams, *rest in table(capsys)}
    greedy, beams = [(batch, 1) for batch in (4, 8, 16, 32, 64)], [(batch, 5) for batch in (4, 8, 12)]
    assert set(found) == {(name, *amount) for name in (REFERENCE, "llm-srt-7b") for amount in greedy + beams}
    assert found["llm-srt-7b", 64, 1][:2] == ["50", "19"] and found["llm-srt-7b", 12, 5][:2] == ["50", "56"]
    assert found[REFERENCE, 4, 1][:2] == ["50", "59"] and found[REFERENCE, 8, 1][:2] == ["out of memory"] * 2
    assert found[REFERENCE, 16, 1][:2] == ["out of memory", "-"]


def test_what_a_protocol_sets_is_not_asked_for_beside_it(capsys: Any) -> None:
    for option, value in (("--systems", REFERENCE), ("--batches", "8"), ("--beams", "1")):
        with pytest.raises(SystemExit, match="2"):
            published.arguments(["--protocol", "llm-srt", option, value])
        assert f"has its own systems, batches and beams; leave out {option}." in capsys.readouterr().err
    assert published.arguments(["--protocol", "llm-srt", "--seconds", "9"]).seconds == 9
    assert published.arguments([]).seconds == 15


def test_on_a_gpu_there_is_one_system_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    alive: weakref.WeakSet[published.System] = weakref.WeakSet()
    most = []

    class Small(published.System):
        def __call__(self, mels: Any, beams: int, tokens: int) -> list[int]:
            most.append(len(alive))
            return [tokens] * len(mels)

    def built(name: str, machine: Machine) -> published.System:
        alive.add(system := Small())
        return system

    def measured(system: published.System, *_: Any) -> None:
        system([], 1, 1)

    monkeypatch.setattr(published, "make", built)
    monkeypatch.setattr(published, "measure", measured)
    options = published.arguments(["--batches", "1", "2", "--beams", "1"])
    for device, held in (("cuda", 1), ("cpu", 2)):
        found: published.Turns = {}
        shelf = Shelf(Machine(torch.device(device), torch.float32, full=False))
        published.one_turn(shelf, NAMES[:2], [(1, 1), (2, 1)], options, found)
        assert max(most) == held and len(most) == 4
        assert sorted(found) == sorted((name, amount) for name in NAMES[:2] for amount in ((1, 1), (2, 1)))
        shelf.built.clear()
        most.clear()


def test_out_of_memory_is_a_cell_and_not_the_end(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Small(published.System):
        def __call__(self, mels: Any, beams: int, tokens: int) -> list[int]:
            if len(mels) * beams > 2:
                raise torch.OutOfMemoryError("full")
            return [tokens] * len(mels)

    def built(name: str, machine: Machine) -> published.System:
        if name == "mcat-large-27b":
            raise torch.OutOfMemoryError("full")
        return Small()

    monkeypatch.setattr(published, "make", built)
    options = "--width toy --device cpu --batches 2 4 1 --beams 1 --tokens 2 --samples 1"
    published.main([*options.split(), "--systems", REFERENCE, "mcat-large-27b", "llm-srt-7b"])
    full = [row[0] for row in table(capsys) if row[3] == "out of memory"]
    assert sorted(full) == ["llm-srt-7b"] + ["mcat-large-27b"] * 3 + [REFERENCE]
