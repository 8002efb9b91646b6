"""benchmarks/published.py and card.py at toy width: all systems write equally much, what a card is measured by was
counted by hand, and the tables hold through a full card."""

from __future__ import annotations

import json
import weakref
from pathlib import Path
from typing import Any

import card
import numpy as np
import published
import pytest
import torch
from padding import positions
from published import NAMES, REFERENCE, Cell, Machine, Shelf, log_mels, make, measure
from roofline import CardRates, DecodingWork, least_seconds, work_of

from dragoman.data.batching import Example, TextRow, collate
from dragoman.recipe import load_recipe

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


def test_the_least_time_is_that_of_arithmetic_or_of_reading() -> None:
    work = DecodingWork(heard_flops=1e9, weights=900, head=100, weight_bytes=2, cache_bytes=10, prompt=4)
    # two clips: 2 x (1e9 + 2 x 900 x 4 + 2 x 100) operations, then 2,000 bytes of weights and 5, then 6 tokens each
    reading = least_seconds(work, CardRates(bytes_per_s=1000, flops_per_s=1e9), batch=2, tokens=3)
    assert reading == pytest.approx(2.0000148 + 2.1 + 2.12)
    # one: 1e9 + 7,200 + 200 operations, then 2 x 1,000
    arithmetic = least_seconds(work, CardRates(bytes_per_s=1e9, flops_per_s=1000), batch=1, tokens=2)
    assert arithmetic == pytest.approx(1_000_007.4 + 2)


def test_the_work_of_a_published_system_is_that_of_its_checkpoint() -> None:
    """Qwen2.5-7B: 6,525,621,760 weights beside 152,064 x 3,584 of embeddings and of a head; keys and values of 28
    layers, 4 heads, 128 wide. Qwen2-Audio's LLM has 32 heads in each of 32 layers, and hears 250 tokens."""
    whole = Machine(torch.device("meta"), torch.bfloat16, full=True)
    ours, theirs = work_of(make("llm-srt-7b", whole)), work_of(make(REFERENCE, whole))
    assert (ours.weights, ours.head) == (6_525_621_760, 152_064 * 3_584)
    assert (ours.cache_bytes, ours.prompt) == (2 * 28 * 4 * 128 * 2, 80 + 14)
    assert (theirs.cache_bytes, theirs.prompt) == (2 * 32 * 32 * 128 * 2, 250 + 14)
    for work in (ours, theirs):  # Whisper-large's encoder hears 1,500 frames
        assert work.heard_flops == pytest.approx(2 * 637e6 * 1500, rel=0.01)


SMOKE = "--device cpu --width toy --batches 1 2 --tokens 2 --targets 1 2 --steps 2x2 --training_steps 1 --seconds 0.01"


def card_rows(out: Path, minutes: str = "5") -> list[dict[str, Any]]:
    card.main([*SMOKE.split(), "--minutes", minutes, "--out", str(out)])
    return [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]


def test_a_card_is_measured_in_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All parts; a system that does not fit is rows that say so."""

    def made(name: str, machine: Machine) -> published.System:
        if name == "mcat-large-27b":
            raise torch.OutOfMemoryError("full")
        return make(name, machine)

    monkeypatch.setattr(card, "make", made)
    rows = card_rows(tmp_path)
    cells = {(row["system"], row["batch"]): row for row in rows if row["part"] == "decoding"}
    assert set(cells) == {(name, batch) for name in NAMES for batch in (1, 2)}
    for (name, batch), row in cells.items():
        if name == "mcat-large-27b":
            assert row["problem"] == "out of memory"
            continue
        assert row["ratio"] == row["samples_per_s"] / cells[REFERENCE, batch]["samples_per_s"]
        assert 0 < row["of_roofline"] < 1
    passes = {(row["system"], row["targets"]): row for row in rows if row["part"] == "targets" and "problem" not in row}
    assert set(passes) == {(name, targets) for name in ("llm-srt-7b", "mcat-small-9b") for targets in (1, 2)}
    for (name, targets), row in passes.items():
        if targets > 1:
            assert row["in_turn"] == targets * passes[name, 1]["seconds"] / row["seconds"]
    (steps,) = (row for row in rows if row["part"] == "training")
    assert steps["samples_per_s"] > 0 and 0 < steps["of_product"] < 1
    assert [row["system"] for row in rows if row["part"] == "best"] == sorted(set(NAMES) - {"mcat-large-27b"})
    shown = (tmp_path / "card.md").read_text()
    assert "| mcat-large-27b | 2 | 2 | out of memory | - | - | - | - |" in shown


def test_what_fails_on_a_card_is_said_and_the_rest_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str, machine: Machine) -> published.System:
        raise ValueError("no such kernel")

    monkeypatch.setattr(card, "make", broken)
    with pytest.raises(SystemExit, match="failed"):
        card_rows(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert "problem" not in rows[0] and {row["problem"] for row in rows[1:]} == {"failed: ValueError"}
    assert "no such kernel" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="new folder"):
        card_rows(tmp_path)


def test_a_card_s_time_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card, "make", lambda name, machine: None)
    rows = card_rows(tmp_path, minutes="0")
    assert len(rows) == 1 + 4 * 2 + 3 * 2 + 1 and {row["problem"] for row in rows} == {"no time left"}


def test_padding_is_what_the_llm_reads_for_nothing() -> None:
    """MCAT hears 30 tokens in each window; a row of 3 tokens of text waits for one of 5."""
    window = np.zeros((1500, 1), np.float32)
    rows = [TextRow((5,), (6, 7, 8, 9)), TextRow((5,), (6, 7))]
    batch = collate([Example(None, (row,), frames=window) for row in rows], 0)
    assert positions(batch, load_recipe("mcat-small-9b")) == (2 * 35, 35 + 33)
