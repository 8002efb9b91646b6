"""The door that other systems stand behind: utterances in, hypotheses out, as our Translator gives them.

A system brings what it hears, what it writes, and how it translates stretches of speech that fit its window; dividing
long recordings, batches, order and rows are the same for all. Shapes: N samples at 16 kHz.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from dragoman.data.audio import SAMPLE_RATE, Waveform, load_audio
from dragoman.errors import LanguageError
from dragoman.inference.decode import Decoded, Translation
from dragoman.inference.segment import VadOptions, segments
from dragoman.inference.translator import hypothesis
from dragoman.languages import LANGUAGES, expand, find
from dragoman.records import Hypothesis, Utterance
from dragoman.systems.pretrained import Pretrained

_PAUSE_MS = 2000
"""As our own models of whole windows are given long recordings: long stretches, divided where nobody speaks."""


@dataclass(frozen=True, eq=False)
class Speech:
    """A stretch of speech, samples (N,), and its language."""

    samples: Waveform
    language: str


NOTHING = Translation("", "", False)


class System(ABC):
    """A system to compare with. `parts` are the checkpoints that it is made of."""

    name: ClassVar[str]
    """Its key in SYSTEMS."""
    window_s: float = 30.0
    """The most it is given at once."""

    def __init__(self, parts: Sequence[Pretrained], batch_size: int = 16) -> None:
        self.parts, self.batch_size = tuple(parts), batch_size

    @classmethod
    @abstractmethod
    def from_pretrained(
        cls, name: str | None = None, *, device: str | None = None, beam_size: int | None = None, batch_size: int = 16
    ) -> System:
        """By a checkpoint's folder or its name on the hub; the system's usual one, and its usual beams, when none are
        given. Raises ModelError."""

    @property
    @abstractmethod
    def sources(self) -> list[str]:
        """Languages it hears, ISO 639-3."""

    @property
    @abstractmethod
    def targets(self) -> list[str]:
        """Languages it writes, ISO 639-3."""

    @abstractmethod
    def decode(self, speech: Sequence[Speech], targets: Sequence[str]) -> list[Decoded]:
        """A batch into each target that is not its own language; the transcript is empty where a system writes none."""

    def __call__(self, utterances: Sequence[Utterance], targets: Sequence[str]) -> list[Hypothesis]:
        """Each utterance into each target that is not its own language, in order. One that is longer than the window is
        divided at its pauses and put together again. Raises AudioError, LanguageError."""
        wanted = self.known_targets(targets)
        speech: list[Speech] = []
        counts: list[int] = []
        for utterance in utterances:
            source = self.known_source(utterance.language)
            divided = self._divided(load_audio(utterance.audio, utterance.start_s, utterance.duration_s))
            speech += [Speech(samples, source) for samples in divided]
            counts.append(len(divided))
        decoded = iter(self._decode(speech, wanted))
        whole = [list(itertools.islice(decoded, count)) for count in counts]
        return [
            hypothesis(utterance, code, found)
            for utterance, found in zip(utterances, whole, strict=True)
            for code in wanted
            if code != utterance.language
        ]

    def known_source(self, name: str) -> str:
        """The code of a language that it hears, given by code or name. Raises LanguageError."""
        return _among(find(name).code, self.sources, f"{self.name} does not hear")

    def known_targets(self, names: Sequence[str]) -> tuple[str, ...]:
        """The codes of languages that it writes, given by codes, names or sets; "all" is every one. Raises
        LanguageError."""
        if "all" in names:
            return tuple(self.targets)
        return tuple(_among(code, self.targets, f"{self.name} does not write") for code in expand(names))

    def _divided(self, waveform: Waveform) -> list[Waveform]:
        if len(waveform) <= round(self.window_s * SAMPLE_RATE):
            return [waveform]
        options = VadOptions(max_speech_duration_s=self.window_s, min_silence_duration_ms=_PAUSE_MS)
        return [part.samples for part in segments([waveform], options)]

    def _decode(self, speech: Sequence[Speech], targets: Sequence[str]) -> list[Decoded]:
        """Neighbours in length share a batch; the order of the result is that of the speech."""
        order = sorted(range(len(speech)), key=lambda number: len(speech[number].samples))
        found: dict[int, Decoded] = {}
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            found.update(zip(chosen, self.decode([speech[number] for number in chosen], targets), strict=True))
        return [found[number] for number in range(len(speech))]


def into_each(
    speech: Sequence[Speech],
    targets: Sequence[str],
    transcripts: Sequence[Translation],
    translate: Callable[[list[int], str], list[Translation]],
) -> list[Decoded]:
    """One target after the other, by `translate`, which is given numbers of `speech` and a language that none of it is
    in."""
    found: list[dict[str, Translation]] = [{} for _ in speech]
    for code in targets:
        rows = [number for number, part in enumerate(speech) if part.language != code]
        for number, translation in zip(rows, translate(rows, code) if rows else [], strict=True):
            found[number][code] = translation
    return [
        Decoded(transcript.text, translations, transcript.truncated, 0.0, 0.0)
        for transcript, translations in zip(transcripts, found, strict=True)
    ]


def _among(code: str, known: Sequence[str], complaint: str) -> str:
    if code not in known:
        spoken = ", ".join(f"{other} ({LANGUAGES[other].name})" for other in known)
        raise LanguageError(f"{complaint} {LANGUAGES[code].name}; choose among {spoken}.")
    return code
