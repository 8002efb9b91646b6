"""Speech that a client sends while it is spoken: resampled, counted, followed by a LiveTranslator in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from dragoman.data.audio import SAMPLE_RATE, Waveform
from dragoman.data.audio.resampling import Resampler
from dragoman.errors import AudioError
from dragoman.inference.decoding.glossary import Glossary
from dragoman.inference.options import TranslateOptions
from dragoman.inference.streaming import FinalSegment, LiveEvent, LiveTranslator, PartialSegment
from dragoman.server.backend.batching import ClientGone
from dragoman.server.backend.translation import ModelServer
from dragoman.server.metrics import ServerMetrics

COMMIT: Final = "commit"
CLEAR: Final = "clear"
END: Final = "end"
_MOST_WAITING_S = 300.0
"""So much speech may wait for the model; beyond it the client is too fast, or the model too slow."""


@dataclass(frozen=True)
class LiveWork:
    """What is wanted of a session: languages by code, words, terms, the VAD's parameters; the rate of what is sent."""

    to: tuple[str, ...] | None = ()
    language: str | None = None
    words: tuple[str, ...] = ()
    glossary: Glossary | None = None
    vad_parameters: tuple[tuple[str, float], ...] = ()
    rate: int = 24_000


@dataclass(frozen=True)
class SilentCommit:
    """A commit of `seconds` in which nothing was said; it has a number, as a segment has."""

    number: int
    seconds: float


class LiveSession:
    """`append` and `put` from the one side, `events` in a thread on the other. Raises DragomanError for what the model
    cannot do."""

    def __init__(self, model: ModelServer, work: LiveWork, max_s: float, metrics: ServerMetrics) -> None:
        self._work, self._max_s, self._metrics = work, max_s, metrics
        self._translator, self._lane = model.client(dict(work.vad_parameters))
        self._resampler = Resampler()
        self._queue: queue.SimpleQueue[Waveform | str] = queue.SimpleQueue()
        self._waiting_s = 0.0
        self._heard_s = 0.0
        self._lock = threading.Lock()
        self._live = self._new()
        self._offset_s = self._pushed_s = 0.0  # where the open LiveTranslator began; how much was heard
        self._first = self._next = 0  # its first segment's number; the next one's
        self._committed_s = 0.0  # up to here everything is in a segment or a commit
        self._closed = False

    def append(self, samples: npt.NDArray[np.float32]) -> None:
        """The next samples (N,) at the session's rate. Raises AudioError when it is too much."""
        for piece in self._resampler.push(samples, self._work.rate, 0.0):
            seconds = len(piece) / SAMPLE_RATE
            with self._lock:
                self._heard_s += seconds
                self._waiting_s += seconds
                if self._heard_s > self._max_s:
                    raise AudioError(f"The session lasts over {self._max_s:g} s; begin a new one.")
                if self._waiting_s > _MOST_WAITING_S:
                    raise AudioError("The speech comes faster than the model can hear it; send it as it is spoken.")
            self._queue.put(piece)

    def put(self, command: str) -> None:
        """COMMIT ends what is open, END everything."""
        self._queue.put(command)

    def clear(self) -> None:
        """Drop what is open."""
        self._queue.put(CLEAR)

    def close(self) -> None:
        """Nobody listens any more."""
        if not self._closed:
            self._closed = True
            self._metrics.audio_s.inc(self._heard_s)
            self._lane.close()
            self._queue.put(END)

    def events(self) -> Iterator[LiveEvent | SilentCommit]:
        """To the end; in a thread. Times count from the session's start."""
        while True:
            item = self._queue.get()
            if self._closed:
                raise ClientGone("The client is gone.")
            if not isinstance(item, str):
                with self._lock:
                    self._waiting_s -= len(item) / SAMPLE_RATE
                self._pushed_s += len(item) / SAMPLE_RATE
                yield from map(self._placed, self._live.push(item, skip_updates=not self._queue.empty()))
                continue
            if item != CLEAR:
                yield from self._finished(says_silence=item == COMMIT)
            if item == END:
                return
            self._committed_s = self._pushed_s
            self._live = self._new()
            self._offset_s, self._first = self._pushed_s, self._next

    def _finished(self, says_silence: bool) -> Iterator[LiveEvent | SilentCommit]:
        is_silent = True
        for event in map(self._placed, self._live.finish()):
            is_silent = False
            yield event
        if says_silence and is_silent:
            self._next += 1
            yield SilentCommit(self._next - 1, self._pushed_s - self._committed_s)

    def _new(self) -> LiveTranslator:
        options = TranslateOptions(
            self._work.to, self._work.language, hotwords=self._work.words, glossary=self._work.glossary
        )
        return LiveTranslator(self._translator, options)

    def _placed(self, event: LiveEvent) -> LiveEvent:
        """On the session's clock and with its numbers."""
        number = self._first + event.number
        self._next = number + 1
        if isinstance(event, PartialSegment):
            start_s, end_s = event.start_s + self._offset_s, event.end_s + self._offset_s
            return replace(event, number=number, start_s=start_s, end_s=end_s)
        segment = event.segment
        self._committed_s = segment.end_s + self._offset_s
        moved = replace(segment, start_s=segment.start_s + self._offset_s, end_s=segment.end_s + self._offset_s)
        return FinalSegment(number, moved)
