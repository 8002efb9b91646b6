"""A recording that a client sent, decoded by a child process.

Its file has no name: it is gone with its last descriptor, however this process ends. Shapes: N samples at 16 kHz.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from dragoman.data.audio import SAMPLE_RATE, Waveform
from dragoman.errors import AudioError, AudioTrackError
from dragoman.server.backend.audio_child import HEADER
from dragoman.server.backend.batching import ClientGone

CPU_SHARE = 0.02
"""Processor seconds a second of audio may take: an hour of 6 kbit/s Opus takes a third of that."""
_CPU_S = 20.0
"""And this many at least."""
_BYTES = 4


class RecordingTooLong(AudioError):
    """It decodes to more than is allowed."""


class UploadedRecording:
    """Decoded elsewhere, see DecodedElsewhere; `descriptor` stays open as long as this is used. `close` may be called
    by any thread: the children are killed, and who waits for them gets ClientGone."""

    def __init__(self, descriptor: int, max_duration_s: float) -> None:
        self._descriptor, self._max_duration_s = descriptor, max_duration_s
        self._children: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._samples = 0
        self.damage: list[str] = []

    def __str__(self) -> str:
        return "upload"  # no name that a client gave

    @property
    def duration_s(self) -> float:
        """So much of it was decoded."""
        return self._samples / SAMPLE_RATE

    def blocks(self, track: int | None, language: str | None) -> Iterator[Waveform]:
        """(N,) each, to the end. Raises AudioError. A child that somebody kills is started once more."""
        most = self._max_duration_s * SAMPLE_RATE
        for attempt in (1, 2):
            wanted = {"track": track, "language": language, "places": 0, "skip": self._samples}
            try:
                for block in self._frames(wanted):
                    if block is None:
                        continue
                    self._samples += len(block)
                    if self._samples > most:
                        raise RecordingTooLong(
                            f"The recording lasts over {self._max_duration_s:g} s; send parts of it."
                        )
                    yield block
                return
            except _ChildKilled as error:
                if attempt == 2 or error.number != signal.SIGKILL:
                    raise AudioError("The recording takes too much to decode; convert it to WAV.") from None

    def excerpts(self, places: int, seconds: float, track: int | None, language: str | None) -> list[Waveform]:
        """(N,) each, see `dragoman.data.audio.excerpts`; none where a file cannot be opened twice."""
        if sys.platform != "linux":
            return []
        wanted = {"track": track, "language": language, "places": places, "seconds": seconds}
        found: list[Waveform] = []
        parts: list[Waveform] = []
        try:
            for block in self._frames(wanted):
                if block is not None:
                    parts.append(block)
                else:
                    found.append(np.concatenate(parts))
                    parts = []
        except _ChildKilled:
            return []
        return found

    def close(self) -> None:
        """Kill what decodes it."""
        with self._lock:
            self._closed = True
            for child in self._children:
                child.kill()

    def _frames(self, wanted: dict[str, Any]) -> Iterator[Waveform | None]:
        """Samples; None after an excerpt."""
        child = self._start({**wanted, "cpu_s": _CPU_S + CPU_SHARE * self._max_duration_s})
        assert child.stdout is not None
        try:
            while frame := _read(child.stdout):
                kind, payload = frame
                if kind == b"Z":
                    return
                if kind == b"E":
                    said = json.loads(payload)
                    raise (AudioTrackError if said["kind"] == AudioTrackError.__name__ else AudioError)(said["message"])
                if kind == b"D":
                    self.damage.append(payload.decode())
                else:
                    yield np.frombuffer(payload, np.float32) if kind == b"A" else None
            child.wait()
            if self._closed:
                raise ClientGone("The client is gone.")
            raise _ChildKilled(-child.returncode)
        finally:
            self._finish(child)

    def _start(self, wanted: dict[str, Any]) -> subprocess.Popen[bytes]:
        code = f"import sys; sys.path[:] = {sys.path!r}; from dragoman.server.backend.audio_child import main; main()"
        with self._lock:
            if self._closed:
                raise ClientGone("The client is gone.")
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", code, json.dumps(wanted)],
                stdin=self._descriptor,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={},
                close_fds=True,
            )
            self._children.add(child)
        return child

    def _finish(self, child: subprocess.Popen[bytes]) -> None:
        child.kill()
        child.wait()
        if child.stdout is not None:
            with contextlib.suppress(OSError):
                child.stdout.close()
        with self._lock:
            self._children.discard(child)


class _ChildKilled(Exception):
    """By this signal."""

    def __init__(self, number: int) -> None:
        self.number = number


def _read(pipe: IO[bytes]) -> tuple[bytes, bytes] | None:
    """The next frame; None where the child ended in the middle."""
    header = pipe.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    kind, size = HEADER.unpack(header)
    payload = pipe.read(size)
    return (kind, payload) if len(payload) == size else None
