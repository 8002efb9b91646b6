"""Hours of audio: times stay true, memory stays small, nothing is lost where speech is divided."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pysubs2
import pytest

from dragoman.data.audio import SAMPLE_RATE, Waveform, load_audio
from dragoman.vad import VadOptions, speech_segments

EXAMPLES = Path(__file__).parents[2] / "examples"
SPEECH = ("english-wav.wav", "english-video.mp4")  # one sentence and four
DIGITS = EXAMPLES.parent.parent / "shared/data/speech-dev/fsdd"
RATE = 22_050  # so that all of it goes through the resampler
MINUTES = (10, 120)
TIMES = 13
RUN = """
import json, resource, sys
from dragoman.cli import app
for path in sys.argv[2:]:
    app(["translate", path, *"--to deu --language eng --beam_size 1 --threads 1 -f srt -o".split(), sys.argv[1]],
        standalone_mode=False)
    print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
"""


def sounds(waveform: Waveform) -> list[tuple[float, float]]:
    """From when to when it sounds, in seconds: 10 ms above a twentieth of the loudest, pauses below half a second
    aside. What is found without the voice detector."""
    frames = waveform[: len(waveform) // 160 * 160].reshape(-1, 160)
    rms = np.sqrt(np.square(frames).mean(axis=1))
    loud = np.flatnonzero(rms > rms.max() / 20)
    breaks = np.flatnonzero(np.diff(loud) > 50)
    starts, ends = loud[[0, *(breaks + 1)]], loud[[*breaks, -1]] + 1
    return list(zip((starts / 100).tolist(), (ends / 100).tolist(), strict=True))


def write_sparse(path: Path, minutes: int, clips: Sequence[Waveform]) -> list[tuple[float, float]]:
    """A FLAC file in which somebody speaks now and then; returns from when to when."""
    truth: list[tuple[float, float]] = []
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("flac", rate=RATE)
        stream.layout, stream.format = "mono", "s16"
        at = 0
        for place in range(TIMES):
            clip = clips[place % len(clips)]
            start = round((minutes * 60 - 15) * RATE * (place + 0.1) / TIMES)
            spoken = np.interp(np.arange(len(clip) * RATE // SAMPLE_RATE) * SAMPLE_RATE / RATE, range(len(clip)), clip)
            at = _encode(container, stream, np.concatenate([np.zeros(start - at), spoken]), at)
            truth += [(start / RATE + first, start / RATE + last) for first, last in sounds(clip)]
        _encode(container, stream, np.zeros(minutes * 60 * RATE - at), at)
        container.mux(stream.encode(None))
    return truth


def _encode(container: Any, stream: Any, samples: np.ndarray[Any, Any], at: int) -> int:
    frame = av.AudioFrame.from_ndarray(np.round(samples * 32767).astype(np.int16)[None], format="s16", layout="mono")
    frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), at
    container.mux(stream.encode(frame))
    return at + len(samples)


@pytest.mark.slow
def test_two_hours_keep_time_and_need_no_more_memory_than_ten_minutes(tmp_path: Path) -> None:
    """From the file to the subtitles; a two-hour waveform alone would be 461 MB, twice that while it is made."""
    clips = [load_audio(EXAMPLES / name) for name in SPEECH]
    paths = [tmp_path / f"{minutes}.flac" for minutes in MINUTES]
    truths = [write_sparse(path, minutes, clips) for path, minutes in zip(paths, MINUTES, strict=True)]
    command = [sys.executable, "-c", RUN, str(tmp_path / "out"), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    ten_minutes, two_hours = (json.loads(line) for line in done.stdout.splitlines() if line[:1].isdigit())
    assert two_hours < ten_minutes + 50, done.stderr

    assert len(truths[1]) == 31 and truths[1][-1][0] > 6600
    for path, truth in zip(paths, truths, strict=True):
        for code in ("eng", "deu"):
            found = pysubs2.load(str(tmp_path / "out" / f"{path.stem}.{code}.srt")).events
            assert len(found) == len(truth)
            for cue, (start_s, end_s) in zip(found, truth, strict=True):
                assert cue.start / 1000 == pytest.approx(start_s, abs=0.2)
                assert end_s - 0.2 <= cue.end / 1000 <= end_s + 0.2 + 0.5  # half a second to be read


@pytest.mark.skipif(not DIGITS.is_dir(), reason=f"{DIGITS} is absent: there are no single words to join")
@pytest.mark.parametrize("longest_s", [5.0, 30.0])
def test_every_word_is_whole_in_one_segment_where_long_speech_is_divided(longest_s: float) -> None:
    """Single words, one after the other without a pause that would end a segment."""
    clips = [load_audio(path) for path in sorted(DIGITS.glob("*.wav"))]
    random = np.random.default_rng(0)
    pieces: list[Waveform] = []
    words: list[tuple[float, float]] = []
    for clip in (clips[number] for number in random.integers(0, len(clips), 120)):
        first, last = sounds(clip)[0][0], sounds(clip)[-1][1]
        words.append((sum(map(len, pieces)) / SAMPLE_RATE, 0.0))
        pieces += [clip[round(first * SAMPLE_RATE) : round(last * SAMPLE_RATE)]]
        words[-1] = (words[-1][0], sum(map(len, pieces)) / SAMPLE_RATE)
        pieces.append(np.zeros(round(random.uniform(0.08, 0.3) * SAMPLE_RATE), np.float32))
    found = list(speech_segments([np.concatenate(pieces)], VadOptions(max_speech_duration_s=longest_s)))
    assert len(found) > sum(map(len, pieces)) / SAMPLE_RATE / longest_s
    for start_s, end_s in words:
        within = [min(one.end_s, end_s) - max(one.start_s, start_s) for one in found]
        assert max(within) > end_s - start_s - 0.05  # a soft beginning may be the end of the pause before
