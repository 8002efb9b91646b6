"""The fields of a form -> what is asked. What cannot be honoured is an error that names it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from dragoman.errors import LanguageError
from dragoman.server.api.glossary import GlossaryTerms
from dragoman.server.errors_api import ApiError, invalid_field, plain_words
from dragoman.server.guards import MOST_FIELDS_BYTES, file_too_large
from dragoman.subtitles.cues import SubtitleOptions
from dragoman.text.languages import asked_targets

ModelT = TypeVar("ModelT", bound=BaseModel)
ResponseFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]
TARGET_FIELDS = ("target_language", "target_languages", "to_language")
_LISTS = (*TARGET_FIELDS, "languages", "keywords", "hotwords", "timestamp_granularities", "include")
_WITH_COMMAS = (*TARGET_FIELDS, "languages", "hotwords")
_OF_SUBTITLES = ("max_line_width", "max_line_count", "max_chars_per_second", "bilingual")
_MOST_FIELDS = 10_500
"""A whole glossary, whose terms OpenAI's client sends one by one."""
_PROMPT_IGNORED = "prompt is not used; give names and terms as keywords."
_TEMPERATURE_IGNORED = "temperature is not used; decoding never samples."
_NOT_SENT = "file: send the recording itself, with curl as -F file=@talk.wav."


def _nothing(value: Any) -> Any:
    if value:
        raise ValueError("there are no log probabilities of tokens; leave it out")
    return value


NothingIncluded = Annotated[list[str], BeforeValidator(_nothing), Field(max_length=0)]
"""OpenAI's `include`, of which there is nothing here."""


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
    include: NothingIncluded = []
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
        """What was not done: many clients send these always, so they are no errors."""
        ignored = {_PROMPT_IGNORED: bool(self.prompt), _TEMPERATURE_IGNORED: self.temperature > 0}
        return [warning for warning, is_given in ignored.items() if is_given]


async def read_form(request: Request, most_bytes: int) -> tuple[TranscriptionForm, UploadFile]:
    """The fields and the file, of `most_bytes` at most, of a request. Raises ApiError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise ApiError(415, "Send a form (multipart/form-data) with the recording as file.", "file", "not_a_form")
    form = await _parsed(request)
    try:
        fields, file = _validated(form), _file(form)
        if file.size is not None and file.size > most_bytes:
            raise file_too_large(most_bytes)
        return fields, file
    except BaseException:
        await form.close()
        raise


class _FormParser(MultiPartParser):
    """Starlette's, which limits each part alone: here all fields together may not be larger than one."""

    _fields_bytes = 0

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """Starlette's."""
        if self._current_part.file is None:
            self._fields_bytes += end - start
            if self._fields_bytes > MOST_FIELDS_BYTES:
                raise ApiError(400, f"The fields are larger than {MOST_FIELDS_BYTES >> 20} MiB; send less.", *_NO_FORM)
        super().on_part_data(data, start, end)


_NO_FORM = (None, "invalid_form")


async def _parsed(request: Request) -> FormData:
    parser = _FormParser(
        request.headers, request.stream(), max_files=1, max_fields=_MOST_FIELDS, max_part_size=MOST_FIELDS_BYTES
    )
    try:
        return await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise ApiError(400, "file: send one recording at a time.", "file", "invalid_form") from None
        if error.message.startswith("Too many fields"):
            raise ApiError(400, f"There are over {_MOST_FIELDS} fields; send fewer.", *_NO_FORM) from None
        message = f"The form cannot be read: {error.message.rstrip('.')}."
        raise ApiError(400, message, *_NO_FORM) from None


def _file(form: FormData) -> UploadFile:
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise ApiError(400, _NOT_SENT, "file", "missing_file")
    return file


def _validated(form: FormData) -> TranscriptionForm:
    found: dict[str, Any] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != "file":
                raise invalid_field(name, "a file is only taken as file")
            continue
        if name == "file":
            raise ApiError(400, _NOT_SENT, "file", "missing_file")
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
        raise invalid_field(".".join(map(str, first["loc"])), plain_words(first)) from None


def checked_targets(names: Iterable[str]) -> tuple[str, ...] | None:
    """Codes of what is to be translated into: () where nothing is named, None for all. Raises ApiError."""
    wanted = list(names)
    try:
        return asked_targets(wanted) if wanted else ()
    except LanguageError as error:
        raise ApiError(400, str(error), "target_language", "invalid_value") from None
