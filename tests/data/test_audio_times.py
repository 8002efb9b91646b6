"""What is heard at a second of a file is at that second of the samples, whatever the container's clock does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from media import RATE, Track, tone, write_media

from dragoman.data.audio import load_audio, stream_audio
from dragoman.data.audio.decoding import Frame
from dragoman.data.audio.timeline import on_timeline


def onsets(audio: np.ndarray) -> list[float]:
    """Where sound begins after a tenth of a second without, in seconds."""
    loud = np.flatnonzero(np.abs(audio) > 0.05)
    return [float(loud[at]) / RATE for at in range(len(loud)) if at == 0 or loud[at] - loud[at - 1] > RATE / 10]


def beeps(lasts_s: float, every_s: float, rate: int = RATE) -> np.ndarray:
    """A short tone every this many seconds, from `every_s` on."""
    samples = np.zeros(round(lasts_s * rate), np.float32)
    for number in range(1, round(lasts_s / every_s)):
        at = round(number * every_s * rate)
        samples[at : at + rate // 5] = tone(0.2, rate)
    return samples


CLOCKED = [("a.mkv", "flac"), ("a.mkv", "aac"), ("a.mp4", "aac"), ("a.mov", "pcm_s16le"), ("a.ts", "aac"),
           ("a.nut", "pcm_s16le"), ("a.asf", "aac")]  # fmt: skip


@pytest.mark.parametrize(("name", "codec"), CLOCKED)
@pytest.mark.parametrize(
    ("sound_s", "pictures_s", "heard_s"), [(600, None, 0), (600, 598, 2), (3, 0, 3), (0, 3, 0), (40_000, 39_990, 10)]
)
def test_second_0_is_where_the_earliest_stream_starts(
    tmp_path: Path, name: str, codec: str, sound_s: float, pictures_s: float | None, heard_s: float
) -> None:
    track = Track(tone(1.0), codec, at=lambda second: sound_s + second)
    audio = load_audio(write_media(tmp_path / name, track, video_at_s=pictures_s))
    assert onsets(audio) == [pytest.approx(heard_s, abs=0.08)]  # a frame of AAC is 64 ms


@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_a_hole_is_silence_of_its_length_and_no_damage(tmp_path: Path, rate: int) -> None:
    track = Track(tone(3.0, rate), "flac", rate, at=lambda second: second + 7.5 * (second > 1) + 2400 * (second > 2))
    said: list[str] = []
    audio = load_audio(write_media(tmp_path / "a.mkv", track), on_damage=said.append)
    assert said == []
    assert onsets(audio) == pytest.approx([0, 8.5, 2409.5], abs=0.3)
    assert len(audio) / RATE == pytest.approx(2410.5, abs=0.01)
    assert not audio[round(10.0 * RATE) : round(2409.4 * RATE)].any()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_a_hole_is_not_held_in_memory(tmp_path: Path) -> None:
    track = Track(tone(2.0), "flac", at=lambda second: second + 4 * 3600 * (second > 1))
    path = write_media(tmp_path / "a.mkv", track)
    code = (
        "import re, sys\nfrom dragoman.data.audio import stream_audio\n"
        "sizes = [len(block) for block in stream_audio(sys.argv[1])]\n"
        "peak = re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]\n"
        "print(max(sizes), sum(sizes), int(peak) // 1024)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    longest, samples, peak_mib = map(int, run.stdout.split())
    assert (longest, samples) == (30 * RATE, (4 * 3600 + 2) * RATE)
    assert peak_mib < 250  # as samples the hole is 880 MiB


@pytest.mark.parametrize("speed", [0.03, -0.03, 0.08, -0.08, 0.002])
@pytest.mark.parametrize(("rate", "name", "codec"), [(RATE, "a.mkv", "flac"), (48_000, "a.webm", "libopus"),
                                                     (44_100, "a.mp4", "aac")])  # fmt: skip
def test_samples_faster_or_slower_than_their_timestamps_do_not_drift(
    tmp_path: Path, speed: float, rate: int, name: str, codec: str
) -> None:
    track = Track(beeps(120, 10, rate), codec, rate, at=lambda second: second * (1 + speed))
    heard = onsets(load_audio(write_media(tmp_path / name, track)))
    assert heard == pytest.approx([10 * number * (1 + speed) for number in range(1, 12)], abs=0.13)


def test_what_is_stretched_keeps_all_of_its_sound(tmp_path: Path) -> None:
    track = Track(tone(30, RATE), "flac", at=lambda second: second * 0.95)
    audio = load_audio(write_media(tmp_path / "a.mkv", track))
    assert onsets(audio) == [pytest.approx(0, abs=0.01)]
    steady = audio[10 * RATE : 20 * RATE]
    assert np.abs(np.fft.rfft(steady * np.hanning(len(steady)))).argmax() / 10 == pytest.approx(440 / 0.95, abs=1)


def test_timestamps_that_are_right_change_no_sample(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-32768, 32767, 20 * RATE).astype(np.float32) / 32768
    jitter = np.random.default_rng(1).uniform(-0.03, 0.03, 1000)
    track = Track(noise, "flac", at=lambda second: 1 + second + jitter[round(second * 10)])
    np.testing.assert_array_equal(load_audio(write_media(tmp_path / "a.mkv", track))[-len(noise) :], noise)


def test_files_that_were_joined_go_on(tmp_path: Path) -> None:
    one = write_media(tmp_path / "a.ts", Track(beeps(20, 5), "aac"), video_at_s=0).read_bytes()
    later = Track(beeps(20, 5), "aac", at=lambda second: 7 + second)
    two = write_media(tmp_path / "b.ts", later, video_at_s=7).read_bytes()
    said: list[str] = []
    audio = load_audio(one + two, on_damage=said.append)
    assert said == []
    assert onsets(audio) == pytest.approx([5, 10, 15, 25, 30, 35], abs=0.2)


def placed(samples: np.ndarray, at: Callable[[int], float | None]) -> np.ndarray:
    """(N,) where frames of 1000 samples are put whose timestamps are `at` their number."""
    frames = (
        Frame(at(number), RATE, samples[None, 1000 * number :][:, :1000], ("FC",))
        for number in range(len(samples) // 1000)
    )
    return np.concatenate(list(on_timeline(frames, 0.0, "frames")))


@pytest.mark.parametrize("wrong_s", [-5.0, 3.0, 50_000.0, None])
def test_one_wrong_timestamp_moves_nothing(wrong_s: float | None) -> None:
    samples = beeps(30, 5)
    audio = placed(samples, lambda number: wrong_s if number == 200 else number / 16)
    np.testing.assert_array_equal(audio, samples)


def test_without_a_start_of_the_container_the_first_frame_is_second_0() -> None:
    samples = beeps(10, 5)
    frames = [
        Frame(600 + number / 16, RATE, piece, ("FC",)) for number, piece in enumerate(samples.reshape(-1, 1, 1000))
    ]
    np.testing.assert_array_equal(np.concatenate(list(on_timeline(frames, None, "frames"))), samples)


def test_a_broken_clock_is_left_alone() -> None:
    samples = beeps(30, 5)
    audio = placed(samples, lambda number: number / 16 + 1e9 * (number > 200))
    np.testing.assert_array_equal(audio, samples)


@pytest.mark.parametrize("speed", [1.3, 0.7, 1.8, 0.6, 16000 / 22050])
def test_a_mistaken_rate_is_found_and_said(speed: float, caplog: pytest.LogCaptureFixture) -> None:
    """Samples and timestamps differ steadily by more than a tenth: times are right soon, and so is the pitch."""
    audio = placed(beeps(120, 5), lambda number: number / 16 * speed)
    heard = onsets(audio)
    assert len(heard) == 23
    assert heard[:4] == pytest.approx([5 * number * speed for number in range(1, 5)], abs=2.0)
    assert heard[8:] == pytest.approx([5 * number * speed for number in range(9, 24)], abs=0.15)
    assert f"frames: its sound lasts {1 / speed:.2f} times as long as its timestamps say; its rate" in caplog.text
    at = round(100 * speed * RATE)
    steady = audio[at : at + round(0.19 * speed * RATE)]
    spectrum = np.abs(np.fft.rfft(steady * np.hanning(len(steady)), 1 << 17))
    assert spectrum.argmax() * RATE / (1 << 17) == pytest.approx(440 / speed, rel=0.04)


def test_lost_packets_are_no_mistaken_rate(caplog: pytest.LogCaptureFixture) -> None:
    """Two of five are missing, here and there: what is left is as it was said, where it was said."""
    samples = tone(60)
    random = np.random.default_rng(0)
    there = [number for number in range(3000) if random.random() > 0.4]
    frames = [Frame(n / 50, RATE, samples[None, 320 * n : 320 * n + 320], ("FC",)) for n in there]
    audio = np.concatenate(list(on_timeline(frames, 0.0, "frames")))
    assert len(audio) / RATE == pytest.approx(60, abs=2.1)
    assert "is taken for a mistake" not in caplog.text


def test_a_clock_that_hardly_moves_leaves_the_sound_and_says_that_it_comes_late(
    caplog: pytest.LogCaptureFixture,
) -> None:
    audio = placed(beeps(60, 5), lambda number: number / 16 * 0.3)
    assert len(onsets(audio)) == 11
    assert "frames: its sound lasts longer than its timestamps say; times may be up to" in caplog.text


def test_frames_left_out_where_nobody_speaks_are_silence(tmp_path: Path) -> None:
    """As a browser records a call: Opus with discontinuous transmission sends next to nothing in pauses."""
    samples = beeps(60, 5, 48_000)

    def sends(second: float) -> bool:
        return samples[round(second * 48_000) :][:1920].any() or round(second / 0.02) % 20 == 0

    said: list[str] = []
    path = write_media(tmp_path / "a.webm", Track(samples, "libopus", 48_000, sends=sends))
    assert onsets(load_audio(path, on_damage=said.append)) == pytest.approx([*range(5, 60, 5)], abs=0.05)
    assert said == []


def test_blocks_of_what_is_stretched_and_has_holes_are_the_whole(tmp_path: Path) -> None:
    track = Track(tone(20, 44_100), "flac", 44_100, at=lambda second: 1.04 * second + 5 * (second > 8))
    path = write_media(tmp_path / "a.mkv", track)
    np.testing.assert_array_equal(np.concatenate(list(stream_audio(path, 0.37))), load_audio(path))
