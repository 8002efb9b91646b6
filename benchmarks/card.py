"""All that is to be known of a card, in one run of `--minutes`:

    python benchmarks/card.py --out out/card

- its rates, of a copy and of a product of matrices;
- the published systems at full size with random weights (see `published.py`), greedily: samples a second, their ratio
  to Qwen2-Audio at the same batch and each at its best, and their share of the roofline (`roofline.py`);
- 1 to 69 targets in one pass, against a pass for each;
- training steps of LLM-SRT-3B, with the share of the card's arithmetic that the model's own takes (MFU).

Every row is printed and written (`rows.jsonl`, `card.md`) as soon as it is known, so that an interruption loses none.
What does not fit is a row "out of memory"; what there was no time for says so. At `--width toy` all of it runs on a
CPU, to try it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import product, repeat
from pathlib import Path
from typing import Any

import torch
from common import in_turns
from published import NAMES, PROMPT, REFERENCE, Machine, SpeechLlm, System, empty, log_mels, make, measure
from roofline import CardRates, least_seconds, measured_rates, work_of
from srt_step import examples_of, windowed

from dragoman.data.batching import TextRow, collate
from dragoman.data.features import Features
from dragoman.inference.decoding.generate import TextSearch
from dragoman.inference.decoding.prefix_cache import encode_audio_prefix
from dragoman.model.trainable import train_only
from dragoman.recipe import Schedule
from dragoman.training.monitoring.throughput import SpeechWork
from dragoman.training.trainer import TrainingJob, fit, make_accelerator

TRAINED = "llm-srt-3b"
COLUMNS = {
    "rates": {"bytes_per_s": "bytes/s of a copy", "flops_per_s": "FLOP/s of a product"},
    "decoding": {
        "system": "system", "tokens": "tokens", "batch": "batch", "samples_per_s": "samples/s",
        "ratio": "ratio to Qwen2-Audio", "of_roofline": "share of the roofline", "peak_gb": "peak GB",
        "samples": "samples measured",
    },
    "best": {
        "system": "system", "tokens": "tokens", "batch": "best batch", "samples_per_s": "samples/s",
        "ratio": "ratio to Qwen2-Audio at its best",
    },
    "targets": {
        "system": "system", "targets": "targets", "seconds": "s in one pass", "in_turn": "passes one after another",
        "in_one_batch": "in one batch",
    },
    "training": {
        "batch": "utterances", "targets": "targets of each", "samples_per_s": "samples/s", "tokens_per_s": "tokens/s",
        "mfu": "MFU", "of_product": "of the product's rate", "peak_memory_gb": "peak GB",
    },
}  # fmt: skip
"""Of each table: the fields of its rows, and what stands above them."""


@dataclass
class Results:
    """Rows as they come, in `out`: `rows.jsonl`, and as tables in `card.md`."""

    out: Path
    head: str
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, row: dict[str, Any]) -> None:
        """`row["part"]` is a table's name; with a `problem` it has none of what was to be measured."""
        self.rows.append(row)
        print(json.dumps(row), flush=True)
        with open(self.out / "rows.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        (self.out / "card.md").write_text(self.markdown(), encoding="utf-8")

    def of(self, part: str, /, **same: Any) -> list[dict[str, Any]]:
        """What was measured of a part, with these values."""
        wanted = {"part": part, **same}.items()
        return [row for row in self.rows if wanted <= row.items() and "problem" not in row]

    def markdown(self) -> str:
        return "\n\n".join([self.head, *(table(part, self.rows) for part in COLUMNS)]) + "\n"


def table(part: str, rows: Sequence[dict[str, Any]]) -> str:
    columns = COLUMNS[part]
    lines = [list(columns.values()), ["---"] * len(columns)]
    for row in (row for row in rows if row["part"] == part):
        lines.append([_shown(row.get(key)) for key in columns])
        if "problem" in row:
            lines[-1][lines[-1].index("-")] = row["problem"]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def tried(run: Callable[[], Any]) -> tuple[Any, str | None]:
    """What it returns, or what came in its way: one part's failure is not the end of a run that will not come again."""
    try:
        return run(), None
    except torch.OutOfMemoryError:
        problem = "out of memory"
    except Exception as error:
        traceback.print_exc()
        problem = f"failed: {type(error).__name__}"
    empty()  # only out here is what the traceback held let go
    return None, problem


@dataclass
class CardRun:
    machine: Machine
    options: argparse.Namespace
    results: Results

    def row(
        self, what: dict[str, Any], until: float, run: Callable[[], dict[str, Any]], problem: str | None = None
    ) -> None:
        """Add what `run` finds, if there is no problem and it is not too late."""
        if problem is None and time.monotonic() > until:
            problem = "no time left"
        found = None
        if problem is None:
            found, problem = tried(run)
        self.results.add({**what, **(found if problem is None else {"problem": problem})})

    def mels(self, count: int) -> tuple[Features, ...]:
        """So many clips, made once."""
        return log_mels(max(*self.options.batches, *self.options.targets))[:count]

    @property
    def rates(self) -> CardRates | None:
        """None where they could not be measured."""
        known = self.results.of("rates")
        return CardRates(known[0]["bytes_per_s"], known[0]["flops_per_s"]) if known else None


def rates_part(run: CardRun, until: float) -> None:
    machine = run.machine
    run.row({"part": "rates"}, until, lambda: asdict(measured_rates(machine.device, machine.dtype, machine.full)))


def system_part(name: str, run: CardRun, until: float) -> None:
    """One system, which is alone on the card: how fast it is, and what several targets cost."""
    system, problem = tried(lambda: make(name, run.machine))
    for tokens, batch in product(run.options.tokens, run.options.batches):
        what = {"part": "decoding", "system": name, "tokens": tokens, "batch": batch}
        run.row(what, until, partial(decoding, run, system, what), problem)
    if name != REFERENCE:
        for targets in run.options.targets:
            what = {"part": "targets", "system": name, "targets": targets}
            run.row(what, until, partial(many_targets, run, system, what), problem)


def decoding(run: CardRun, system: System, what: dict[str, Any]) -> dict[str, Any]:
    batch, tokens = what["batch"], what["tokens"]
    cell = measure(system, run.machine, run.mels(batch), 1, tokens, float("inf"), run.options.seconds)
    found = {"samples_per_s": cell.rate, "peak_gb": cell.peak_gb, "samples": cell.samples}
    if run.rates is not None:
        found["of_roofline"] = least_seconds(work_of(system), run.rates, batch, tokens) * cell.rate / batch
    others = run.results.of("decoding", **{**what, "system": REFERENCE})
    if what["system"] == REFERENCE:
        found["ratio"] = 1.0
    elif others:
        found["ratio"] = cell.rate / others[0]["samples_per_s"]
    return found


def many_targets(run: CardRun, system: SpeechLlm, what: dict[str, Any]) -> dict[str, Any]:
    """A clip heard and transcribed once for all targets, against once for each."""
    targets, tokens = what["targets"], run.options.tokens[0]
    ways: dict[str, Callable[[], None]] = {
        "one pass": lambda: translated(system, run.mels(1), targets, tokens),
        "in one batch": lambda: translated(system, run.mels(targets), 1, tokens),
    }
    seconds = {name: times[0] for name, times in in_turns(ways, repeats=1).items()}
    found = {"seconds": seconds["one pass"], "in_one_batch": seconds["in one batch"] / seconds["one pass"]}
    single = run.results.of("targets", system=what["system"], targets=1)
    if single:  # passes one after another take as many times as long as one
        found["in_turn"] = targets * single[0]["seconds"] / found["seconds"]
    return found


@torch.inference_mode()
def translated(system: SpeechLlm, mels: Sequence[Features], targets: int, tokens: int) -> None:
    """Each clip heard once and transcribed in `tokens` tokens, and as many written behind that for each target."""
    search = TextSearch(system.loaded, tokens, len(mels) * targets)
    search.min_new_tokens = tokens
    heard = encode_audio_prefix(system.loaded.model, mels)
    transcripts = search(heard, range(len(mels)), [TextRow(PROMPT)] * len(mels), [[]] * len(mels), 1)
    clips = [clip for clip in range(len(mels)) for _ in range(targets)]
    rows = [TextRow((*PROMPT, *transcripts[clip].ids)) for clip in clips]
    search(heard, clips, rows, [[]] * len(rows), 1)


def training_part(run: CardRun, until: float) -> None:
    for batch, targets in run.options.steps:
        what = {"part": "training", "batch": batch, "targets": targets}
        run.row(what, until, partial(training, run, batch, targets))


def training(run: CardRun, batch: int, targets: int) -> dict[str, Any]:
    """Steps of its last stage, SRT: the adapter learns."""
    system = make(TRAINED, run.machine)
    assert isinstance(system, SpeechLlm)
    model, recipe, steps = system.loaded.model, system.loaded.recipe, run.options.training_steps
    train_only(model, recipe.stages[-1].trains)
    random = examples_of(recipe, model.llm.config.vocab_size, batch, targets)
    data = collate([windowed(recipe, example) for example in random], 0)
    work = SpeechWork(model, recipe)
    precision = "bf16" if run.machine.on_cuda else "fp32"
    schedule = Schedule(steps=2 * steps, batch=batch, learning_rate=1e-5, precision=precision)
    if run.machine.on_cuda:
        torch.cuda.reset_peak_memory_stats(run.machine.device)
    with tempfile.TemporaryDirectory() as folder:
        # the first half of the steps is to warm up
        job = TrainingJob("srt", model, lambda done: repeat([data]), schedule, Path(folder), log_every=steps, work=work)
        fit(job, make_accelerator(precision))
        found = json.loads((Path(folder) / "speed.jsonl").read_text().splitlines()[-1])
    del found["step"]
    if run.rates is not None:
        found["of_product"] = work(data).flops * found["samples_per_s"] / data.num_rows / run.rates.flops_per_s
    return found


def best_part(run: CardRun, until: float) -> None:
    """Of each system the batch at which it is fastest, against Qwen2-Audio's."""
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for row in sorted(run.results.of("decoding"), key=lambda row: row["samples_per_s"]):
        found[row["tokens"], row["system"]] = row
    for _, row in sorted(found.items()):
        reference = found.get((row["tokens"], REFERENCE))
        ratio = {"ratio": row["samples_per_s"] / reference["samples_per_s"]} if reference else {}
        same = {key: row[key] for key in ("system", "tokens", "batch", "samples_per_s")}
        run.results.add({"part": "best", **same, **ratio})


Part = Callable[[CardRun, float], None]
PARTS: list[tuple[float, Part]] = [
    (1, rates_part),
    *((share, partial(system_part, name)) for name, share in zip(NAMES, (5, 6, 7, 9), strict=True)),
    (4, training_part),
    (0, best_part),
]
"""Qwen2-Audio, of the ratios, comes first. A part may take its share of the time left to it and to those after it."""


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a folder for rows.jsonl and card.md, new or empty")
    parser.add_argument("--minutes", type=float, default=14.0)
    parser.add_argument("--width", choices=["full", "toy"], default="full" if cuda else "toy")
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32, 64, 256])
    parser.add_argument("--tokens", nargs="+", type=int, default=[30, 80], help="written for each sample")
    parser.add_argument("--targets", nargs="+", type=int, default=[1, 5, 27, 69], help="in one pass")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a cell, after a batch to warm up; whole batches")
    parser.add_argument("--steps", nargs="+", type=_step, default=[(16, 1), (16, 4), (64, 1)], metavar="BATCHxTARGETS")
    parser.add_argument("--training_steps", type=int, default=8, help="measured, after as many to warm up")
    return parser.parse_args(given)


def _step(text: str) -> tuple[int, int]:
    batch, targets = text.split("x")
    return int(batch), int(targets)


def main(given: Sequence[str] | None = None) -> None:
    options = arguments(given)
    options.out.mkdir(parents=True, exist_ok=True)
    if any(options.out.iterdir()):
        sys.exit(f"{options.out} holds something already: name a new folder, so that no two runs are mixed.")
    end = time.monotonic() + 60 * options.minutes
    device = torch.device(options.device)
    machine = Machine(device, torch.bfloat16 if device.type == "cuda" else torch.float32, options.width == "full")
    precision = str(machine.dtype).removeprefix("torch.")
    head = f"{machine.name}; {options.width} width, {precision}, torch {torch.__version__}"
    print(head, flush=True)
    run = CardRun(machine, options, Results(options.out, head))
    shares = [share for share, _ in PARTS]
    for at, (share, part) in enumerate(PARTS):
        now = time.monotonic()
        part(run, now + share / (sum(shares[at:]) or 1) * (end - now))
        empty()
    print(run.results.markdown())
    if any(row.get("problem", "").startswith("failed") for row in run.results.rows):
        sys.exit("Some parts failed: their errors are above.")


if __name__ == "__main__":
    main()
