"""Recordings as users have them, for report_small.py: some in which nothing is said, one of hours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import wave
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from small_dev import dragoman

from dragoman.data.audio import SAMPLE_RATE, Waveform, load_audio
from dragoman.evaluation.metrics import METRICS, ScoringPair
from dragoman.files import atomic_file
from dragoman.records import Utterance
from dragoman.text.languages import find

PIECE_S = 10.0
PAUSE_S = 0.8  # between the clips of a long recording


def nothing_said(
    model: str, noise: Path, out: Path, roads: Mapping[str, Sequence[str]], threads: int
) -> list[list[str]]:
    """What is heard, how many recordings of it, and of how many `dragoman translate` writes any text, by each of the
    roads (flags by name)."""
    audio = out / "audio"
    kinds = {
        "backgrounds (kitchen, tap, cat, bicycle)": ("background", backgrounds(noise)),
        "music (chords, melody, beat)": ("music", [music(seed) for seed in range(12)]),
        "tones, sweeps, hum": ("tone", tones()),
        "silence: zeros, dither, hiss": ("silence", silences()),
    }
    names = {kind: _write_all(audio, prefix, pieces) for kind, (prefix, pieces) in kinds.items()}
    written: list[Path] = []
    for number, flags in enumerate(roads.values(), 1):
        written.append(out / f"road-{number}")
        folder = ("-o", str(written[-1]), "-f", "json")
        dragoman("translate", str(audio), "--model", model, "--to", "all", *folder, "--threads", str(threads), *flags)
    return [
        [kind, str(len(own)), *(str(sum(_has_text(folder / f"{name}.json") for name in own)) for folder in written)]
        for kind, own in names.items()
    ]


def backgrounds(noise: Path) -> list[Waveform]:
    """Every background in a folder, in pieces of PIECE_S; the rooms' responses (rir/) are none."""
    paths = [path for path in sorted(noise.rglob("*.wav")) if path.parent.name != "rir"]
    step = round(PIECE_S * SAMPLE_RATE)
    return [samples[at : at + step] for samples in map(load_audio, paths) for at in range(0, len(samples), step)]


def music(seed: int) -> Waveform:
    """Chords of the major scale with a melody over them and a beat below, (PIECE_S * SAMPLE_RATE,)."""
    random = np.random.default_rng(seed)
    scale = 220 * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12]) / 12)
    beat = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    parts: list[NDArray[np.float64]] = []
    for _ in range(round(PIECE_S * SAMPLE_RATE / len(beat))):
        root = int(random.integers(0, 4))
        notes = [scale[root] / 2, scale[root + 2] / 2, scale[root + 4] / 2, random.choice(scale)]
        chord = np.sum([_note(beat, float(pitch), harmonics=5) for pitch in notes], axis=0)
        parts.append(0.12 * chord + 0.2 * random.normal(size=len(beat)) * np.exp(-40 * beat))
    whole = np.concatenate(parts)
    return (0.5 * whole / np.abs(whole).max()).astype(np.float32)


def _note(seconds: NDArray[np.float64], pitch: float, harmonics: int) -> NDArray[np.float64]:
    """A string that is plucked: harmonics that fade."""
    partials = [np.sin(2 * np.pi * pitch * n * seconds) / n * np.exp(-3 * n * seconds) for n in range(1, harmonics + 1)]
    return np.asarray(np.sum(partials, axis=0))


def tones() -> list[Waveform]:
    """Sines, mains hum with its harmonics, and sweeps."""
    seconds = np.arange(round(PIECE_S * SAMPLE_RATE)) / SAMPLE_RATE
    sines = [0.3 * np.sin(2 * np.pi * pitch * seconds) for pitch in (100, 220, 440, 1000, 3000)]
    hums = [0.1 * sum(np.sin(2 * np.pi * mains * n * seconds) / n for n in (1, 2, 3, 5)) for mains in (50, 60)]
    sweeps = [0.3 * np.sin(2 * np.pi * (low + rise * seconds / 2) * seconds) for low, rise in ((50, 300), (2000, -150))]
    return [np.asarray(samples, np.float32) for samples in (*sines, *hums, *sweeps)]


