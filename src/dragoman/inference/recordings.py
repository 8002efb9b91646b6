"""Recordings of any length -> segments with their texts: what our Translator and every other system share.

A recording is decoded and divided where nobody speaks; its stretches of speech are translated batch by batch, and
meanwhile the next recording is read. Shapes: N samples at 16 kHz.
"""

from __future__ import annotations

import itertools
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dragoman.data.audio import SAMPLE_RATE, Waveform, excerpts, load_audio, stream_audio
from dragoman.data.audio.opening import can_be_read_again
from dragoman.errors import AudioError, LanguageError, ModelError
from dragoman.inference.decoding.decoder import DecodedSpeech, Translation
from dragoman.inference.decoding.glossary import Glossary
from dragoman.inference.prefetch import Prefetcher
from dragoman.inference.result import Outcome, Result, Segment, joined
from dragoman.model.calibration import Calibration
from dragoman.recipe import Recipe
from dragoman.records import Hypothesis, Utterance
from dragoman.text.langid import is_other
from dragoman.text.languages import LANGUAGES, known_source, known_targets
from dragoman.vad import SpeechSegment, VadOptions, speech_segments

_PLACES = 5
"""A recording's language is detected from this many places, spread evenly over it."""
_FIRST = 8
"""Segments that are waited for before that: a recording with fewer is known whole."""
_FIRST_OF_PIPE = 64
"""What comes through a pipe can be heard but once: so many segments are kept, half an hour at most."""
_SURE = 0.95
"""Languages that are so likely, at different places, are both spoken."""
_log = logging.getLogger(__name__)

AudioSource = str | Path | bytes
DetectedLanguage = tuple[str, float | None]
"""A language, and how likely it is that; None where it was given."""


@dataclass(frozen=True, eq=False)
class Speech:
    """A stretch of speech, samples (N,), and its language."""

    samples: Waveform
    language: str


@dataclass(frozen=True)
class TranslateOptions:
    """Targets asked for, and what is spoken; None: to be detected, once a recording or once a segment. Words that may
    be said, and terms with their translations. The audio track to hear; None: the likeliest."""

    targets: tuple[str, ...]
    source: str | None = None
    multilingual: bool = False
    hotwords: tuple[str, ...] = ()
    glossary: Glossary | None = None
    track: int | None = None


