"""`/v1/audio/transcriptions` and `/v1/audio/translations`: a recording in, whole or as a stream."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from dragoman.errors import DragomanError, LanguageError, ModelError
from dragoman.inference.recordings import check_writes_transcripts
from dragoman.inference.result import Result, Segment
from dragoman.inference.translator import Translator
from dragoman.server.api.answers import Answer, RoadTask, segment_fields, segment_name, server_event
from dragoman.server.api.documents import FORM_ROAD
from dragoman.server.api.fields import TranscriptionForm, checked_targets, read_form
from dragoman.server.api.glossary import checked_glossary
from dragoman.server.api.waiting import client_gone, is_done_first, work_timeout
from dragoman.server.backend.tasks import RecordingJob, RecordingWork, in_thread
from dragoman.server.errors_api import ApiError, api_error
from dragoman.server.guards import GONE
from dragoman.server.state import ServerState, state_of
from dragoman.text.languages import known_source, known_targets

router = APIRouter()
_FIRST_S = 5.0
"""So long a stream waits for its first event, since an error before it has a status of its own."""


@router.post("/v1/audio/transcriptions", **FORM_ROAD)
async def transcriptions(request: Request) -> Response:
    """Transcribe a recording, and translate it into any number of languages."""
    return await _answer(request, "transcribe")


@router.post("/v1/audio/translations", **FORM_ROAD)
async def translations(request: Request) -> Response:
    """Translate a recording into English, or the language that is named."""
    return await _answer(request, "translate")


async def _answer(request: Request, task: RoadTask) -> Response:
    state = state_of(request)
    translator = state.model.translator
    form, file = await read_form(request, state.settings.max_file_bytes)
    try:
        check_model(state, form.model)
        targets = form_targets(form, task)
        work = recording_work(form, translator, targets, task)
        job = _job(state, work, file)
    finally:
        await file.close()
    asked = _Asked(state, job, form, task, targets)
    try:
        return await (asked.stream() if form.stream else asked.whole(request))
    except BaseException:
        job.close()
        raise


def check_model(state: ServerState, name: str) -> None:
    """Raises ApiError for a model that is not served."""
    if name not in state.model_names:
        served = ", ".join(state.model_names)
        raise ApiError(404, f"There is no model {name!r} here; ask for {served}.", "model", "model_not_found")


def recording_work(
    form: TranscriptionForm, translator: Translator, targets: tuple[str, ...] | None, task: RoadTask
) -> RecordingWork:
    """What is asked, by codes. Raises ApiError, which names the field."""
    language = None if form.language is None else _source(form.language, translator, "language")
    languages = tuple(_source(name, translator, "languages") for name in form.languages)
    if len(languages) == 1:
        language, languages = languages[0], ()
    wanted = targets
    if task == "translate" and targets is not None:  # what is in English already stays as it is
        wanted = tuple(code for code in targets if code != language)
    check_targets(wanted, language, translator, "target_language")
    if form.multilingual and language is not None:
        raise ApiError(400, "multilingual: leave language out, or multilingual.", "multilingual", "invalid_value")
    check_detects(language, translator)
    check_words(form.words, translator)
    check_vad(form.vad_parameters, translator, "chunking_strategy")
    return RecordingWork(
        wanted,
        language,
        languages,
        form.multilingual,
        form.words,
        checked_glossary(form.glossary, wanted, translator, targets),
        form.audio_track,
        tuple(sorted(form.vad_parameters.items())),
    )


def check_vad(parameters: Mapping[str, float], translator: Translator, param: str) -> None:
    """Raises ApiError for values that the model, or common sense, does not allow."""
    try:
        translator.vad.varied(parameters, translator.name)
    except DragomanError as error:
        raise ApiError(400, str(error), param, "invalid_value") from None


def check_targets(targets: tuple[str, ...] | None, source: str | None, translator: Translator, param: str) -> None:
    """Raises ApiError for what the model does not write: a language, or a transcript."""
    try:
        found = known_targets(targets, translator.targets, translator.name, source)
        if not found:
            check_writes_transcripts(translator)
    except (LanguageError, ModelError) as error:
        raise ApiError(400, str(error), param, "invalid_value") from None


def check_detects(language: str | None, translator: Translator) -> None:
    """Raises ApiError where nobody says what is spoken, and the model cannot tell."""
    if language is None and not translator.identifies_language:
        message = f"language: {translator.name} cannot detect what is spoken; name it."
        raise ApiError(400, message, "language", "invalid_value")


def takes_words(translator: Translator) -> bool:
    """Whether words that may be said do anything: Whisper's own decoder takes none, nor does vLLM."""
    return translator.supports_phrases and translator.whisper is None


def check_words(words: tuple[str, ...], translator: Translator) -> None:
    """Raises ApiError where they would do nothing."""
    if words and not takes_words(translator):
        writer = "vLLM" if translator.whisper is None else "Whisper"
        message = f"keywords: {writer} writes this model's transcripts and takes none; leave them out."
        raise ApiError(400, message, "keywords", "invalid_value")


def _source(name: str, translator: Translator, param: str) -> str:
    try:
        return known_source(name, translator.sources, translator.name)
    except LanguageError as error:
        raise ApiError(400, str(error), param, "invalid_value") from None


