"""The fields of a form -> what is asked. What cannot be honoured is an error that names it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from dragoman.errors import LanguageError
from dragoman.server.api.glossary import GlossaryTerms
from dragoman.server.errors_api import ApiError, invalid_field
from dragoman.subtitles.cues import SubtitleOptions
from dragoman.text.languages import asked_targets

ModelT = TypeVar("ModelT", bound=BaseModel)
ResponseFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]
TARGET_FIELDS = ("target_language", "target_languages", "to_language")
_LISTS = (*TARGET_FIELDS, "languages", "keywords", "hotwords", "timestamp_granularities", "include")
_WITH_COMMAS = (*TARGET_FIELDS, "languages", "hotwords")
_OF_SUBTITLES = ("max_line_width", "max_line_count", "max_chars_per_second", "bilingual")
_MAX_FIELDS, _MAX_PART = 40, 65_536
PROMPT_IGNORED = "prompt is not used; give names and terms as keywords."


class ServerVad(BaseModel):
    """OpenAI's names for what counts as speech and where it is divided, and two of VadOptions."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["server_vad"] = "server_vad"
    threshold: float | None = Field(default=None, gt=0, lt=1)
    prefix_padding_ms: int | None = Field(default=None, ge=0, le=2000)
    silence_duration_ms: int | None = Field(default=None, ge=0, le=10_000)
    min_speech_duration_ms: int | None = Field(default=None, ge=0, le=10_000)
    max_speech_duration_s: float | None = Field(default=None, ge=1, le=3600)

    @property
    def parameters(self) -> dict[str, float]:
        """VadOptions' names."""
        named = {
            "threshold": self.threshold,
            "speech_pad_ms": self.prefix_padding_ms,
            "min_silence_duration_ms": self.silence_duration_ms,
            "min_speech_duration_ms": self.min_speech_duration_ms,
            "max_speech_duration_s": self.max_speech_duration_s,
        }
        return {name: value for name, value in named.items() if value is not None}


class TranscriptionForm(BaseModel):
    """All fields but the file."""

    model_config = ConfigDict(extra="forbid")
    model: str
    language: str | None = None
    languages: list[str] = []
    target_language: list[str] = Field(
        default=[], description="What to translate into; several with commas, or repeated."
    )
    target_languages: list[str] = []
    to_language: list[str] = []
    response_format: ResponseFormat = "json"
    stream: bool = False
    keywords: list[str] = []
    hotwords: list[str] = []
    glossary: GlossaryTerms = []
    multilingual: bool = False
    audio_track: int | None = Field(default=None, ge=1, le=10_000)
    max_line_width: int | None = Field(default=None, ge=1, le=1000)
    max_line_count: int | None = Field(default=None, ge=1, le=20)
    max_chars_per_second: float | None = Field(default=None, ge=1, le=1000)
    bilingual: bool = False
    prompt: str | None = None
    temperature: float = Field(default=0.0, ge=0, le=1)
    timestamp_granularities: list[Literal["segment"]] = []
    include: list[str] = Field(default=[], max_length=0)
    chunking_strategy: ServerVad | None = None

    @field_validator("chunking_strategy", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        if value == "auto":
            return None
        try:
            return json.loads(value) if isinstance(value, str) and value.startswith("{") else value
        except RecursionError:
            raise ValueError("is nested too deeply") from None

    @field_validator("timestamp_granularities", mode="before")
    @classmethod
    def _no_words(cls, value: list[str]) -> list[str]:
        if "word" in value:
            raise ValueError("there are no times of words, ask for segment")
        return value

    @model_validator(mode="after")
    def _goes_together(self) -> TranscriptionForm:
        if self.language and self.languages:
            raise ValueError("language and languages exclude each other")
        if self.timestamp_granularities and self.response_format != "verbose_json":
            raise ValueError("timestamp_granularities needs response_format verbose_json")
        return self

    @field_validator(*_OF_SUBTITLES)
    @classmethod
    def _subtitles_alone(cls, value: Any, info: ValidationInfo) -> Any:
        if value and info.data.get("response_format", "srt") not in ("srt", "vtt"):
            raise ValueError("is for response_format srt and vtt; leave it out")
        return value

    @property
    def subtitles(self) -> SubtitleOptions:
        """How they look, where they are asked for."""
        count = self.max_line_count or SubtitleOptions.max_line_count
        return SubtitleOptions(self.max_line_width, count, self.max_chars_per_second, self.bilingual)

    @property
    def targets(self) -> list[str]:
        """What to translate into, however it was called; nothing, or "none", is a transcript alone."""
        return [*self.target_language, *self.target_languages, *self.to_language]

    @property
    def words(self) -> tuple[str, ...]:
        """What may be said."""
        return tuple(dict.fromkeys((*self.keywords, *self.hotwords)))

    @property
    def vad_parameters(self) -> dict[str, float]:
        """Where they differ from the model's own."""
        return {} if self.chunking_strategy is None else self.chunking_strategy.parameters

    @property
    def warnings(self) -> list[str]:
        """What was not done."""
        return [PROMPT_IGNORED] if self.prompt else []


async def read_form(request: Request) -> tuple[TranscriptionForm, UploadFile]:
    """The fields and the file of a request. Raises ApiError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise ApiError(415, "Send a form (multipart/form-data) with the recording as file.", "file", "not_a_form")
    form = await request.form(max_files=1, max_fields=_MAX_FIELDS, max_part_size=_MAX_PART)
    try:
        return _validated(form), _file(form)
    except BaseException:
        await form.close()
        raise


def _file(form: FormData) -> UploadFile:
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise ApiError(400, "file: the recording is missing.", "file", "missing_file")
    return file


def _validated(form: FormData) -> TranscriptionForm:
    found: dict[str, Any] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != "file":
                raise invalid_field(name, "a file is only taken as file")
            continue
        _put(found, name, value)
    return validated(TranscriptionForm, found)


def _put(found: dict[str, Any], name: str, value: str) -> None:
    """`x[]` and repeated names are lists, `x[key]` are objects."""
    plain, bracket, inner = name.removesuffix("[]").partition("[")
    if bracket:
        nested = found.setdefault(plain, {})
        if not isinstance(nested, dict) or not inner.endswith("]") or "[" in inner:
            raise invalid_field(name, "cannot be understood")
        nested[inner[:-1]] = value
    elif plain in _LISTS:
        values = value.split(",") if plain in _WITH_COMMAS else [value]
        found.setdefault(plain, []).extend(part.strip() for part in values if part.strip())
    elif plain in found:
        raise invalid_field(plain, "is given twice")
    elif value or plain == "model":  # an empty text is no value, as OpenAI's clients send for None
        found[plain] = value


def validated(kind: type[ModelT], found: Any) -> ModelT:
    """Raises ApiError, which names the first field that is wrong."""
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = [str(part) for part in first["loc"]]
        if first["type"] == "extra_forbidden":
            raise invalid_field(".".join(place), "is not a field that this server knows") from None
        raise invalid_field(".".join(place), first["msg"].removeprefix("Value error, ")) from None


def checked_targets(names: Iterable[str]) -> tuple[str, ...] | None:
    """Codes of what is to be translated into: () where nothing is named, None for all. Raises ApiError."""
    wanted = list(names)
    try:
        return asked_targets(wanted) if wanted else ()
    except LanguageError as error:
        raise ApiError(400, str(error), "target_language", "invalid_value") from None
