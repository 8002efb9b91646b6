"""What takes long and blocks, in threads, for coroutines that may go away."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeVar

from dragoman.inference.decoding.glossary import Glossary
from dragoman.inference.options import TranslateOptions
from dragoman.inference.result import Result, Segment
from dragoman.server.backend.translation import ModelServer
from dragoman.server.backend.uploads import UploadedRecording
from dragoman.server.metrics import ServerMetrics

ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class RecordingWork:
    """What is wanted of a recording: languages by code, words, terms, the track, the VAD's parameters, among which
    languages to tell."""

    to: tuple[str, ...] | None
    language: str | None = None
    languages: tuple[str, ...] = ()
    multilingual: bool = False
    words: tuple[str, ...] = ()
    glossary: Glossary | None = None
    audio_track: int | None = None
    vad_parameters: tuple[tuple[str, float], ...] = ()


class RecordingJob:
    """One recording on its way through the model. `close` may be called by any thread, again and again; the recording's
    descriptor is closed with it."""

    def __init__(
        self, model: ModelServer, work: RecordingWork, descriptor: int, max_duration_s: float, metrics: ServerMetrics
    ) -> None:
        """Raises DragomanError for what the model cannot do; then the descriptor is still the caller's."""
        self._work, self._metrics, self._descriptor = work, metrics, descriptor
        self.translator, self._lane = model.client(dict(work.vad_parameters), work.languages)
        self.options = self.translator.checked(
            TranslateOptions(
                work.to, work.language, work.multilingual, work.words, work.glossary, audio_track=work.audio_track
            )
        )
        self.recording = UploadedRecording(descriptor, max_duration_s)
        self._open, self._lock = True, threading.Lock()

    def segments(self) -> Iterator[Segment]:
        """Each as soon as it is there. Raises DragomanError."""
        for segment in self.translator.stream(self.recording, self.options):
            self._metrics.segments.inc()
            yield segment

    def result(self, segments: list[Segment]) -> Result:
        """As `dragoman translate` has it: a recording is not translated into its own language."""
        spoken = {segment.language for segment in segments}
        targets = tuple(code for code in self.options.targets if {code} != spoken)
        return Result(str(self.recording), targets, segments)

    def close(self) -> None:
        """Nobody wants it any more: drop what waits, kill what decodes."""
        with self._lock:  # else two threads might close the descriptor, which may be another's by then
            if not self._open:
                return
            self._open = False
        self._metrics.audio_s.inc(self.recording.duration_s)
        self._lane.close()
        self.recording.close()
        os.close(self._descriptor)


async def in_thread(executor: Executor, items: Callable[[], Iterator[ItemT]]) -> AsyncIterator[ItemT]:
    """The items of a blocking iterator, which runs in a thread of its own to its end."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[_Given[ItemT] | BaseException | None] = asyncio.Queue()

    def put(item: _Given[ItemT] | BaseException | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(queue.put_nowait, item)

    def run() -> None:
        try:
            for item in items():
                put(_Given(item))
            put(None)
        except BaseException as error:
            put(error)

    executor.submit(run)
    while (found := await queue.get()) is not None:
        if isinstance(found, BaseException):
            raise found
        yield found.item


@dataclass(frozen=True)
class _Given(Generic[ItemT]):
    item: ItemT
