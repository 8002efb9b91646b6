"""What the recordings themselves say: each file is decoded once for all of its stretches, in bounded memory."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dragoman.data.audio import SAMPLE_RATE, Waveform, stream_audio
from dragoman.data.check.rules import Finding
from dragoman.data.shards import file_of
from dragoman.errors import AudioError, FileAccessError
from dragoman.files import not_readable, other_spelling, spelt_otherwise
from dragoman.records import Utterance

# Codecs pad a clip by up to 0.1 s, and manifests round.
_TOLERANCE_S = 0.1
_TOLERANCE = 0.01


@dataclass(slots=True)
class AudioSpan:
    """What one utterance takes of a recording, as it is decoded."""

    start_s: float
    asked_s: float | None
    samples: int = 0
    is_silent: bool = True
    after_s: float = 0.0
    """How much of the recording is left behind its end, as far as it was decoded."""
    findings: list[Finding] = field(default_factory=list)
    _hash: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=8))

    @property
    def duration_s(self) -> float:
        return self.samples / SAMPLE_RATE

    @property
    def key(self) -> int:
        """Of the decoded samples; 0 when there are none, or nothing but zeros."""
        return 0 if self.is_silent else int.from_bytes(self._hash.digest(), "little") or 1

    @property
    def stop(self) -> float:
        """The sample after its last; infinite when it goes to the end, and to be measured against the end."""
        if self.asked_s is None or not self.start_s:
            return math.inf
        return _samples(self.start_s) + _samples(self.asked_s)

    def hear(self, block: Waveform, position: int) -> None:
        """Take what is ours of a block that begins at sample `position`."""
        first = _samples(self.start_s)
        last = None if self.asked_s is None else max(first + _samples(self.asked_s) - position, 0)
        piece = block[max(first - position, 0) : last]
        self.samples += len(piece)
        self.is_silent = self.is_silent and not piece.any()
        self._hash.update(piece.tobytes())
        if last is not None and last < len(block):
            self.after_s += (len(block) - last) / SAMPLE_RATE

    def judge(self) -> None:
        """Say what is wrong, once all is heard."""
        if not self.samples:
            where = f"nothing from {self.start_s:g} s on" if self.start_s else "no samples"
            self.findings.append(Finding("audio-empty", where))
        elif self.is_silent:
            self.findings.append(Finding("audio-silent"))
        if self.samples and self.asked_s is not None and self.asked_s - self.duration_s > tolerance_s(self.asked_s):
            said = f"duration_s is {self.asked_s:.2f}, the audio has {self.duration_s:.2f} s"
            self.findings.append(Finding("duration", said))


def tolerance_s(duration_s: float) -> float:
    """By how much a duration may differ from the audio's."""
    return max(_TOLERANCE_S, _TOLERANCE * duration_s)


def _samples(seconds: float) -> int:
    return round(min(seconds, 1e9) * SAMPLE_RATE)  # longer than any recording; a float's largest would overflow


def hear(path: Path, utterances: Sequence[Utterance]) -> list[AudioSpan]:
    """Decode a file as far as these utterances of it need; one AudioSpan for each. Raises FileAccessError where the
    system does not hand it over, which says nothing about the data."""
    stretches = [AudioSpan(utterance.start_s, utterance.duration_s) for utterance in utterances]
    common = _decode(path, stretches, utterances[0].language)
    for stretch in stretches:
        if not any(finding.kind in ("audio-missing", "audio-broken") for finding in common):
            stretch.judge()
        stretch.findings += common
    return stretches


def _missing(path: Path) -> Finding | None:
    try:
        os.stat(file_of(path))
    except (OSError, ValueError) as error:
        failure = not_readable(str(path), error)
        if isinstance(failure, FileAccessError):
            raise failure from error
        other = other_spelling(file_of(path))
        return Finding("audio-missing", str(path) if other is None else f"{path}: {spelt_otherwise(other)}")
    return None


def _decode(path: Path, stretches: Sequence[AudioSpan], language: str) -> list[Finding]:
    if missing := _missing(path):
        return [missing]
    needed = max(stretch.stop for stretch in stretches)
    position = 0
    damage: list[str] = []
    try:
        with contextlib.closing(stream_audio(path, language=language, on_damage=damage.append)) as blocks:
            for block in blocks:
                for stretch in stretches:
                    stretch.hear(block, position)
                position += len(block)
                if position >= needed:
                    break
    except FileAccessError:
        raise
    except AudioError as error:
        return [Finding("audio-broken", str(error).removeprefix(f"{path}: "))]
    return [Finding("audio-damaged", said.removeprefix(f"{path}: ")) for said in damage]
