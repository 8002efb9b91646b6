"""A manifest of text alone -> the same spoken, 40 % of it joined to clips of several sentences.

python runs/speak_text.py spa-by-llm.jsonl out-folder --engine pico --noise noise
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from dragoman.data.corpora.voices import ENGINES
from dragoman.data.synthesis import SpokenLine, gather, generator, into_shards, joined, record
from dragoman.records import Utterance, read_rows

JOINED = 0.4
MOST_PARTS = 5
CLIPS_PER_SHARD = 200


def planned(rows: Sequence[Utterance], engine: str, seed: int) -> Iterator[SpokenLine]:
    """Each row once, alone or with neighbours, in a voice drawn for it."""
    random, at = generator(seed, "joined"), 0
    while at < len(rows):
        size = int(random.integers(2, MOST_PARTS + 1)) if random.random() < JOINED else 1
        some = rows[at : at + size]
        said = [{row.language: row.text, **row.translations} for row in some]
        clip = joined(f"{engine}-{some[0].id}", some[0].language, said)
        voice = ENGINES[engine].draw(clip.language, generator(seed, "voice", clip.id))
        yield SpokenLine(clip, voice, tuple(row.text for row in some))
        at += size


def record_all(lines: Sequence[SpokenLine], name: str, options: argparse.Namespace) -> None:
    """Into `out/NAME.jsonl` and `out/audio/NAME`, with `noise`, `seed` and `workers` of the options."""
    shards = into_shards(lines, options.out / "audio" / name, CLIPS_PER_SHARD)
    for done, _ in enumerate(record(shards, options.noise, options.seed, options.workers), 1):
        print(f"{done} of {len(shards)}", flush=True)
    gather(shards, options.out / f"{name}.jsonl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--engine", default="pico", choices=sorted(ENGINES))
    parser.add_argument("--noise", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rows = [row for _, row in read_rows(options.text, Utterance)]
    record_all(list(planned(rows, options.engine, options.seed)), f"{options.text.stem}-{options.engine}", options)


if __name__ == "__main__":
    main()
