"""Truths of the segmenter: no speech is lost, none is invented, and the blocks do not matter."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman import vad
from dragoman.data.audio import SAMPLE_RATE, Waveform, load_audio, stream_audio
from dragoman.errors import DragomanError
from dragoman.vad import SpeechSegment, VadOptions, speech_segments

DATA = Path(__file__).parents[2] / "shared/data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is absent: there are no recordings here")
WINDOW = 512


class Loudness:
    """Stands for Silero where the test needs to know the truth: a window's peak is its probability of speech."""

    def probabilities(self, samples: Waveform) -> Waveform:
        return np.abs(samples.reshape(-1, WINDOW)).max(axis=1)


@pytest.fixture
def by_loudness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vad, "_SpeechProbabilities", Loudness)


def script(*parts: tuple[float, int]) -> Waveform:
    """(level, windows) -> a waveform."""
    return np.concatenate([np.full(windows * WINDOW, level, np.float32) for level, windows in parts])


def cut(waveform: Waveform, size: int) -> Iterator[Waveform]:
    return (waveform[at : at + size] for at in range(0, len(waveform), size))


def spans(found: list[SpeechSegment]) -> list[tuple[float, float]]:
    return [(one.start_s * SAMPLE_RATE, one.end_s * SAMPLE_RATE) for one in found]


OPTIONS = VadOptions(speech_pad_ms=64, min_silence_duration_ms=320, min_speech_duration_ms=96)  # 2, 10, 3 windows


@pytest.mark.usefixtures("by_loudness")
@pytest.mark.parametrize(
    ("parts", "windows"),
    [
        ([(0, 20), (0.9, 5), (0, 20)], [(18, 27)]),
        ([(0.9, 5), (0, 20)], [(0, 7)]),
        ([(0, 1), (0.9, 5)], [(0, 6)]),
        ([(0, 20), (0.9, 2), (0, 20)], []),
        ([(0, 20), (0.9, 5), (0.4, 8), (0, 20)], [(18, 35)]),
        ([(0, 20), (0.4, 9), (0, 20)], []),
        ([(0, 20), (0.9, 5), (0, 9), (0.9, 5), (0, 20)], [(18, 41)]),
        ([(0, 20), (0.9, 5), (0, 10), (0.9, 5), (0, 20)], [(18, 27), (33, 42)]),
    ],
)
def test_spans(parts: list[tuple[float, int]], windows: list[tuple[int, int]]) -> None:
    found = list(speech_segments([script(*parts)], OPTIONS))
    assert spans(found) == [(first * WINDOW, last * WINDOW) for first, last in windows]
    loud = [at for at, level in enumerate(np.repeat(*zip(*parts, strict=True))) if level >= OPTIONS.neg_threshold]
    for one, (first, last) in zip(found, windows, strict=True):
        inside = [at for at in loud if first <= at < last]
        speech = (one.speech_start_s * SAMPLE_RATE / WINDOW, one.speech_end_s * SAMPLE_RATE / WINDOW)
        assert speech == (inside[0], inside[-1] + 1)


@pytest.mark.usefixtures("by_loudness")
def test_long_speech_is_cut_in_the_pause_and_nothing_is_lost() -> None:
    waveform = script((0.9, 40), (0.45, 5), (0.9, 60), (0, 20))
    found = list(speech_segments([waveform], VadOptions(max_speech_duration_s=62 * 0.032, speech_pad_ms=0)))
    assert 40 <= spans(found)[0][1] / WINDOW < 45
    assert all(one.end_s == two.start_s for one, two in pairwise(found))
    assert found[0].start_s == 0 and found[-1].end_s * SAMPLE_RATE == 105 * WINDOW


@pytest.mark.usefixtures("by_loudness")
@settings(max_examples=60)
@given(
    parts=st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.4, 0.6, 0.95]), st.integers(1, 60)), min_size=1, max_size=12),
    extra=st.integers(0, 511),
    size=st.integers(100, 100_000),
    pad_ms=st.integers(0, 300),
    silence_ms=st.integers(0, 900),
    longest_s=st.floats(1.2, 5.0),
)
def test_invariants(
    parts: list[tuple[float, int]], extra: int, size: int, pad_ms: int, silence_ms: int, longest_s: float
) -> None:
    waveform = np.pad(script(*parts), (0, extra), constant_values=0.95)
    options = VadOptions(speech_pad_ms=pad_ms, min_silence_duration_ms=silence_ms, max_speech_duration_s=longest_s,
                         min_speech_duration_ms=0)  # fmt: skip
    found = list(speech_segments(cut(waveform, size), options))
    whole = list(speech_segments([waveform], options))
    assert spans(found) == spans(whole)
    covered = np.zeros(len(waveform), bool)
    for one in found:
        assert one.start_s <= one.speech_start_s < one.speech_end_s <= one.end_s
        first, last = (round(second * SAMPLE_RATE) for second in (one.start_s, one.end_s))
        np.testing.assert_array_equal(one.samples, waveform[first:last])
        assert 0 < len(one.samples) <= round(longest_s * SAMPLE_RATE)
        assert not covered[first:last].any()
        covered[first:last] = True
    assert covered[: len(waveform) - extra][script(*parts) >= options.threshold].all()


