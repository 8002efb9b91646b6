"""What a translated recording is: segments with their times, texts and how sure the model was of them. No torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from dragoman.errors import AudioError
from dragoman.languages import LANGUAGES


@dataclass(frozen=True)
class Segment:
    """One stretch of speech, in seconds from the start of the recording; translations by ISO 639-3 code.

    `language` is what is spoken, also a code. `score` is the mean log-probability of the transcript's tokens;
    `truncated` names what was stopped before its end ("transcript" or a target's code).
    """

    start_s: float
    end_s: float
    language: str
    transcript: str
    translations: dict[str, str]
    score: float
    truncated: tuple[str, ...] = ()

    def text(self, code: str) -> str:
        """What is said, in that language: the translation, or the transcript where it is spoken."""
        return self.transcript if code == self.language else self.translations.get(code, "")


@dataclass(frozen=True)
class Result:
    """A whole recording; without speech it has no segments and no language."""

    audio: str
    targets: tuple[str, ...]
    segments: list[Segment] = field(default_factory=list)

    @property
    def languages(self) -> tuple[str, ...]:
        """What is spoken, longest first."""
        seconds: dict[str, float] = defaultdict(float)
        for segment in self.segments:
            seconds[segment.language] += segment.end_s - segment.start_s
        return tuple(sorted(seconds, key=seconds.__getitem__, reverse=True))

    @property
    def language(self) -> str | None:
        """What is spoken, or spoken longest."""
        return next(iter(self.languages), None)

    @property
    def transcript(self) -> str:
        return joined((segment.transcript for segment in self.segments), self.language)

    @property
    def translations(self) -> dict[str, str]:
        return {code: joined((segment.text(code) for segment in self.segments), code) for code in self.targets}


@dataclass(frozen=True)
class Outcome:
    """Of one recording among several: its result, or why it could not be read."""

    audio: str
    result: Result | None = None
    error: AudioError | None = None

    def get(self) -> Result:
        """The result; raises the AudioError if there is none."""
        if self.result is None:
            assert self.error is not None
            raise self.error
        return self.result


def joined(texts: Iterable[str], code: str | None) -> str:
    """Texts in one language, one after the other, as it separates them."""
    spaced = code is None or LANGUAGES[code].uses_spaces
    return (" " if spaced else "").join(text for text in texts if text)