def form_targets(form: TranscriptionForm, task: RoadTask) -> tuple[str, ...] | None:
    """Codes of what is to be translated into, None for all. Raises ApiError where the format cannot hold it."""
    targets = checked_targets(form.targets)
    if task == "translate" and not targets:
        if targets is None or form.targets:
            message = "target_language: name the languages; all and none are for /v1/audio/transcriptions."
            raise ApiError(400, message, "target_language", "invalid_value")
        targets = ("eng",)
    if form.bilingual and (task == "transcribe" or form.max_line_count == 1):
        instead = "give it two lines at least" if task == "translate" else "ask /v1/audio/translations for it"
        raise ApiError(400, f"bilingual: {instead}.", "bilingual", "invalid_value")
    plain = form.response_format in ("text", "srt", "vtt")
    if plain and form.stream:
        raise ApiError(400, "response_format: a stream is json or verbose_json.", "response_format", "invalid_value")
    if plain and (targets != () if task == "transcribe" else targets is None or len(targets) > 1):
        instead = "ask for verbose_json, /v1/audio/translations with one target, or /v1/subtitles"
        message = f"response_format: {form.response_format} would not hold the translations; {instead}."
        raise ApiError(400, message, "response_format", "invalid_value")
    return targets


def answer_warnings(form: TranscriptionForm, result: Result, job: RecordingJob) -> list[str]:
    """What was not done, what was lost, what is not sure."""
    found = [*form.warnings, *job.recording.damage]
    if result.doubts_language:
        found.append("The language is not sure; name what is spoken as language.")
    return found


def _job(state: ServerState, work: RecordingWork, file: UploadFile) -> RecordingJob:
    """The recording as a file without a name. Raises DragomanError."""
    spooled: Any = file.file
    spooled.rollover()
    spooled.flush()
    descriptor = os.dup(spooled.fileno())
    try:
        return RecordingJob(state.model, work, descriptor, state.settings.max_duration_s, state.metrics)
    except BaseException:
        os.close(descriptor)
        raise


class _Asked:
    """One request on its way."""

    def __init__(
        self,
        state: ServerState,
        job: RecordingJob,
        form: TranscriptionForm,
        task: RoadTask,
        targets: tuple[str, ...] | None,
    ) -> None:
        """`targets` as they were asked for, None for all."""
        self._state, self._job, self._form, self._task = state, job, form, task
        self._targets = targets or ()
        self._segments = in_thread(state.threads, job.segments)
        self._found: list[Segment] = []
        self._is_plain = form.response_format == "json" and targets == () and task == "transcribe"

    async def whole(self, request: Request) -> Response:
        """The answer when all is there; given up when the client goes. Raises ApiError."""
        work = asyncio.create_task(self._collect())
        try:
            if not await self._is_awaited(work, request):
                return Response(status_code=GONE)  # nobody hears it
            work.result()
            return await run_in_threadpool(self._response)  # dividing hours into cues takes a while
        except (DragomanError, LookupError) as error:
            raise api_error(error, "file") from error
        finally:
            self._job.close()
            work.cancel()

    async def _is_awaited(self, work: asyncio.Future[None], request: Request) -> bool:
        """Raises ApiError."""
        try:
            return await is_done_first(work, client_gone(request), self._state.settings.request_timeout_s)
        except TimeoutError:
            raise _too_long() from None

    async def stream(self) -> Response:
        """Events. Raises ApiError for what is wrong before the first."""
        first = asyncio.ensure_future(anext(self._segments))
        await asyncio.wait({first}, timeout=_FIRST_S)
        if first.done() and isinstance(error := first.exception(), DragomanError):
            raise api_error(error, "file") from error
        headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-cache"}
        return _JobStream(self._job, self._events(first), media_type="text/event-stream", headers=headers)

    async def _events(self, pending: asyncio.Future[Segment]) -> AsyncIterator[str]:
        settings = self._state.settings
        ends = asyncio.get_running_loop().time() + settings.request_timeout_s
        yield ": listening\n\n"
        try:
            while True:
                done, _ = await asyncio.wait({pending}, timeout=settings.ping_s)
                if asyncio.get_running_loop().time() > ends:
                    raise _too_long()
                if not done:
                    yield ": ping\n\n"
                    continue
                try:
                    segment = pending.result()
                except StopAsyncIteration:
                    break
                yield server_event(self._event(segment))
                self._found.append(segment)
                pending = asyncio.ensure_future(anext(self._segments))
            answer = self._answer()
            last = answer.short() if self._is_plain else answer.verbose()
            yield server_event({"type": "transcript.text.done", **last, "segments": answer.verbose()["segments"]})
            yield server_event("[DONE]")
        except Exception as error:
            yield server_event(api_error(error, "file").body)
        finally:
            pending.cancel()

    def _event(self, segment: Segment) -> dict[str, Any]:
        name = segment_name(len(self._found))
        if self._is_plain:
            delta = f"{segment.transcript} "
            return {"type": "transcript.text.delta", "delta": delta, "segment_id": name}
        text = segment.transcript if self._task == "transcribe" else segment.text(self._targets[0])
        fields = segment_fields(segment, text)
        at = {"id": name, "speaker": "", "position": fields["end"]}
        return {"type": "transcript.text.segment", **at, **fields}

    async def _collect(self) -> None:
        async for segment in self._segments:
            self._found.append(segment)

    def _response(self) -> Response:
        return self._answer().response(self._form.response_format)

    def _answer(self) -> Answer:
        result = self._job.result(self._found)
        warnings = answer_warnings(self._form, result, self._job)
        targets = self._targets or self._job.options.targets
        seconds = self._job.recording.duration_s
        return Answer(result, self._task, targets, seconds, warnings, self._form.subtitles)


class _JobStream(StreamingResponse):
    """Closes the job however it ends, also before its first event."""

    def __init__(self, job: RecordingJob, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._job.close()


def _too_long() -> ApiError:
    return work_timeout("file", "send a shorter recording")