class SpeechTranslator(ABC):
    """What translates speech. Each brings what it hears and writes, and how; dividing, order and results are common."""

    name: str
    batch_size: int
    vad: VadOptions
    window_s: float
    """The most it is given at once."""
    writes_transcripts: bool
    """Whether it also writes what is said."""
    identifies_language: bool
    """Whether it can tell which language is spoken."""
    supports_phrases: bool
    """Whether it makes use of hotwords and a glossary."""
    calibration: Calibration | None = None
    """What its confidence is worth; None: nobody knows."""

    @property
    @abstractmethod
    def sources(self) -> Collection[str]:
        """Languages it hears, ISO 639-3."""

    @property
    @abstractmethod
    def targets(self) -> Collection[str]:
        """Languages it writes, ISO 639-3."""

    @abstractmethod
    def identify(self, waveforms: Sequence[Waveform]) -> dict[str, float]:
        """How likely each language is spoken in all of these, the likeliest first; together 1. waveforms: (N,) each,
        within its window."""

    @abstractmethod
    def _detect_languages(self, waveforms: Sequence[Waveform]) -> list[DetectedLanguage]:
        """The likeliest language of each."""

    @abstractmethod
    def _decode_speech(self, speech: Sequence[Speech], options: TranslateOptions) -> list[DecodedSpeech]:
        """Each stretch into each target that is not its own language, in order."""

    def translate(
        self,
        audio: AudioSource,
        to: str | Sequence[str],
        language: str | None = None,
        *,
        multilingual: bool = False,
        hotwords: Sequence[str] = (),
        glossary: Glossary | None = None,
        audio_track: int | None = None,
    ) -> Result:
        """Translate a recording into each language of `to`, and write what is said where the model does.

        Languages by code or name; "all" is every target of the model, "none" a transcript and no more. `language` is
        what is spoken; detected from the speech when not given, once a recording or, if it is `multilingual`, once a
        segment. `hotwords` are words that may be said and are made likelier in the transcript; the `glossary` says how
        terms are to be translated; `audio_track` (from 1) says which to hear of several. Raises AudioError,
        LanguageError, and ModelError for what it cannot do.
        """
        each = self.translate_each(
            [audio],
            to,
            language,
            multilingual=multilingual,
            hotwords=hotwords,
            glossary=glossary,
            audio_track=audio_track,
        )
        return next(each).get()

    def translate_each(
        self,
        audios: Iterable[AudioSource],
        to: str | Sequence[str],
        language: str | None = None,
        *,
        multilingual: bool = False,
        hotwords: Sequence[str] = (),
        glossary: Glossary | None = None,
        audio_track: int | None = None,
    ) -> Iterator[Outcome]:
        """`translate` of one recording after the other; while the model works on one, the next is decoded. One that
        cannot be read does not stop the others: its outcome raises the AudioError."""
        options = self.options(to, language, multilingual, hotwords, glossary, audio_track)
        return (self._outcome(audio, segments, options) for audio, segments in self._prefetched(audios, options))

    def stream(
        self,
        audio: AudioSource,
        to: str | Sequence[str],
        language: str | None = None,
        *,
        multilingual: bool = False,
        hotwords: Sequence[str] = (),
        glossary: Glossary | None = None,
        audio_track: int | None = None,
    ) -> Iterator[Segment]:
        """`translate`, but each segment as soon as it is there; the next ones are decoded from the file meanwhile.

        >>> for segment in translator.stream("talk.mp4", to=["deu"]):
        ...     print(segment.start_s, segment.transcript, segment.translations["deu"])
        """
        options = self.options(to, language, multilingual, hotwords, glossary, audio_track)
        return self._segments(audio, self._speech_segments(audio, options), options)

    def __call__(self, utterances: Sequence[Utterance], targets: Sequence[str]) -> list[Hypothesis]:
        """Each utterance into each target that is not its own language, in order; without targets its transcript alone,
        as if into its own. One that is longer than the window is divided at its pauses and put together again. Raises
        AudioError, LanguageError, ModelError."""
        options = TranslateOptions(known_targets(targets or "none", self.targets, self.name))
        if not options.targets:
            check_writes_transcripts(self)
        speech: list[Speech] = []
        counts: list[int] = []
        for utterance in utterances:
            source = known_source(utterance.language, self.sources, self.name)
            divided = self._split(load_audio(utterance.audio, utterance.start_s, utterance.duration_s, language=source))
            speech += [Speech(samples, source) for samples in divided]
            counts.append(len(divided))
        decoded = iter(self._decode_speech(speech, options))
        whole = [list(itertools.islice(decoded, count)) for count in counts]
        return [
            _hypothesis(utterance, code, found)
            for utterance, found in zip(utterances, whole, strict=True)
            for code in options.targets or (utterance.language,)
            if code != utterance.language or not options.targets
        ]

    def _split(self, waveform: Waveform) -> list[Waveform]:
        if len(waveform) <= round(self.window_s * SAMPLE_RATE):
            return [waveform]
        return [part.samples for part in speech_segments([waveform], self.vad)]

    def options(
        self,
        to: str | Sequence[str],
        language: str | None,
        multilingual: bool,
        hotwords: Sequence[str],
        glossary: Glossary | None,
        audio_track: int | None = None,
    ) -> TranslateOptions:
        """What is asked for, checked. Raises LanguageError, ModelError."""
        check_supported(self, language, multilingual, bool(hotwords or glossary))
        source = None if language is None else known_source(language, self.sources, self.name)
        targets = known_targets(to, self.targets, self.name, source)
        if not targets:
            check_writes_transcripts(self)
            if glossary is not None:
                raise LanguageError("A glossary is for translations; name a target instead of none.")
        return TranslateOptions(targets, source, multilingual, tuple(hotwords), glossary, audio_track)

    def _speech_segments(self, audio: AudioSource, options: TranslateOptions) -> Iterator[SpeechSegment]:
        blocks = stream_audio(audio, track=options.track, language=options.source)
        return Prefetcher(speech_segments(blocks, self.vad), 2 * self.batch_size)

    def _prefetched(
        self, audios: Iterable[AudioSource], options: TranslateOptions
    ) -> Iterator[tuple[AudioSource, Iterator[SpeechSegment]]]:
        """Each recording, with the one after it already being decoded."""
        ready: deque[tuple[AudioSource, Iterator[SpeechSegment]]] = deque()
        for audio in audios:
            ready.append((audio, self._speech_segments(audio, options)))
            if len(ready) == 2:
                yield ready.popleft()
        yield from ready

    def _outcome(self, audio: AudioSource, segments: Iterator[SpeechSegment], options: TranslateOptions) -> Outcome:
        name = _name(audio)
        try:
            found = list(self._segments(audio, segments, options))
        except AudioError as error:
            return Outcome(name, error=error)
        spoken = {segment.language for segment in found}
        targets = tuple(code for code in options.targets if {code} != spoken)
        return Outcome(name, Result(name, targets, found))

    def _segments(
        self, audio: AudioSource, segments: Iterator[SpeechSegment], options: TranslateOptions
    ) -> Iterator[Segment]:
        known: DetectedLanguage | None = None if options.source is None else (options.source, None)
        if known is None and not options.multilingual:
            first = list(itertools.islice(segments, _FIRST if can_be_read_again(audio) else _FIRST_OF_PIPE))
            known = self._language_of(audio, first, options) if first else None
            segments = itertools.chain(first, segments)
        while batch := list(itertools.islice(segments, self.batch_size)):
            detected = [known] * len(batch) if known else self._detect_languages([part.samples for part in batch])
            speech = [Speech(part.samples, language) for part, (language, _) in zip(batch, detected, strict=True)]
            for part, spoken, decoded in zip(batch, detected, self._decode_speech(speech, options), strict=True):
                if decoded.transcript or any(found.text for found in decoded.translations.values()):
                    yield to_segment(part, spoken, decoded, self.calibration)

    def _language_of(
        self, audio: AudioSource, first: Sequence[SpeechSegment], options: TranslateOptions
    ) -> DetectedLanguage:
        """What is spoken in a recording that begins with these stretches, and how likely; where it seems to be more
        than one language a line says so."""
        heard = [part.samples for part in first]
        if len(first) >= _FIRST and (places := self._places(audio, options)):
            parts = [heard[0], *places]
        else:
            parts = [heard[at * len(heard) // _PLACES] for at in range(_PLACES)] if len(heard) > _PLACES else heard
        detected = next(iter(self.identify(parts).items()))
        each = self._detect_languages(parts) if len(parts) > 1 else []
        sure = dict.fromkeys(language for language, likely in each if likely is not None and likely >= _SURE)
        if len(sure) > 1:
            names = ", ".join(LANGUAGES[language].name for language in sure)
            message = "%s: more than one language seems to be spoken (%s); multilingual (--multilingual) tells each."
            _log.warning(message, _name(audio), names)
        return detected

    def _places(self, audio: AudioSource, options: TranslateOptions) -> list[Waveform]:
        """The longest speech at each of a few places, (N,); none where a recording cannot be read by its times."""
        found = excerpts(audio, _PLACES, self.window_s, track=options.track, language=options.source)
        speech = [[part.samples for part in speech_segments([excerpt], self.vad)] for excerpt in found]
        return [max(parts, key=len) for parts in speech if parts]


def _name(audio: AudioSource) -> str:
    return "<bytes>" if isinstance(audio, bytes) else str(audio)


def check_supported(
    translator: SpeechTranslator | type[SpeechTranslator], language: str | None, multilingual: bool, words: bool
) -> None:
    """Raise LanguageError or ModelError for what it cannot do; `words`: hotwords or a glossary are given."""
    if multilingual and language is not None:
        raise LanguageError("A multilingual recording has no one language; give `language` or `multilingual`.")
    if language is None and not translator.identifies_language:
        instead = " instead of `multilingual`" if multilingual else ""
        raise LanguageError(f"{translator.name} cannot tell what is spoken; name the `language`{instead}.")
    if words and not translator.supports_phrases:
        raise ModelError(f"{translator.name} has no use for words and terms; leave hotwords and glossary out.")


def check_writes_transcripts(who: SpeechTranslator | type[SpeechTranslator] | Recipe) -> None:
    """Raise ModelError where no transcript can be written."""
    if not who.writes_transcripts:
        raise ModelError(f"{who.name} does not write what is said; name a target instead of none.")


def to_segment(
    part: SpeechSegment, detected: DetectedLanguage, decoded: DecodedSpeech, calibration: Calibration | None
) -> Segment:
    """Speech in the language `detected`, with how likely that is, as it was decoded."""
    language, confidence = detected
    outputs: dict[str, DecodedSpeech | Translation] = {"transcript": decoded, **decoded.translations}
    return Segment(
        part.speech_start_s,
        part.speech_end_s,
        language,
        decoded.transcript,
        {code: translation.text for code, translation in decoded.translations.items()},
        decoded.score,
        truncated=tuple(name for name, output in outputs.items() if output.truncated),
        looped=tuple(name for name, output in outputs.items() if output.looped),
        off_target=tuple(code for code, found in decoded.translations.items() if is_other(found.text, code)),
        missed={code: found.missed for code, found in decoded.translations.items() if found.missed},
        scores={code: found.score for code, found in decoded.translations.items() if found.score is not None},
        language_confidence=confidence,
        calibration=calibration,
    )


def _hypothesis(utterance: Utterance, code: str, parts: Sequence[DecodedSpeech]) -> Hypothesis:
    """An utterance's parts, decoded, put together again."""
    translations = [part.translations[code] for part in parts if code != utterance.language]
    return Hypothesis(
        id=utterance.id,
        source=utterance.language,
        target=code,
        start_s=utterance.start_s,
        end_s=None if utterance.duration_s is None else utterance.start_s + utterance.duration_s,
        transcript=joined(part.transcript for part in parts),
        translation=joined(translation.text for translation in translations),
        raw="\n".join(translation.raw for translation in translations),
        truncated=any(part.truncated for part in parts) or any(translation.truncated for translation in translations),
    )
