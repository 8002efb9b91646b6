"""`/v1/models`, `/health`, `/ready`, `/metrics`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from dragoman.server.api.documents import ERRORS
from dragoman.server.api.transcriptions import takes_words
from dragoman.server.errors_api import ApiError
from dragoman.server.state import ServerState, state_of
from dragoman.text.languages import LANGUAGES

router = APIRouter(responses=ERRORS)


@router.get("/health")
async def health() -> dict[str, str]:
    """The process lives."""
    return {"status": "ok"}


@router.get("/ready")
async def ready(request: Request) -> dict[str, str]:
    """The model has translated a sample, and the server is not ending."""
    if not state_of(request).is_ready:
        raise ApiError(503, "Not ready.", None, "not_ready", {"Retry-After": "5"})
    return {"status": "ready"}


@router.get("/v1/models")
async def models(request: Request) -> dict[str, Any]:
    """The one model, by each of its names."""
    state, limits = state_of(request), state_of(request).settings
    return {
        "object": "list",
        "data": [_model(state, name) for name in state.model_names],
        "limits": {
            "max_file_bytes": limits.max_file_bytes,
            "max_duration_s": limits.max_duration_s,
            "max_live_s": limits.max_live_s,
        },
    }


@router.get("/v1/models/{name:path}")
async def model(request: Request, name: str) -> dict[str, Any]:
    """One of them."""
    state = state_of(request)
    if name not in state.model_names:
        raise ApiError(404, f"There is no model {name!r} here.", "model", "model_not_found")
    return _model(state, name)


@router.get("/metrics", response_class=Response, include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Numbers for Prometheus."""
    return Response(state_of(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _model(state: ServerState, name: str) -> dict[str, Any]:
    translator = state.model.translator
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "dragoman",
        "sources": [_language(code) for code in translator.sources],
        "targets": [_language(code) for code in translator.targets],
        "writes_transcripts": translator.writes_transcripts,
        "detects_language": translator.identifies_language,
        "takes_keywords": takes_words(translator),
        "calibrated": translator.calibration is not None,
    }


def _language(code: str) -> dict[str, str | None]:
    return {"code": code, "iso1": LANGUAGES[code].iso1, "name": LANGUAGES[code].name}
