"""What a client of the realtime API may ask of its session. What cannot be honoured is an error that names it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict

from dragoman.server.api.fields import NothingIncluded, ServerVad, validated
from dragoman.server.api.glossary import GlossaryTerm, GlossaryTerms
from dragoman.server.errors_api import ApiError

_STRICT = ConfigDict(extra="forbid")


class AudioFormat(BaseModel):
    """16 bit PCM at 24 kHz, mono, little endian."""

    model_config = _STRICT
    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Literal[24000] = 24000


class HeardSpeech(BaseModel):
    """What is spoken, and what helps to understand it; `glossary` is our own key."""

    model_config = _STRICT
    model: str | None = None
    language: str | None = None
    keywords: list[str] = []
    glossary: GlossaryTerms = []


class LiveTranscription(HeardSpeech):
    """`partials`: tell what is tentative, too; so it is where there are `target_languages`."""

    target_languages: list[str] = []
    partials: bool = False


class LiveVad(ServerVad):
    """A session's; nothing answers, so nothing is created or interrupted."""

    create_response: Literal[False] | None = None
    interrupt_response: Literal[False] | None = None


def _always(value: Any) -> Any:
    if value is None:
        raise ValueError("this server always divides speech at pauses; leave it out, or send server_vad")
    return value


def _no_reduction(value: Any) -> Any:
    if value is not None:
        raise ValueError("there is none here; leave it out")
    return value


NoNoiseReduction = Annotated[None, BeforeValidator(_no_reduction)]


class TranscriptionInput(BaseModel):
    """What is heard, and how."""

    model_config = _STRICT
    format: AudioFormat = AudioFormat()
    transcription: LiveTranscription = LiveTranscription()
    turn_detection: Annotated[LiveVad, BeforeValidator(_always)] = LiveVad()
    noise_reduction: NoNoiseReduction = None


class TranscriptionAudio(BaseModel):
    """Speech in, nothing spoken out."""

    model_config = _STRICT
    input: TranscriptionInput = TranscriptionInput()


class TranscriptionSession(BaseModel):
    """`/v1/realtime`."""

    model_config = _STRICT
    type: Literal["transcription"] = "transcription"
    audio: TranscriptionAudio = TranscriptionAudio()
    include: NothingIncluded | None = None

    @property
    def _wanted(self) -> LiveTranscription:
        return self.audio.input.transcription

    @property
    def language(self) -> str | None:
        """What is spoken."""
        return self._wanted.language

    @property
    def targets(self) -> list[str]:
        """What to translate into."""
        return self._wanted.target_languages

    @property
    def words(self) -> tuple[str, ...]:
        """What may be said."""
        return tuple(self._wanted.keywords)

    @property
    def glossary(self) -> list[GlossaryTerm]:
        """How terms are to be translated."""
        return self._wanted.glossary

    @property
    def wants_partials(self) -> bool:
        """Whether the client knows our own event."""
        return self._wanted.partials or bool(self.targets)

    @property
    def vad_parameters(self) -> dict[str, float]:
        """Where they differ from the model's own."""
        return self.audio.input.turn_detection.parameters

    @property
    def model(self) -> str | None:
        """The model that is asked for."""
        return self._wanted.model

    def described(self, model: str) -> dict[str, Any]:
        """As the server tells it."""
        shown = self.model_dump(exclude_none=True)
        shown["audio"]["input"]["transcription"]["model"] = model
        return shown


class SpokenInput(BaseModel):
    """What is heard; `language` is our own key."""

    model_config = _STRICT
    format: AudioFormat = AudioFormat()
    transcription: HeardSpeech = HeardSpeech()
    language: str | None = None
    noise_reduction: NoNoiseReduction = None


class WrittenOutput(BaseModel):
    """What is written."""

    model_config = _STRICT
    language: str | None = None


class TranslationAudio(BaseModel):
    """Speech in, text out."""

    model_config = _STRICT
    input: SpokenInput = SpokenInput()
    output: WrittenOutput = WrittenOutput()


class TranslationSession(BaseModel):
    """`/v1/realtime/translations`."""

    model_config = _STRICT
    type: Literal["translation"] = "translation"
    audio: TranslationAudio = TranslationAudio()

    @property
    def language(self) -> str | None:
        """What is spoken."""
        spoken = self.audio.input
        return spoken.language or spoken.transcription.language

    @property
    def words(self) -> tuple[str, ...]:
        """What may be said."""
        return tuple(self.audio.input.transcription.keywords)

    @property
    def glossary(self) -> list[GlossaryTerm]:
        """How terms are to be translated."""
        return self.audio.input.transcription.glossary

    @property
    def targets(self) -> list[str]:
        """What to translate into: one language."""
        return [] if self.audio.output.language is None else [self.audio.output.language]

    @property
    def model(self) -> str | None:
        """The model that is asked for."""
        return self.audio.input.transcription.model

    def described(self, model: str) -> dict[str, Any]:
        """As the server tells it."""
        return {**self.model_dump(exclude_none=True), "model": model}


SessionT = TypeVar("SessionT", TranscriptionSession, TranslationSession)


def read_session(kind: type[SessionT], asked: dict[str, Any], model: str) -> SessionT:
    """What is asked. Raises ApiError."""
    session = validated(kind, asked)
    if session.model not in (None, model):
        raise ApiError(404, f"There is no model {session.model!r} in this session.", "model", "model_not_found")
    return session
