"""Home Assistant's voice assistants, by the Wyoming protocol: what is said is transcribed, by the same model and in the
same batches as everything else. The protocol knows no keys."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from dragoman.errors import AudioError, DragomanError, needs_extra
from dragoman.inference.result import Segment
from dragoman.server.api.fields import TranscriptionForm
from dragoman.server.api.transcriptions import recording_work, takes_words
from dragoman.server.api.waiting import is_done_first
from dragoman.server.backend.tasks import RecordingJob, in_thread
from dragoman.server.errors_api import ApiError, api_error
from dragoman.server.run import listening
from dragoman.server.settings import ServerSettings
from dragoman.server.state import ServerState
from dragoman.text.languages import LANGUAGES
from dragoman.version import __version__

with needs_extra("--wyoming_port", "wyoming"):
    from wyoming.asr import Transcribe, Transcript
    from wyoming.audio import AudioChunk, AudioStart, AudioStop
    from wyoming.error import Error
    from wyoming.event import Event, async_read_event, async_write_event
    from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info
    from wyoming.server import AsyncEventHandler

_OURS = Attribution(name="Dragoman", url="")  # Wyoming wants the field; the project has no page of its own yet
_MOST_BYTES = 1 << 20
"""Of speech in one event: half a minute."""


class VoiceHandler(AsyncEventHandler):
    """One connection: `describe`, or `transcribe` and speech."""

    def __init__(self, state: ServerState, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self._state = state
        self._wanted = Transcribe()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the connection
        self._speech: wave.Wave_write | None = None

    async def run(self) -> None:
        """Until the client is done, says nothing for a while or takes too long."""
        try:
            async with asyncio.timeout(self._state.settings.request_timeout_s):
                while (event := await self._next()) is not None and await self.handle_event(event):
                    pass
        except TimeoutError:
            await self._refuse(ApiError(408, "This took too long; say less.", None, "work_timeout"))
        except (ApiError, DragomanError) as error:
            await self._refuse(api_error(error))
        except wave.Error as error:
            await self._refuse(api_error(AudioError(f"{error}.")))
        except (ConnectionError, asyncio.IncompleteReadError):  # the client is gone
            pass
        finally:
            await self.disconnect()
            self.writer.close()

    async def _refuse(self, error: ApiError) -> None:
        await say_why(self.writer, error, self._state.settings.send_timeout_s)

    async def _next(self) -> Event | None:
        """None at the end, also where a client that says nothing keeps a connection. Raises ApiError."""
        try:
            async with asyncio.timeout(self._state.settings.body_grace_s):
                return await async_read_event(self.reader)
        except TimeoutError:
            return None
        except (AttributeError, KeyError, TypeError):  # JSON, but no object of Wyoming's
            raise ApiError(400, "This is no event of Wyoming's.", None, "invalid_event") from None

    async def disconnect(self) -> None:
        """Nothing is left of what was said."""
        if self._speech is not None:
            self._speech.close()
        self._file.close()

    async def handle_event(self, event: Event) -> bool:
        """False ends the connection. Raises ApiError, DragomanError, wave.Error."""
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
                if (transcript := await self._transcript()) is not None:
                    await self.write_event(transcript.event())
            return False
        return True

    def _begin(self, start: AudioStart) -> None:
        speech = wave.open(self._file, "wb")  # noqa: SIM115
        speech.setnchannels(start.channels)
        speech.setsampwidth(start.width)
        speech.setframerate(start.rate)
        self._speech = speech

    async def _transcript(self) -> Transcript | None:
        """None where the client did not wait for it. Raises ApiError, DragomanError."""
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
        heard = asyncio.create_task(self._heard(job))
        try:
            if not await is_done_first(heard, hung_up(self.reader)):
                return None
            result = job.result(heard.result())
        finally:
            job.close()
            heard.cancel()
        code = result.language
        return Transcript(result.transcript, language=None if code is None else LANGUAGES[code].iso1 or code)

    async def _heard(self, job: RecordingJob) -> list[Segment]:
        return [segment async for segment in in_thread(self._state.threads, job.segments)]

    def _info(self) -> Info:
        name = self._state.model_names[0]
        codes = [LANGUAGES[code].iso1 or code for code in self._state.model.translator.sources]
        model = AsrModel(name, _OURS, True, f"Dragoman, {name}", __version__, languages=codes)
        return Info(asr=[AsrProgram("dragoman", _OURS, True, "Dragoman", __version__, models=[model])])


async def say_why(writer: asyncio.StreamWriter, error: ApiError, timeout_s: float) -> None:
    """To who still listens."""
    with suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(timeout_s):
            await async_write_event(Error(error.detail, error.code).event(), writer)


async def hung_up(reader: asyncio.StreamReader) -> None:
    """Until the client closes the connection; what it says meanwhile is not heard."""
    with suppress(OSError):
        while await reader.read(_MOST_BYTES):
            pass


class BoundedReader(asyncio.StreamReader):
    """Wyoming's client says how much it sends, and that much is read at once."""

    async def readexactly(self, n: int) -> bytes:
        """asyncio's. Raises ApiError."""
        if n > _MOST_BYTES:
            raise ApiError(413, f"An event has at most {_MOST_BYTES >> 20} MiB here.", None, "event_too_large")
        return await super().readexactly(n)


def voices_socket(settings: ServerSettings) -> socket.socket:
    """At `wyoming_port`. Raises OSError, which names the address."""
    return listening(replace(settings, port=settings.wyoming_port or 0))


@asynccontextmanager
async def listening_to_voices(state: ServerState, listener: socket.socket) -> AsyncIterator[None]:
    """While the application runs, to as many at once as there may be requests."""
    handlers: set[VoiceHandler] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(handlers) >= state.settings.max_requests:
            busy = ApiError(429, "Too many connections at once; come back soon.", None, "busy")
            await say_why(writer, busy, state.settings.send_timeout_s)
            writer.close()
            return
        handler = VoiceHandler(state, reader, writer)
        handlers.add(handler)
        try:
            await handler.run()
        finally:
            handlers.discard(handler)

    def protocol() -> asyncio.Protocol:
        return asyncio.StreamReaderProtocol(BoundedReader(), connected)

    server = await asyncio.get_running_loop().create_server(protocol, sock=listener)
    try:
        yield
    finally:
        server.close()
        for handler in list(handlers):
            await handler.stop()
