"""What a translated recording is: segments with their times, texts and how sure the model was of them. No torch."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from dragoman.errors import AudioError
from dragoman.model.calibration import Calibration
from dragoman.text.scripts import between_sentences

LOW_LANGUAGE = 0.8
"""A language that is less likely than this is said to be doubted, by a model that is not calibrated."""
NOT_CALIBRATED = "not calibrated"


@dataclass(frozen=True)
class Segment:
    """One stretch of speech, in seconds from the start of the recording; translations by ISO 639-3 code.

    `language` is what is spoken, also a code; `language_confidence` how likely it is that, where it was detected from
    the speech. `score` and `scores` are the mean log-probability of the tokens of the transcript and of each
    translation, where they are known. Named by "transcript" or a target's code are what was stopped before its end
    (`truncated`), what was kept from repeating itself (`looped`), and translations that are in another
    language (`off_target`). `missed` holds for each target what the glossary asks for and could not be brought in.
    """

    start_s: float
    end_s: float
    language: str
    transcript: str
    translations: dict[str, str]
    score: float | None = None
    truncated: tuple[str, ...] = ()
    looped: tuple[str, ...] = ()
    off_target: tuple[str, ...] = ()
    missed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    language_confidence: float | None = None
    calibration: Calibration | None = field(default=None, repr=False, compare=False)

    @property
    def confidence(self) -> dict[str, float]:
        """The probability of a token, their geometric mean, of "transcript", if there is one, and of each target."""
        scores = {"transcript": self.score} if self.transcript and self.score is not None else {}
        return {name: math.exp(score) for name, score in {**scores, **self.scores}.items()}

    @property
    def low_confidence(self) -> dict[str, bool | None]:
        """What is rather wrong than right; None where the model is not calibrated, so that nobody knows."""
        if self.calibration is None:
            return dict.fromkeys(self.confidence)
        least = {"transcript": self.calibration.low_transcript}
        return {
            name: value < least.get(name, self.calibration.low_translation) for name, value in self.confidence.items()
        }

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
    def language_confidence(self) -> float | None:
        """How likely it is that `language` is spoken where it is said to be, over its duration; None where it was
        given."""
        weighted = [
            (segment.end_s - segment.start_s, segment.language_confidence)
            for segment in self.segments
            if segment.language == self.language and segment.language_confidence is not None
        ]
        return (
            sum(seconds * likely for seconds, likely in weighted) / sum(seconds for seconds, _ in weighted)
            if weighted
            else None
        )

    @property
    def calibration(self) -> str:
        """What the model's confidence was calibrated on; "not calibrated"."""
        fitted = next((segment.calibration for segment in self.segments if segment.calibration), None)
        return NOT_CALIBRATED if fitted is None else fitted.about

    @property
    def doubts_language(self) -> bool:
        """Whether `language` was detected from the speech, and not surely."""
        likely = self.language_confidence
        fitted = next((segment.calibration for segment in self.segments if segment.calibration), None)
        return likely is not None and likely < (LOW_LANGUAGE if fitted is None else fitted.low_language)

    @property
    def transcript(self) -> str:
        return joined(segment.transcript for segment in self.segments)

    @property
    def translations(self) -> dict[str, str]:
        return {code: joined(segment.text(code) for segment in self.segments) for code in self.targets}


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


def joined(texts: Iterable[str]) -> str:
    """Texts in one language, one after the other."""
    said = [text for text in texts if text]
    return between_sentences(" ".join(said)).join(said)
