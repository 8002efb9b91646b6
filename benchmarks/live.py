"""Live translation: files are spoken in real time; how far the stable text is behind, and how much of it is there
before its segment ends.

The lag of a word is from when it was said to when it became stable for good. Models give no times of words, so those of
a text are taken to be spread evenly over its segment, as in LAAL (Papi et al. 2022, https://arxiv.org/abs/2206.05807);
computing is part of the lag. The real-time factor is of all the updates and finals, without waiting: below 1 the model
keeps up. The offline factor, of the same files in one go, is what live costs more than.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from dragoman import Translator
from dragoman.data.audio import SAMPLE_RATE, Waveform, load_audio
from dragoman.inference.live import Event, Final, Live

BLOCK = SAMPLE_RATE // 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--to", default="deu")
    parser.add_argument("--language", default="eng")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--beam_size", type=int)
    parser.add_argument("--min_chunk_s", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    translator = Translator.from_pretrained(options.model, beam_size=options.beam_size)
    targets = options.to.split(",")

    def live() -> Live:
        return Live(translator, targets, options.language, min_chunk_s=options.min_chunk_s)

    speech = [load_audio(path) for path in options.files]
    audio_s = sum(map(len, speech)) / SAMPLE_RATE
    timed = [list(in_real_time(live(), waveform)) for waveform in speech]
    for name in ("transcript", *targets):
        lags, early = zip(*(measured(events, name) for events in timed), strict=True)
        words = [lag for of_file in lags for lag in of_file]
        before, whole = (sum(counts) for counts in zip(*early, strict=True))
        print(
            f"{name}: lag of {len(words)} words {sum(words) / len(words):.2f} s on average, {max(words):.2f} s at most;"
            f" {before / whole:.0%} of the text is stable before its segment's end"
        )
    start = time.perf_counter()
    for waveform in speech:
        one = live()
        for block in blocks(waveform):
            list(one.push(block))
        list(one.finish())
    factor = (time.perf_counter() - start) / audio_s
    start = time.perf_counter()
    for path in options.files:
        translator.translate(path, to=targets, language=options.language)
    offline = (time.perf_counter() - start) / audio_s
    print(f"real-time factor {factor:.2f} live, {offline:.2f} offline ({audio_s:.1f} s, {options.threads} threads)")


def blocks(waveform: Waveform) -> Iterator[Waveform]:
    return (waveform[at : at + BLOCK] for at in range(0, len(waveform), BLOCK))


def in_real_time(live: Live, waveform: Waveform) -> Iterator[tuple[float, Event]]:
    """Each event and when it came, in seconds from the first sample."""
    began = time.monotonic()

    def spoken() -> Iterator[Waveform]:
        for number, block in enumerate(blocks(waveform), 1):
            time.sleep(max(0.0, began + number * BLOCK / SAMPLE_RATE - time.monotonic()))
            yield block

    for event in live.follow(spoken()):
        yield time.monotonic() - began, event


def measured(events: list[tuple[float, Event]], name: str) -> tuple[list[float], tuple[int, int]]:
    """The lag of each word of a text, in seconds; its characters that were stable before segments ended, and all."""
    lags: list[float] = []
    before = whole = 0
    grown: list[tuple[float, int]] = []  # when so many characters were stable
    for at, event in events:
        if not isinstance(event, Final):
            grown.append((at, len((event.transcript if name == "transcript" else event.translations[name]).stable)))
            continue
        segment = event.segment
        text = segment.transcript if name == "transcript" else segment.translations[name]
        before += grown[-1][1] if grown else 0
        whole += len(text)
        words = text.split()
        ends = [len(" ".join(words[:count])) for count in range(1, len(words) + 1)]
        for number, end in enumerate(ends, 1):
            said_s = segment.start_s + (segment.end_s - segment.start_s) * number / len(words)
            lags.append(next((when for when, size in grown if size >= end), at) - said_s)
        grown = []
    return lags, (before, whole)


if __name__ == "__main__":
    main()
