"""Home Assistant's voice assistants, by the Wyoming protocol: what is said is transcribed, by the same model and in the
same batches as everything else. The protocol knows no keys."""

from __future__ import annotations

import asyncio
import os
import tempfile
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from dragoman.errors import AudioError, DragomanError, needs_extra
from dragoman.server.api.fields import TranscriptionForm
from dragoman.server.api.transcriptions import recording_work, takes_words
from dragoman.server.backend.tasks import RecordingJob, in_thread
from dragoman.server.errors_api import ApiError, api_error
from dragoman.server.state import ServerState
from dragoman.text.languages import LANGUAGES
from dragoman.version import __version__

with needs_extra("--wyoming_port", "wyoming"):
    from wyoming.asr import Transcribe, Transcript
    from wyoming.audio import AudioChunk, AudioStart, AudioStop
    from wyoming.error import Error
    from wyoming.event import Event
    from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info
    from wyoming.server import AsyncEventHandler, AsyncTcpServer

_OURS = Attribution(name="Dragoman", url="")  # Wyoming wants the field; the project has no page of its own yet


class VoiceHandler(AsyncEventHandler):
    """One connection: `describe`, or `transcribe` and speech."""

    def __init__(self, state: ServerState, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self._state = state
        self._wanted = Transcribe()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the connection
        self._speech: wave.Wave_write | None = None

    async def handle_event(self, event: Event) -> bool:
        """Wyoming's, as the next; False ends the connection."""
        try:
            return await self._handled(event)
        except (ApiError, DragomanError, wave.Error) as error:
            answer = api_error(error if isinstance(error, DragomanError | ApiError) else AudioError(f"{error}."))
            await self.write_event(Error(answer.detail, answer.code).event())
            return False

    async def disconnect(self) -> None:
        """Nothing is left of what was said."""
        if self._speech is not None:
            self._speech.close()
        self._file.close()

    async def _handled(self, event: Event) -> bool:
        if Describe.is_type(event.type):
            await self.write_event(self._info().event())
        elif Transcribe.is_type(event.type):
            self._wanted = Transcribe.from_event(event)
        elif AudioStart.is_type(event.type):
            self._begin(AudioStart.from_event(event))
        elif AudioChunk.is_type(event.type) and self._speech is not None:
            self._speech.writeframes(AudioChunk.from_event(event).audio)
            if self._file.tell() > self._state.settings.max_file_bytes:
                raise ApiError(413, "This is too long; say less.", "file", "file_too_large")
        elif AudioStop.is_type(event.type) and self._speech is not None:
            self._speech.close()
            with self._state.places.one():
                await self.write_event((await self._transcript()).event())
            return False
        return True

    def _begin(self, start: AudioStart) -> None:
        speech = wave.open(self._file, "wb")  # noqa: SIM115
        speech.setnchannels(start.channels)
        speech.setsampwidth(start.width)
        speech.setframerate(start.rate)
        self._speech = speech

    async def _transcript(self) -> Transcript:
        """Raises ApiError, DragomanError."""
        translator, metrics = self._state.model.translator, self._state.metrics
        names = [*(self._wanted.transcript_names or ()), *(self._wanted.transcript_terms or ())]
        spoken = (self._wanted.language or "").partition("-")[0] or None  # en-US
        form = TranscriptionForm(
            model=translator.name, language=spoken, keywords=names if takes_words(translator) else []
        )
        work = recording_work(form, translator, (), "transcribe")
        descriptor = os.dup(self._file.fileno())
        try:
            job = RecordingJob(self._state.model, work, descriptor, self._state.settings.max_duration_s, metrics)
        except BaseException:
            os.close(descriptor)
            raise
        try:
            segments = [segment async for segment in in_thread(self._state.threads, job.segments)]
            result = job.result(segments)
        finally:
            job.close()
        code = result.language
        return Transcript(result.transcript, language=None if code is None else LANGUAGES[code].iso1 or code)

    def _info(self) -> Info:
        name = self._state.model_names[0]
        codes = [LANGUAGES[code].iso1 or code for code in self._state.model.translator.sources]
        model = AsrModel(name, _OURS, True, f"Dragoman, {name}", __version__, languages=codes)
        return Info(asr=[AsrProgram("dragoman", _OURS, True, "Dragoman", __version__, models=[model])])


@asynccontextmanager
async def listening_to_voices(state: ServerState, host: str, port: int) -> AsyncIterator[None]:
    """While the application runs. Raises OSError where the port is taken."""
    server = AsyncTcpServer(host, port)
    await server.start(partial(VoiceHandler, state))
    try:
        yield
    finally:
        await server.stop()
