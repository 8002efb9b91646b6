"""Errors as OpenAI's clients know them: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import logging
import traceback
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from dragoman.errors import AudioTrackError, DragomanError
from dragoman.server.backend.batching import ClientGone
from dragoman.server.backend.uploads import RecordingTooLong

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
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
    if isinstance(error, DragomanError):
        return ApiError(400, str(error), param, "invalid_value")
    if isinstance(error, HTTPException) and error.status_code == 404:
        return ApiError(404, "There is no such path here.", None, "not_found")
    if isinstance(error, HTTPException):
        return ApiError(error.status_code, error.detail, None, None, dict(error.headers or {}))
    _log.error("An error of the server's own: %s", "".join(traceback.format_exception(error)))
    return ApiError(500, "The server failed; its log says more.", None, "internal_error", {"x-should-retry": "false"})


def add_error_handlers(app: FastAPI) -> None:
    """Every error in OpenAI's form."""

    async def answer(_: Request, error: Exception) -> Response:
        return api_error(error).response()

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
        return invalid_field(".".join(place), first["msg"]).response()

    for kind in (HTTPException, DragomanError, Exception):
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(RequestValidationError, invalid)


def invalid_field(name: str, why: str) -> ApiError:
    """A field that cannot be honoured."""
    return ApiError(400, f"{name}: {why}." if name else f"{why}.", name or None, "invalid_value")
