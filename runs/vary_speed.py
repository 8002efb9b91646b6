"""A manifest -> its clips played slower and faster, in rooms and before backgrounds: as other people in other places.

python runs/vary_speed.py data/human.jsonl data --noise noise

Speed perturbation (Ko et al. 2015) moves pitch, formants and pace; made once, the clips' frames can be stored.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from speak_text import record_all

from dragoman.data.audio import SAMPLE_RATE, load_audio
from dragoman.data.synthesis import SpokenLine, generator
from dragoman.records import Utterance, read_manifest

SPEEDS = ((0.82, 0.94), (1.06, 1.2))
LONGEST_S = 20.0


@dataclass(frozen=True, slots=True)
class VariedVoice:
    """A voice that plays recordings at another speed: what it says is the name of a file."""

    language: str
    speed: float

    def say(self, text: str) -> tuple[np.ndarray, int]:
        """16-bit samples, and how many make a second."""
        pcm = np.round(load_audio(text) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = round(SAMPLE_RATE * self.speed)
        resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        played = [*resampler.resample(frame), *resampler.resample(None)]
        return np.concatenate([part.to_ndarray()[0] for part in played]), SAMPLE_RATE


def varied(row: Utterance, number: int, seed: int) -> SpokenLine | None:
    """The row at a speed drawn for it from the range of this number; None where it would last too long."""
    name = f"{row.id}-speed{number}"
    speed = generator(seed, "speed", name).uniform(*SPEEDS[number])
    if row.start_s or not row.duration_s or row.duration_s / speed > LONGEST_S:
        return None
    clip = row.model_copy(update={"id": name, "audio": f"{name}.flac", "duration_s": None})
    return SpokenLine(clip, VariedVoice(row.language, speed), (row.audio,))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--noise", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rows = list(read_manifest(options.manifest))
    lines = [line for number in range(len(SPEEDS)) for row in rows if (line := varied(row, number, options.seed))]
    record_all(lines, f"{options.manifest.stem}-varied", options)


if __name__ == "__main__":
    main()
