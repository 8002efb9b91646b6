"""Translating a long recording: the whole against the sum of its parts, each part alone, and the memory it takes.

    python benchmarks/translating.py --minutes 5 --threads 1 2
    python benchmarks/translating.py --minutes 600 --pause 3000 --repeats 0 --threads 1

The recording is the clips of one language, over and over, with a pause after each. What is read ahead in a thread runs
beside the model, so the whole may take less time than its parts; processor seconds do not hide that, nor neighbours.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
import wave
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dragoman import Translator
from dragoman.data.audio import SAMPLE_RATE, Waveform, load_audio, stream_audio
from dragoman.data.batching import pad_features
from dragoman.inference.decoding.decoder import DecodeRequest
from dragoman.records import read_manifest
from dragoman.vad import speech_segments

Seconds = npt.NDArray[np.float64]
"""Of the clock and of all processors together, (2,)."""
EXAMPLES = Path(__file__).parents[1] / "examples" / "manifest.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clips", default=EXAMPLES, help="a manifest")
    parser.add_argument("--language", default="eng", help="of the clips")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--pause", type=int, default=1, help="seconds after each clip")
    parser.add_argument("--beams", type=int)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3, help="0: memory only")
    options = parser.parse_args()
    torch.set_num_threads(options.threads[0])
    translator = Translator.from_pretrained(options.model, device=options.device, beam_size=options.beams)
    clips = [load_audio(row.audio, row.start_s, row.duration_s) for row in read_manifest(options.clips)
             if row.language == options.language]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.wav"
        write_long(path, clips, options.minutes, options.pause)
        found = len(translator.translate(path, to="all").segments)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{options.minutes:g} minutes, {found} segments: {peak:.0f} MB at most")
        if not options.repeats:
            return
        ways = ways_of(translator, path, options.language)
        times = {threads: {name: np.zeros((options.repeats, 2)) for name in ways} for threads in options.threads}
        for turn in range(options.repeats):
            for threads in options.threads:
                torch.set_num_threads(threads)
                for name, run in ways.items():
                    times[threads][name][turn] = timed(run)
    for threads in options.threads:
        tell(threads, times[threads], 60 * options.minutes)


def write_long(path: Path, clips: list[Waveform], minutes: float, pause_s: int) -> None:
    left = round(60 * minutes * SAMPLE_RATE)
    second = np.zeros(SAMPLE_RATE, np.float32)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        for piece in cycle(piece for clip in clips for piece in (clip, *[second] * pause_s)):
            file.writeframesraw(np.round(piece[:left] * 32767).astype("<i2").tobytes())
            left -= len(piece[:left])
            if not left:
                return


def ways_of(translator: Translator, path: Path, language: str) -> dict[str, Callable[[], object]]:
    """The whole, and its parts from what those before them made; the parts that end in + hold the part before."""
    speech = list(speech_segments(stream_audio(path), translator.vad))
    mels = [translator.features(part.samples) for part in speech]
    targets = tuple(code for code in translator.targets if code != language)
    starts = range(0, len(mels), translator.batch_size)
    batches = [mels[start : start + translator.batch_size] for start in starts]
    model = translator.decoder.model

    def encode() -> None:
        with torch.inference_mode():
            for batch in batches:
                model.encode_audio(*(tensor.to(translator.decoder.model.llm.device) for tensor in pad_features(batch)))

    return {
        "whole": lambda: translator.translate(path, to="all"),
        "decode": lambda: [None for _ in stream_audio(path)],
        "VAD+": lambda: [None for _ in speech_segments(stream_audio(path), translator.vad)],
        "mel": lambda: [translator.features(part.samples) for part in speech],
        "language": lambda: translator.identify([part.samples for part in speech[:3]]),
        "encoder": encode,
        "LLM+": lambda: [
            translator.decoder([DecodeRequest(mel, language, targets) for mel in batch]) for batch in batches
        ],
    }


def timed(run: Callable[[], object]) -> Seconds:
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return np.array([time.perf_counter() - wall, time.process_time() - cpu])


def tell(threads: int, times: dict[str, Seconds], duration_s: float) -> None:
    """A table; the ratio and each part are medians of the turns."""
    parts = {
        "decode": times["decode"],
        "VAD": times["VAD+"] - times["decode"],
        "mel": times["mel"],
        "language": times["language"],
        "encoder and adapter": times["encoder"],
        "LLM": times["LLM+"] - times["encoder"],
    }
    total = np.sum(list(parts.values()), axis=0)
    print(f"{threads} threads            wall s  processor s  of the sum")
    for name, taken in parts.items():
        wall, cpu = np.median(taken, axis=0)
        print(f"  {name:20} {wall:7.2f}      {cpu:7.2f}     {np.median(taken[:, 1] / total[:, 1]):6.1%}")
    wall, cpu = np.median(times["whole"], axis=0)
    ratios = np.median(times["whole"] / total, axis=0)
    print(f"  {'whole':20} {wall:7.2f}      {cpu:7.2f}; against the sum of parts {ratios[0]:.2f} x, {ratios[1]:.2f} x")
    print(f"  real-time factor {wall / duration_s:.3f}, in processor seconds {cpu / duration_s:.3f}")


if __name__ == "__main__":
    main()
