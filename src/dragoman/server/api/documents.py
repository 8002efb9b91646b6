"""What the roads answer, for /openapi.json."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from dragoman.server.api.fields import TranscriptionForm


class ErrorDetail(BaseModel):
    """OpenAI's four keys."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """What every refusal looks like."""

    error: ErrorDetail


_MEANINGS = {
    400: "A field, a language or a recording that cannot be used.",
    401: "No key, or a wrong one.",
    403: "A page of another origin.",
    404: "No such model.",
    408: "Too slow.",
    413: "Too long.",
    415: "Not a form.",
    429: "Too many at once.",
    500: "The server's own failure.",
    503: "Not ready.",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": meaning} for status, meaning in _MEANINGS.items()
}


def _form_schema() -> dict[str, Any]:
    schema = TranscriptionForm.model_json_schema(ref_template="#/components/schemas/{model}")
    vad = schema.pop("$defs")["ServerVad"]
    properties = schema["properties"]
    properties["chunking_strategy"] = {"anyOf": [{"const": "auto", "type": "string"}, vad], "default": "auto"}
    properties["glossary"] = {
        "type": "string",
        "description": 'JSON: {"cat": "Kater"}, or a list of objects with term, translation, source, target.',
    }
    properties["file"] = {"type": "string", "format": "binary"}
    return {**schema, "required": ["file", "model"]}


_PLAIN = {"schema": {"type": "string"}}
FORM_ROAD: dict[str, Any] = {
    "openapi_extra": {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _form_schema()}}}
    },
    "responses": {
        **ERRORS,
        200: {
            "description": "The answer in the format that was asked for.",
            "content": {
                "application/json": {"schema": {"type": "object"}},
                "text/plain": _PLAIN,
                "text/event-stream": _PLAIN,
            },
        },
    },
    "response_model": None,
}
"""Of both roads that take a recording."""
