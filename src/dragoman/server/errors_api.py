"""Errors as OpenAI's clients know them: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import errno
import logging
import traceback
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from dragoman.errors import TOO_MANY_FILES, AudioTrackError, DragomanError, FileAccessError, ModelError, OutputError
from dragoman.server.backend.batching import ClientGone
from dragoman.server.backend.uploads import RecordingTooLong
from dragoman.server.backend.workers import WorkerLost

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_FULL = (errno.ENOSPC, errno.EDQUOT, *TOO_MANY_FILES)
"""The system's numbers for a disk that is full, and for more open files than it allows."""
_log = logging.getLogger(__name__)


class ApiError(HTTPException):
    """What a client reads; `param` names the field that is wrong."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, headers)
        self.param, self.code = param, code

    @property
    def body(self) -> dict[str, Any]:
        """All four keys are always there."""
        kind = _TYPES.get(self.status_code, "server_error" if self.status_code >= 500 else "invalid_request_error")
        return {"error": {"message": self.detail, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """The answer that says so."""
        return JSONResponse(self.body, self.status_code, self.headers)


def api_error(error: Exception, param: str | None = None) -> ApiError:
    """The answer to any error. What is not its own doing is logged, without content."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RecordingTooLong):
        return ApiError(413, str(error), "file", "recording_too_long")
    if isinstance(error, AudioTrackError):
        param = "audio_track"
    if isinstance(error, ClientGone):
        return ApiError(503, "The server is ending; ask again.", None, "draining", {"Retry-After": "5"})
    if (own := _own_failure(error)) is not None:
        _log.error("%s: %s", type(error).__name__, error)
        return own
    if isinstance(error, DragomanError):
        return ApiError(400, str(error), param, "invalid_value")
    if isinstance(error, HTTPException):
        return _of_http(error)
    _log.error("An error of the server's own: %s", "".join(traceback.format_exception(error)))
    return ApiError(500, "The server failed; its log says more.", None, "internal_error", {"x-should-retry": "false"})


def _own_failure(error: Exception) -> ApiError | None:
    """What the client is not to blame for, and may ask again: OpenAI's do so by themselves."""
    if isinstance(error, OutputError):
        message = "The server cannot keep or read its jobs; ask again in a minute."
        return ApiError(503, message, None, "jobs_unavailable", {"Retry-After": "60"})
    if isinstance(error, WorkerLost | ModelError):
        message = "The model's process ended or could not be started again; ask again in a minute."
        return ApiError(503, message, None, "model_failed", {"Retry-After": "30"})
    if isinstance(error, FileAccessError) or (isinstance(error, OSError) and error.errno in _FULL):
        message = "The server's disk is full, or it has too many files open; ask again in a minute."
        return ApiError(503, message, None, "out_of_space", {"Retry-After": "60"})
    return None


def _of_http(error: HTTPException) -> ApiError:
    """What the framework refuses, in our words."""
    if error.status_code == 404:
        return ApiError(404, "There is no such path here.", None, "not_found")
    headers = dict(error.headers or {})
    if error.status_code == 405:
        message = "This path does not take that method; /openapi.json lists what there is."
        return ApiError(405, message, None, "method_not_allowed", headers)
    return ApiError(error.status_code, f"{error.detail.rstrip('.')}.", None, "invalid_request", headers)


def add_error_handlers(app: FastAPI) -> None:
    """Every error in OpenAI's form."""

    async def answer(_: Request, error: Exception) -> Response:
        return api_error(error).response()

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
        if first["type"] == "json_invalid":
            return ApiError(400, f"The body is not JSON: {first['ctx']['error']}.", None, "invalid_json").response()
        if not place:
            return ApiError(400, _NO_OBJECT, None, "invalid_value").response()
        return invalid_field(".".join(place), plain_words(first)).response()

    for kind in (HTTPException, DragomanError, Exception):
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(RequestValidationError, invalid)


_NO_OBJECT = "Send an object in JSON, with the header content-type: application/json."


def plain_words(error: Mapping[str, Any]) -> str:
    """What pydantic found wrong with a field, without its full stop."""
    if error["type"] == "extra_forbidden":
        return "is not a field that this server knows"
    if error["type"] in ("model_type", "model_attributes_type"):
        return "an object is needed"
    return str(error["msg"]).removeprefix("Value error, ")


def invalid_field(name: str, why: str) -> ApiError:
    """A field that cannot be honoured."""
    return ApiError(400, f"{name}: {why}." if name else f"{why}.", name or None, "invalid_value")
