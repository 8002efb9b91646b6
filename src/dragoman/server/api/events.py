"""The events of OpenAI's realtime API: what a client's say, and what ours look like."""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np

from dragoman.data.audio import Waveform
from dragoman.errors import LanguageError
from dragoman.inference.local_agreement import PartialText
from dragoman.inference.result import joined
from dragoman.inference.streaming import FinalSegment, LiveEvent, PartialSegment
from dragoman.inference.translator import Translator
from dragoman.server.api.answers import segment_fields
from dragoman.server.api.fields import checked_targets
from dragoman.server.api.glossary import checked_glossary
from dragoman.server.api.session import TranscriptionSession, TranslationSession, read_session
from dragoman.server.api.transcriptions import check_detects, check_targets, check_vad, check_words
from dragoman.server.backend.live import LiveWork, SilentCommit
from dragoman.server.errors_api import ApiError
from dragoman.text.languages import known_source

_FULL_SCALE = 32768.0
_MOST_BYTES = 15 << 20
"""Of audio in one event."""
_LEAST_COMMIT_S = 0.1
"""OpenAI's least."""
_OPENAI_ONLY = ("seek", "tokens", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob", "text")
Event = dict[str, object]
ClientKind = Literal["update", "append", "commit", "clear", "close"]


@dataclass(frozen=True)
class ClientEvent:
    """One event of a client."""

    kind: ClientKind
    session: dict[str, Any] = field(default_factory=dict)
    samples: Waveform = field(default_factory=lambda: np.zeros(0, np.float32))


class RealtimeEvents(ABC):
    """One of the two dialects."""

    kinds: ClassVar[dict[str, ClientKind]]
    model: str

    @abstractmethod
    def update(self, session: dict[str, Any], translator: Translator) -> None:
        """What the client wants. Raises ApiError."""

    @abstractmethod
    def work(self, translator: Translator) -> LiveWork:
        """Of the model."""

    @abstractmethod
    def of(self, event: LiveEvent | SilentCommit) -> Iterator[Event]:
        """The next event for the client."""

    @abstractmethod
    def session(self) -> dict[str, Any]:
        """As it stands."""

    def read(self, said: dict[str, Any]) -> ClientEvent:
        """Raises ApiError for what is no event."""
        if said.get("type") not in self.kinds:
            message = f"There is no event {said.get('type')!r} here; there are {', '.join(self.kinds)}."
            raise ApiError(400, message, "type", "unknown_event")
        kind = self.kinds[said["type"]]
        session = said.get("session") if kind == "update" else {}
        if not isinstance(session, dict):
            raise ApiError(400, "session: an object is needed.", "session", "invalid_value")
        samples = _samples(said.get("audio")) if kind == "append" else np.zeros(0, np.float32)
        return ClientEvent(kind, session, samples)

    def created(self) -> list[Event]:
        """The first event."""
        return [_event("session.created", session=self.session())]

    def updated(self) -> Event:
        """Once the client's wishes are taken."""
        return _event("session.updated", session=self.session())

    def closed(self) -> list[Event]:
        """The last event."""
        return [_event("session.closed")]

    def error(self, error: dict[str, Any], event_id: str | None) -> Event:
        """What went wrong, with the event that caused it."""
        return _event("error", error={**error, "event_id": event_id})


class TranscriptionEvents(RealtimeEvents):
    """`/v1/realtime`."""

    kinds: ClassVar[dict[str, ClientKind]] = {
        "session.update": "update",
        "input_audio_buffer.append": "append",
        "input_audio_buffer.commit": "commit",
        "input_audio_buffer.clear": "clear",
    }

    def __init__(self) -> None:
        self._asked = TranscriptionSession()
        self._shown: dict[int, str] = {}
        self._before: str | None = None

    def session(self) -> dict[str, Any]:
        return {
            "type": "transcription",
            "object": "realtime.transcription_session",
            **self._asked.described(self.model),
        }

    def update(self, session: dict[str, Any], translator: Translator) -> None:
        asked = read_session(TranscriptionSession, session, self.model)
        live_work(asked, translator)
        check_vad(asked.vad_parameters, translator, "audio.input.turn_detection")
        self._asked = asked

    def work(self, translator: Translator) -> LiveWork:
        vad = tuple(sorted(self._asked.vad_parameters.items()))
        return replace(live_work(self._asked, translator), vad_parameters=vad)

    def of(self, event: LiveEvent | SilentCommit) -> Iterator[Event]:
        item = f"item_{event.number}"
        if isinstance(event, SilentCommit):
            yield from self._silent(event, item)
            return
        start_s = event.start_s if isinstance(event, PartialSegment) else event.segment.start_s
        if event.number not in self._shown:
            self._shown = {event.number: ""}
            yield _event("input_audio_buffer.speech_started", audio_start_ms=round(1000 * start_s), item_id=item)
        stable = event.transcript.stable if isinstance(event, PartialSegment) else event.segment.transcript
        if delta := stable.removeprefix(self._shown[event.number]):
            self._shown[event.number] = stable
            yield _of_item("delta", item, delta=delta)
        if isinstance(event, FinalSegment):
            yield from self._final(event, item)
        elif self._asked.wants_partials:
            yield _event(
                "dragoman.partial",
                item_id=item,
                start=round(event.start_s, 3),
                end=round(event.end_s, 3),
                language=event.language,
                transcript=_partial(event.transcript),
                translations={code: _partial(text) for code, text in event.translations.items()},
            )

    def _final(self, event: FinalSegment, item: str) -> Iterator[Event]:
        segment = event.segment
        end_ms = round(1000 * segment.end_s)
        yield _event("input_audio_buffer.speech_stopped", audio_end_ms=end_ms, item_id=item)
        yield self._committed(item)
        known = segment_fields(segment, segment.transcript)
        ours = {key: value for key, value in known.items() if key not in _OPENAI_ONLY}
        seconds = round(segment.end_s - segment.start_s, 3)
        usage = {"type": "duration", "seconds": seconds}
        yield _of_item("completed", item, transcript=segment.transcript, usage=usage, **ours)

    def _silent(self, event: SilentCommit, item: str) -> Iterator[Event]:
        """As OpenAI's server: a client that commits waits for what comes of it."""
        if event.seconds < _LEAST_COMMIT_S:
            yield self.error(empty_commit(event.seconds).body["error"], None)
            return
        yield self._committed(item)
        usage = {"type": "duration", "seconds": round(event.seconds, 3)}
        yield _of_item("completed", item, transcript="", usage=usage)

    def _committed(self, item: str) -> Event:
        before, self._before = self._before, item
        return _event("input_audio_buffer.committed", item_id=item, previous_item_id=before)


class TranslationEvents(RealtimeEvents):
    """`/v1/realtime/translations`: texts that only ever grow, so what is tentative is left out."""

    kinds: ClassVar[dict[str, ClientKind]] = {
        "session.update": "update",
        "session.input_audio_buffer.append": "append",
        "session.close": "close",
    }

    def __init__(self) -> None:
        self._asked = TranslationSession()
        self._shown = {"input": "", "output": ""}  # of the open segment
        self._told = {"input": "", "output": ""}  # of all before

    def session(self) -> dict[str, Any]:
        return {"type": "translation", **self._asked.described(self.model)}

    def update(self, session: dict[str, Any], translator: Translator) -> None:
        asked = read_session(TranslationSession, session, self.model)
        live_work(asked, translator)
        self._asked = asked

    def work(self, translator: Translator) -> LiveWork:
        if not self._asked.targets:
            message = "session.audio.output.language: name the language to translate into first."
            raise ApiError(400, message, "session.audio.output.language", "missing_value")
        return live_work(self._asked, translator)

    def of(self, event: LiveEvent | SilentCommit) -> Iterator[Event]:
        if isinstance(event, SilentCommit):  # there is no such event in this dialect
            return
        is_final = isinstance(event, FinalSegment)
        if isinstance(event, PartialSegment):
            texts = {"input": event.transcript.stable, "output": "".join(t.stable for t in event.translations.values())}
            end_s = event.end_s
        else:
            segment = event.segment
            texts = {
                "input": segment.transcript,
                "output": "".join(segment.translations.values()) or segment.transcript,
            }
            end_s = segment.end_s
        for side, text in texts.items():
            if delta := text.removeprefix(self._shown[side]):
                if not self._shown[side] and self._told[side]:
                    delta = joined([self._told[side], delta]).removeprefix(self._told[side])
                elapsed = {"elapsed_ms": round(1000 * end_s)}
                yield _event(f"session.{side}_transcript.delta", delta=delta, **elapsed)
                self._shown[side] = text
            if is_final:
                self._told[side], self._shown[side] = text or self._told[side], ""


def read_object(text: str) -> dict[str, Any]:
    """What a client sent. Raises ApiError."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise ApiError(400, "An event is an object in JSON.", None, "invalid_json")
    return said


def live_work(asked: TranscriptionSession | TranslationSession, translator: Translator) -> LiveWork:
    """By codes. Raises ApiError."""
    check_words(asked.words, translator)
    wanted, language = checked_targets(asked.targets), asked.language
    try:
        source = None if language is None else known_source(language, translator.sources, translator.name)
    except LanguageError as error:
        raise ApiError(400, str(error), "language", "invalid_value") from None
    check_targets(wanted, source, translator, "target_languages")
    check_detects(source, translator)
    return LiveWork(wanted, source, asked.words, checked_glossary(asked.glossary, wanted, translator))


def _samples(audio: object) -> Waveform:
    """Base64 of PCM16 -> (N,)."""
    if not isinstance(audio, str) or len(audio) > _MOST_BYTES * 4 // 3 + 4:
        raise ApiError(400, "audio: base64 of 16 bit PCM, at most 15 MiB, is needed.", "audio", "invalid_value")
    try:
        raw = base64.b64decode(audio, validate=True)
        return np.frombuffer(raw, "<i2").astype(np.float32) / np.float32(_FULL_SCALE)
    except (binascii.Error, ValueError):
        raise ApiError(400, "audio: base64 of 16 bit PCM is needed.", "audio", "invalid_value") from None


def empty_commit(seconds: float) -> ApiError:
    """OpenAI's error where there is hardly anything to commit."""
    found, least = round(1000 * seconds), round(1000 * _LEAST_COMMIT_S)
    message = f"There is nothing to commit: {found} ms of audio came, {least} ms are needed."
    return ApiError(400, message, None, "input_audio_buffer_commit_empty")


def _partial(text: PartialText) -> dict[str, str]:
    return {"stable": text.stable, "tentative": text.tentative}


def _of_item(kind: str, item: str, **fields: object) -> Event:
    return _event(f"conversation.item.input_audio_transcription.{kind}", item_id=item, content_index=0, **fields)


def _event(kind: str, **fields: object) -> Event:
    return {"type": kind, "event_id": f"event_{uuid.uuid4().hex[:20]}", **fields}