def silences() -> list[Waveform]:
    """Zeros of several lengths, the last bit of 16 at random, and hiss from -70 to -30 dB."""
    random, size = np.random.default_rng(0), round(PIECE_S * SAMPLE_RATE)
    zeros = [np.zeros(round(length_s * SAMPLE_RATE), np.float32) for length_s in (0.5, 5.0, 30.0, 60.0)]
    hiss = [10 ** (level / 20) * random.normal(size=size) for level in (-70, -50, -30)]
    dither = random.integers(-1, 2, size) / 32767
    return [*zeros, *(samples.astype(np.float32) for samples in (dither, *hiss))]


def long_recording(
    model: str, rows: Sequence[Utterance], hours: float, target: str, out: Path, threads: int
) -> dict[str, str]:
    """Clips of one language, one after the other and round again until they last so long, translated in one go: what
    it took and what came of it. What was measured before is not measured again."""
    result, stem = out / "measured.json", f"{hours:g}-hours"
    if not result.is_file():
        out.mkdir(parents=True, exist_ok=True)
        said = _write_long(out / f"{stem}.wav", rows, hours)
        flags = (
            "--language",
            rows[0].language,
            "--to",
            target,
            "-o",
            str(out),
            "-f",
            "json",
            "--threads",
            str(threads),
        )
        seconds, peak_gb = _measured("translate", str(out / f"{stem}.wav"), "--model", model, *flags)
        found = json.loads((out / f"{stem}.json").read_text(encoding="utf-8"))
        wer = METRICS["WER"](find(rows[0].language)).score([ScoringPair(found["transcript"], said)])
        measured = {
            "length, hours": f"{hours:g}",
            f"time on {threads} thread{'s' * (threads > 1)}, minutes": f"{seconds / 60:.1f}",
            "real-time factor": f"{seconds / hours / 3600:.2f}",
            "peak memory, GB": f"{peak_gb:.2f}",
            "segments": str(len(found["segments"])),
            "the last one ends, s": f"{found['segments'][-1]['end_s']:.1f}" if found["segments"] else "-",
            "word errors of the whole": f"{wer:.1f}",
        }
        with atomic_file(result) as file:
            json.dump(measured, file)
    return dict(json.loads(result.read_text(encoding="utf-8")))


def _measured(*arguments: str) -> tuple[float, float]:
    """Seconds and peak memory in GB of a command. Raises CalledProcessError."""
    started, command = time.monotonic(), [sys.executable, "-m", "dragoman", *arguments]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)  # or Popen would wait for it again
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return time.monotonic() - started, used.ru_maxrss / 1024**2


def _write_long(path: Path, rows: Sequence[Utterance], hours: float) -> str:
    """Write the recording block by block; returns what is said in it."""
    said: list[str] = []
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        for row, samples in _round_and_round(rows):
            if file.tell() >= hours * 3600 * SAMPLE_RATE:
                break
            said.append(row.text)
            file.writeframes(_pcm(samples))
            file.writeframes(bytes(2 * round(PAUSE_S * SAMPLE_RATE)))
    return " ".join(said)


def _round_and_round(rows: Sequence[Utterance]) -> Iterator[tuple[Utterance, Waveform]]:
    heard = [load_audio(row.audio, row.start_s, row.duration_s) for row in rows]
    while True:
        yield from zip(rows, heard, strict=True)


def _write_all(folder: Path, prefix: str, pieces: Sequence[Waveform]) -> list[str]:
    """As WAV files; their names without the ending."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{prefix}-{number:03}" for number in range(len(pieces))]
    for name, samples in zip(names, pieces, strict=True):
        if not (path := folder / f"{name}.wav").is_file():
            with wave.open(str(path), "wb") as file:
                file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
                file.writeframes(_pcm(samples))
    return names


def _pcm(samples: Waveform) -> bytes:
    return np.round(samples.clip(-1, 1) * 32767).astype("<i2").tobytes()


def _has_text(path: Path) -> bool:
    found = json.loads(path.read_text(encoding="utf-8"))
    return any(segment["transcript"] or any(segment["translations"].values()) for segment in found["segments"])