@pytest.mark.parametrize("kind", ["silence", "noise", "tone", "nothing", "one sample"])
def test_what_is_no_speech_gives_nothing(kind: str) -> None:
    count = {"nothing": 0, "one sample": 1}.get(kind, 10 * SAMPLE_RATE)
    waveform = np.zeros(count, np.float32)
    if kind == "noise":
        waveform = np.random.default_rng(0).standard_normal(count).astype(np.float32) * 0.1
    elif kind == "tone":
        waveform = (0.3 * np.sin(2 * np.pi * 440 / SAMPLE_RATE * np.arange(count))).astype(np.float32)
    assert list(speech_segments([waveform])) == []


@pytest.mark.parametrize("wrong", [{"threshold": 0.2}, {"neg_threshold": 0}, {"threshold": 1.0}, {"speech_pad_ms": -1},
                                   {"max_speech_duration_s": 0.5}, {"speech_pad_ms": 9000}])  # fmt: skip
def test_options_that_contradict_each_other(wrong: dict[str, float]) -> None:
    with pytest.raises(DragomanError, match="VAD: give"):
        VadOptions(**wrong)  # type: ignore[arg-type]


def test_neither_torch_nor_the_silero_package_is_imported() -> None:
    code = (
        "import sys, numpy\nfrom dragoman.vad import speech_segments\n"
        "list(speech_segments([numpy.zeros(16000, numpy.float32)]))\n"
        "sys.exit('torch' in sys.modules or 'silero_vad' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_onnx_runtime_reports_nothing(tmp_path: Path) -> None:
    """ONNX Runtime's telemetry, where it is on, begins with a number for the machine in the cache."""
    code = (
        "import numpy\nfrom dragoman.vad import speech_segments\n"
        "list(speech_segments([numpy.zeros(16000, numpy.float32)]))"
    )
    unsaid = ("CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "GITHUB_ACTIONS")  # each of which turns it off
    known = {name: value for name, value in os.environ.items() if name not in unsaid}
    places = {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR")}
    subprocess.run([sys.executable, "-c", code], env=known | places, check=True)
    assert list(tmp_path.iterdir()) == []


def test_what_a_user_says_of_reports_holds() -> None:
    code = "import dragoman\nfrom huggingface_hub import constants\nprint(constants.HF_HUB_DISABLE_TELEMETRY)"
    known = {name: value for name, value in os.environ.items() if not name.endswith(("TELEMETRY", "TRACK"))}
    for said, off in (({}, "True"), ({"HF_HUB_DISABLE_TELEMETRY": "0"}, "False")):
        done = subprocess.run(
            [sys.executable, "-c", code], env=known | said, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == off


@needs_data
def test_silero_in_any_blocks_is_the_same() -> None:
    waveform = load_audio(DATA / "speech-dev/azure_longform/deu-testing-audio.flac")
    whole = list(speech_segments([waveform]))
    assert len(whole) > 1
    for size in (1000, 16_000, 77_777):
        assert spans(list(speech_segments(cut(waveform, size)))) == spans(whole)


@needs_data
def test_a_clip_that_begins_and_ends_with_a_word_is_kept_whole() -> None:
    for path in sorted((DATA / "speech-dev/fsdd").glob("*.wav")):
        waveform = load_audio(path)
        found = list(speech_segments([waveform]))
        assert len(found) == 1, path
        assert np.square(found[0].samples).sum() > 0.999 * np.square(waveform).sum(), path


@needs_data
def test_speech_after_five_minutes_of_silence() -> None:
    found = list(speech_segments(stream_audio(DATA / "hostile/generated/speech_after_5min_silence.flac")))
    assert len(found) == 1
    assert found[0].start_s == pytest.approx(300.3, abs=0.3) and found[0].end_s == pytest.approx(305.8, abs=0.3)


@needs_data
def test_the_earliest_stream_of_a_recording_starts_it() -> None:
    folder = DATA / "hostile/generated"
    plain, late = (
        list(speech_segments(stream_audio(folder / name))) for name in ("ok_aac.mkv", "late_start_2500ms.mkv")
    )
    assert [(one.start_s, one.end_s) for one in late] == [(one.start_s, one.end_s) for one in plain]
