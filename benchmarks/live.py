"""Live translation of clips: how far the stable text is behind the speech, how much of it is there before its segment
ends, and what deciding early costs in quality.

    python benchmarks/live.py data/valid.jsonl --clips 40 --min_chunk_s 60 1 0.7 0.5 0.3

The lag of a word is from when it was said to when it became stable for good. Models give no times of words, so those of
a text are taken to be spread evenly over its segment, as in LAAL (Papi et al. 2022, https://arxiv.org/abs/2206.05807).
The clock is that of a machine which does nothing else: blocks of 0.1 s come in real time, and what is computed takes
its processor time. The real-time factor is of all that is computed: below 1 the model keeps up. With a min_chunk_s that
is longer than any segment there are no updates.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from dragoman import Translator
from dragoman.data.audio import SAMPLE_RATE, Waveform, load_audio
from dragoman.evaluation.metrics import METRICS, ScoringPair
from dragoman.inference.result import joined
from dragoman.inference.streaming import FinalSegment, LiveEvent, LiveTranslator
from dragoman.records import Utterance, read_manifest

BLOCK = SAMPLE_RATE // 10
Timed = list[tuple[float, LiveEvent]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest")
    parser.add_argument("--clips", type=int, default=40, help="how many recordings, of clips drawn by chance")
    parser.add_argument("--join", type=int, default=1, help="clips per recording")
    parser.add_argument("--pause_s", type=float, default=0.3, help="between the clips of a recording")
    parser.add_argument("--language", default="eng")
    parser.add_argument("--to", default="deu")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--beam_size", type=int)
    parser.add_argument("--min_chunk_s", type=float, nargs="+", default=[60.0, 1.0, 0.7])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    translator = Translator.from_pretrained(options.model, beam_size=options.beam_size)
    rows = [
        row
        for row in read_manifest(options.manifest)
        if row.language == options.language and options.to in row.translations
    ]
    order = np.random.default_rng(0).permutation(len(rows))[: options.clips * options.join]
    parts = [[rows[number] for number in order[at : at + options.join]] for at in range(0, len(order), options.join)]
    speech = [spoken(part, options.pause_s) for part in parts]
    audio_s = sum(map(len, speech)) / SAMPLE_RATE
    print(f"{len(speech)} recordings, {audio_s:.0f} s, {options.threads} threads")
    for min_chunk_s in options.min_chunk_s:
        start = time.process_time()
        timed = [
            list(heard(LiveTranslator(translator, options.to, options.language, min_chunk_s=min_chunk_s), waveform))
            for waveform in speech
        ]
        factor = (time.process_time() - start) / audio_s
        print(f"min_chunk_s {min_chunk_s:g}: real-time factor {factor:.2f}")
        tell("WER", options.language, timed, "transcript", [[row.text for row in part] for part in parts])
        tell("chrF", options.to, timed, options.to, [[row.translations[options.to] for row in part] for part in parts])


def spoken(clips: Sequence[Utterance], pause_s: float) -> Waveform:
    """The clips with pauses between them, and a second of silence."""
    pause = np.zeros(round(pause_s * SAMPLE_RATE), np.float32)
    parts = [part for clip in clips for part in (load_audio(clip.audio, clip.start_s, clip.duration_s), pause)]
    return np.concatenate([*parts[:-1], np.zeros(SAMPLE_RATE, np.float32)])


def heard(live: LiveTranslator, waveform: Waveform) -> Iterator[tuple[float, LiveEvent]]:
    """Each event and when it comes, in seconds from the first sample."""
    free = 0.0  # when all that came before is done
    for at in range(0, len(waveform), BLOCK):
        comes = (at + BLOCK) / SAMPLE_RATE
        began = time.process_time() - max(free, comes)
        for event in live.push(waveform[at : at + BLOCK], skip_updates=free >= comes + BLOCK / SAMPLE_RATE):
            yield time.process_time() - began, event
        free = time.process_time() - began
    began = time.process_time() - free
    for event in live.finish():
        yield time.process_time() - began, event


def tell(metric: str, code: str, timed: Sequence[Timed], name: str, references: Sequence[Sequence[str]]) -> None:
    """Of the transcript or a target."""
    lags, early = zip(*(measured(events, name) for events in timed), strict=True)
    words = [lag for of_one in lags for lag in of_one]
    before, whole = (sum(counts) for counts in zip(*early, strict=True))
    pairs = [
        ScoringPair(
            joined((text_of(event, name) for _, event in events if isinstance(event, FinalSegment)), code),
            joined(reference, code),
        )
        for events, reference in zip(timed, references, strict=True)
    ]
    print(
        f"  {name}: lag {np.mean(words):.2f} s on average, {max(words):.2f} s at most; {before / whole:.0%} of the text"
        f" is stable before its segment's end; {metric} {METRICS[metric](code).score(pairs):.1f}",
        flush=True,
    )


def text_of(event: FinalSegment, name: str) -> str:
    return event.segment.transcript if name == "transcript" else event.segment.translations[name]


def measured(events: Timed, name: str) -> tuple[list[float], tuple[int, int]]:
    """The lag of each word of a text, in seconds; its characters that were stable before segments ended, and all."""
    lags: list[float] = []
    before = whole = 0
    grown: list[tuple[float, int]] = []  # when this many characters were stable
    for at, event in events:
        if not isinstance(event, FinalSegment):
            grown.append((at, len((event.transcript if name == "transcript" else event.translations[name]).stable)))
            continue
        segment, text = event.segment, text_of(event, name)
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
