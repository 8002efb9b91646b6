"""Which language live speech is in, detected while it comes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from dragoman.data.audio import SAMPLE_RATE, Waveform
from dragoman.inference.segments import DetectedLanguage
from dragoman.text.languages import LANGUAGES

_DETECTED_BY_S, _SETTLED_BY_S = 3.0, 10.0
"""After so much of it an open segment's language is detected; after so much speech in all, that of
all that follows."""
_SURE = 0.95
_log = logging.getLogger("dragoman.inference.streaming")


class LiveLanguage:
    """A greeting may be in another language than what follows: that of each of the first segments is detected by
    itself, or, where that is not sure, from all that was heard. The language is settled when two segments in a row
    agree, or from ten seconds of speech; it changes where two doubted segments in a row are surely in another one.

    `identify` says how likely each language is in clips (N,), the likeliest first. With a language `given`, nothing
    is detected.
    """

    def __init__(self, identify: Callable[[Sequence[Waveform]], dict[str, float]], given: str | None = None) -> None:
        self._identify, self._is_given = identify, given is not None
        self._settled: DetectedLanguage | None = None if given is None else (given, None)
        self._open: DetectedLanguage | None = None
        self._heard: list[Waveform] = []
        self._detected: list[DetectedLanguage] = []
        self._others: list[str] = []

    def of(self, samples: Waveform, *, has_ended: bool) -> DetectedLanguage | None:
        """What a segment is in, and how likely; None while it is too early to say. What was said of a segment that goes
        on stays, since its text does."""
        if self._settled is not None and self._open is None:
            return self._settled
        if self._open is None and (has_ended or len(samples) >= _DETECTED_BY_S * SAMPLE_RATE):
            self._open = self._detect(samples)
        detected = self._open
        if has_ended and detected is not None:
            self._open = None
            self._heard.append(samples)
            self._detected.append(detected)
            self._settle()
        return detected

    def doubt(self, samples: Waveform, is_doubted: bool) -> None:
        """Whether what was written for a segment that has ended is rather wrong than right."""
        if self._is_given or self._settled is None:
            return
        other, likely = self._likeliest([samples]) if is_doubted else self._settled
        if other == self._settled[0] or likely is None or likely < _SURE:
            self._others = []
            return
        self._others.append(other)
        if self._others[-2:] == [other, other]:
            was, self._settled, self._others = self._settled[0], (other, likely), []
            message = "what is spoken seems to be %s now, no longer %s; if it is not, name it with --language."
            _log.warning(message, LANGUAGES[other].name, LANGUAGES[was].name)

    def _detect(self, samples: Waveform) -> DetectedLanguage:
        detected = self._likeliest([samples])
        return detected if detected[1] >= _SURE or not self._heard else self._likeliest([*self._heard, samples])

    def _settle(self) -> None:
        """Settle the language, if enough was heard, and forget what it was detected from."""
        seconds = sum(map(len, self._heard)) / SAMPLE_RATE
        last = self._detected[-2:]
        agree = len(last) == 2 and last[0][0] == last[1][0] and all((likely or 0) >= _SURE for _, likely in last)
        if seconds < _DETECTED_BY_S or not (agree or seconds >= _SETTLED_BY_S):
            return
        self._settled = last[-1] if agree else self._likeliest(self._heard)
        if others := {language for language, likely in self._detected if (likely or 0) >= _SURE} - {self._settled[0]}:
            names = ", ".join(sorted(LANGUAGES[code].name for code in others))
            message = "more than one language was heard (%s); what follows is taken for %s, or name it with --language."
            _log.warning(message, names, LANGUAGES[self._settled[0]].name)
        self._heard, self._detected = [], []

    def _likeliest(self, waveforms: Sequence[Waveform]) -> tuple[str, float]:
        return next(iter(self._identify(waveforms).items()))
