"""`/v1/subtitles`: segments that somebody has edited -> a file of subtitles, in one language or two."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.responses import PlainTextResponse, Response

from dragoman.errors import LanguageError
from dragoman.inference.result import Result, Segment
from dragoman.server.api.documents import ERRORS
from dragoman.server.api.waiting import client_gone, is_done_first, work_timeout
from dragoman.server.backend.batching import ClientGone
from dragoman.server.errors_api import ApiError
from dragoman.server.guards import GONE
from dragoman.server.state import state_of
from dragoman.subtitles.cues import Cue, SubtitleOptions, cues, said
from dragoman.subtitles.line_breaking import lines, words
from dragoman.subtitles.writers import to_srt, to_tsv, to_txt, to_vtt
from dragoman.text.languages import find

_LONGEST_S = 360_000.0
_MOST_TEXT = 5_000
"""Characters of a segment: a minute of the fastest speech is a third of that."""
_MOST_WRITTEN = 1_000_000
"""Characters of all that is to be written: four hours of speech are a fifth of that."""
_MOST_WORK_S = 60.0
_UNKNOWN = "und"
_PLAIN = {"schema": {"type": "string"}}

router = APIRouter(responses=ERRORS)


class EditedSegment(BaseModel):
    """Times in seconds; other keys of `verbose_json` are left aside."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)
    start: float = Field(ge=0, le=_LONGEST_S)
    end: float = Field(ge=0, le=_LONGEST_S)
    text: str = Field(max_length=_MOST_TEXT)
    language: str | None = None
    translations: dict[str, str] = Field(default={}, max_length=200)

    @field_validator("translations")
    @classmethod
    def _short(cls, value: dict[str, str]) -> dict[str, str]:
        if any(len(text) > _MOST_TEXT for text in value.values()):
            raise ValueError(f"a text has at most {_MOST_TEXT} characters")
        return value


class SubtitlesRequest(BaseModel):
    """See docs/server.md."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    segments: list[EditedSegment] = Field(max_length=20_000)
    format: Literal["srt", "vtt", "txt", "tsv"] = "srt"
    languages: list[str] = Field(default=[], max_length=2)
    divide: bool = True
    max_line_width: int | None = Field(default=None, ge=1, le=1000)
    max_line_count: int = Field(default=2, ge=1, le=20)
    max_chars_per_second: float | None = Field(default=None, ge=1, le=1000)


@router.post(
    "/v1/subtitles",
    response_class=Response,
    responses={200: {"description": "The file.", "content": {"text/plain": _PLAIN, "text/vtt": _PLAIN}}},
)
async def subtitles(request: Request, asked: SubtitlesRequest) -> Response:
    """Write subtitles of segments as they stand."""
    state, given_up = state_of(request), threading.Event()

    def go_on() -> None:
        if given_up.is_set():
            raise ClientGone("Nobody waits for it.")

    work = asyncio.get_running_loop().run_in_executor(state.threads, _written, asked, go_on)
    try:
        seconds = min(_MOST_WORK_S, state.settings.request_timeout_s)
        if await is_done_first(work, client_gone(request), seconds):
            return work.result()
        return Response(status_code=GONE)  # nobody hears it
    except TimeoutError:
        raise work_timeout("segments", "send fewer segments") from None
    finally:
        given_up.set()
        await asyncio.gather(work, return_exceptions=True)  # its place is free when its thread is


def _written(request: SubtitlesRequest, go_on: Callable[[], None]) -> Response:
    codes = tuple(_code(name, "languages") for name in request.languages)
    if len(codes) > 1 and request.format in ("txt", "tsv"):
        raise ApiError(400, f"languages: {request.format} holds one language.", "languages", "invalid_value")
    result = _result(request, codes)
    shown = codes or (result.language or _UNKNOWN,)
    _check_amount(result, shown)
    if request.format in ("txt", "tsv"):
        return PlainTextResponse(to_txt(result, shown[0]) if request.format == "txt" else to_tsv(result, shown[0]))
    options = SubtitleOptions(request.max_line_width, request.max_line_count, request.max_chars_per_second)
    make = cues if request.divide else _as_they_are
    made = make(result, shown, options, go_on)
    if request.format == "vtt":
        return Response(to_vtt(made), media_type="text/vtt; charset=utf-8")
    return PlainTextResponse(to_srt(made))


def _result(request: SubtitlesRequest, codes: tuple[str, ...]) -> Result:
    """In order of time; without what lasts no time."""
    segments = [
        Segment(
            one.start,
            one.end,
            _UNKNOWN if one.language is None else _code(one.language, "segments"),
            one.text,
            {_code(name, "segments"): text for name, text in one.translations.items()},
        )
        for one in request.segments
    ]
    if wrong := next((one for one in segments if one.end_s <= one.start_s), None):
        message = f"segments: one ends at {wrong.end_s:g} s, which is not after its start."
        raise ApiError(400, message, "segments", "invalid_value")
    segments.sort(key=lambda one: one.start_s)
    known = {code for one in segments for code in (one.language, *one.translations)}
    if missing := [code for code in codes if code not in known]:
        raise ApiError(400, f"languages: no segment holds {missing[0]!r}.", "languages", "invalid_value")
    return Result("edited", codes, segments)


def _check_amount(result: Result, codes: tuple[str, ...]) -> None:
    if sum(len(said(result, segment, code)) for segment in result.segments for code in codes) > _MOST_WRITTEN:
        message = f"segments: their texts have over {_MOST_WRITTEN:,} characters; send a part of them at a time."
        raise ApiError(413, message, "segments", "too_much_text")


def _as_they_are(
    result: Result, codes: tuple[str, ...], options: SubtitleOptions, on_segment: Callable[[], object]
) -> list[Cue]:
    """A cue for each segment that has a text."""
    found = []
    for segment in result.segments:
        on_segment()
        rows: list[str] = []
        for code in codes:
            text = said(result, segment, code)
            rows += lines(words(text, code, options.width(code)), options.width(code))
        if rows:
            found.append(Cue(round(1000 * segment.start_s), round(1000 * segment.end_s), "\n".join(rows)))
    return found


def _code(name: str, param: str) -> str:
    try:
        return find(name).code
    except LanguageError as error:
        raise ApiError(400, f"{param}: {error}", param, "invalid_value") from None
