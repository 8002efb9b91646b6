"""A translated recording as OpenAI's clients read it, with our own keys beside."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.responses import JSONResponse, PlainTextResponse, Response

from dragoman.inference.result import Result, Segment
from dragoman.server.api.fields import ResponseFormat
from dragoman.subtitles.cues import SubtitleOptions, cues
from dragoman.subtitles.writers import segment_to_dict, to_dict, to_srt, to_vtt
from dragoman.text.languages import LANGUAGES

RoadTask = Literal["transcribe", "translate"]
WARNINGS_HEADER = "x-dragoman-warnings"
_LEFT_OUT = ("start_s", "end_s", "transcript", "score")
"""What has a name of OpenAI's."""


@dataclass(frozen=True)
class Answer:
    """All that is known of a recording; `task` says what its `text` is: the transcript, or the first translation."""

    result: Result
    task: RoadTask
    targets: tuple[str, ...]
    """As they were asked for; the speech's own language too."""
    duration_s: float
    warnings: Sequence[str] = ()
    subtitles: SubtitleOptions = field(default_factory=SubtitleOptions)

    def response(self, wanted: ResponseFormat) -> Response:
        """In the format that was asked for."""
        if wanted == "verbose_json":
            return JSONResponse(self.verbose())
        if wanted == "json":
            return JSONResponse(self.short())
        header = {WARNINGS_HEADER: json.dumps(list(self.warnings))} if self.warnings else {}
        return PlainTextResponse(self._plain(wanted), headers=header)

    @property
    def text(self) -> str:
        """What is said, or its first translation."""
        if self.task == "transcribe":
            return self.result.transcript
        return Result(self.result.audio, self.targets, self.result.segments).translations[self.targets[0]]

    @property
    def language(self) -> str | None:
        """The code of what `text` is in."""
        return self.result.language if self.task == "transcribe" else self.targets[0]

    def short(self) -> dict[str, Any]:
        """`json`."""
        found = {
            "text": self.text,
            "languages": [{"code": LANGUAGES[code].iso1 or code} for code in self.result.languages],
            "warnings": list(self.warnings),
            "usage": self._usage,
        }
        return {**found, "translations": self.result.translations} if self.result.targets else found

    def verbose(self) -> dict[str, Any]:
        """`verbose_json`."""
        known = to_dict(self.result)
        return {
            "task": self.task,
            "language": None if self.language is None else LANGUAGES[self.language].name.lower(),
            "language_code": self.language,
            "language_confidence": known["language_confidence"],
            "calibration": known["calibration"],
            "duration": round(self.duration_s, 3),
            "text": self.text,
            "targets": known["targets"],
            "translations": known["translations"],
            "segments": [
                {"id": number, **self._segment(segment)} for number, segment in enumerate(self.result.segments)
            ],
            "warnings": list(self.warnings),
            "usage": self._usage,
        }

    def _segment(self, segment: Segment) -> dict[str, Any]:
        text = segment.transcript if self.task == "transcribe" else segment.text(self.targets[0])
        return segment_fields(segment, text)

    @property
    def _usage(self) -> dict[str, Any]:
        return {"type": "duration", "seconds": math.ceil(self.duration_s)}

    def _plain(self, wanted: ResponseFormat) -> str:
        if wanted == "text":
            return f"{self.text}\n"
        targets = self.targets[:1] if self.task == "translate" else ()
        shown = Result(self.result.audio, targets, self.result.segments)
        made = cues(shown, self._codes, self.subtitles)
        return to_srt(made) if wanted == "srt" else to_vtt(made)

    @property
    def _codes(self) -> tuple[str, ...]:
        """Of the subtitles: a translation has what is said below it, if that is wanted."""
        shown, spoken = self.language or "eng", self.result.language if self.result.transcript else None
        is_pair = self.subtitles.bilingual and spoken not in (None, shown)
        return (shown, str(spoken)) if is_pair else (shown,)


def segment_fields(segment: Segment, text: str) -> dict[str, Any]:
    """OpenAI's keys, all of which its typed clients require, and ours."""
    ours = {key: value for key, value in segment_to_dict(segment).items() if key not in _LEFT_OUT}
    return {
        "seek": 0,
        "start": round(segment.start_s, 3),
        "end": round(segment.end_s, 3),
        "text": text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": None if segment.score is None else round(segment.score, 4),
        "compression_ratio": round(_compression_ratio(text), 3),
        "no_speech_prob": 0.0,
        **ours,
    }


def server_event(data: Mapping[str, Any] | str) -> str:
    """One event of a stream."""
    return f"data: {data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)}\n\n"


def segment_name(number: int) -> str:
    """As the events of a stream call a segment."""
    return f"seg_{number:03d}"


def _compression_ratio(text: str) -> float:
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw)) if raw else 0.0
