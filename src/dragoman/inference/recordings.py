"""Recordings of any length -> segments with their texts: what our Translator and every other system share.

A recording is decoded and divided where nobody speaks; stretches of speech of all recordings are translated batch by
batch, and meanwhile the next recording is read. Shapes: N samples at 16 kHz.
"""

from __future__ import annotations

import itertools
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

from dragoman.data.audio import SAMPLE_RATE, Waveform, load_audio
from dragoman.errors import AudioError, LanguageError, ModelError
from dragoman.inference.audio_source import AudioSource, blocks_of, excerpts_of, is_pipe, name_of
from dragoman.inference.decoding.decoder import DecodedSpeech
from dragoman.inference.options import TranslateKeywords, TranslateOptions
from dragoman.inference.prefetch import Prefetcher
from dragoman.inference.result import Outcome, Result, Segment
from dragoman.inference.segment_queue import Done, SegmentQueue, ToDo
from dragoman.inference.segments import DetectedLanguage, says_something, to_hypothesis, to_segment
from dragoman.model.calibration import Calibration
from dragoman.recipe import Recipe
from dragoman.records import Hypothesis, Utterance
from dragoman.text.languages import LANGUAGES, expand, known_source, known_targets
from dragoman.vad import SpeechSegment, VadOptions, speech_segments

_PLACES = 5
"""A recording's language is detected from this many places, spread evenly over it."""
_FIRST = 8
"""Segments that are waited for before that: a recording with fewer is known whole."""
_AHEAD = 4
"""This many batches of segments are read before the first is decoded, so that neighbours in length are found."""
_FIRST_OF_PIPE = 64
"""What comes through a pipe can be heard but once: this many segments are kept, half an hour at most."""
_SURE = 0.95
"""Languages that are so likely, at different places, are both spoken."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Speech:
    """A stretch of speech, samples (N,), and its language; `transcript`: what is said, where that is known and used."""

    samples: Waveform
    language: str
    transcript: str | None = None


@dataclass(frozen=True, eq=False)
class _HeardSegment:
    """A segment of a recording and what is spoken in it; None: to be detected from this segment alone."""

    part: SpeechSegment
    detected: DetectedLanguage | None


@dataclass(frozen=True)
class _EndOfRecording:
    """Behind a recording's segments; `error`: it could not be read to its end."""

    audio: AudioSource
    error: AudioError | None = None


_Heard = ToDo[_HeardSegment] | Done[Segment | _EndOfRecording | None]


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
        """Detect the language that is spoken in all of these.

        Args:
            waveforms: Speech, (N,) float32 mono at 16 kHz each, at most `window_s` seconds of it.

        Returns:
            The probability of each language by ISO 639-3 code, the likeliest first; together they are 1.
        """

    @abstractmethod
    def _detect_languages(self, waveforms: Sequence[Waveform]) -> list[DetectedLanguage]:
        """The likeliest language of each."""

    def _detect_both(self, waveforms: Sequence[Waveform]) -> tuple[dict[str, float], list[DetectedLanguage]]:
        """What `identify` says of all and `_detect_languages` of each; for less work, where both need the same."""
        return self.identify(waveforms), self._detect_languages(waveforms)

    @abstractmethod
    def _decode_speech(self, speech: Sequence[Speech], options: TranslateOptions) -> Iterable[DecodedSpeech]:
        """Each stretch into each target that is not its own language, in order."""

    def translate(
        self,
        audio: AudioSource,
        to: str | Sequence[str] | TranslateOptions,
        language: str | None = None,
        **more: Unpack[TranslateKeywords],
    ) -> Result:
        """Translate a recording of any length and format, and transcribe it where the model does.

        Args:
            audio: The path of a recording or a video, `-` for standard input, or the content of a file as bytes.
            to: Targets by code or name ("de", "deu", "German"), one or several; "all" is every target of the model,
                "none" a transcript alone. Or `TranslateOptions`, in the place of all that follows.
            language: What is spoken; None: detected from the speech.
            **more: `multilingual`, `hotwords`, `glossary`, `audio_track` and `vad_parameters`, the fields of
                `TranslateOptions`.

        Returns:
            The segments in which somebody speaks, their times in seconds from the start, with a transcript and a
            translation for each target.

        Raises:
            AudioError: The recording cannot be read.
            LanguageError: A language is unknown, or one that the model does not know.
            ModelError: The model cannot do what is asked for, such as a transcript.
        """
        return next(self.translate_each([audio], to, language, **more)).get()

    def translate_each(
        self,
        audios: Iterable[AudioSource],
        to: str | Sequence[str] | TranslateOptions,
        language: str | None = None,
        **more: Unpack[TranslateKeywords],
    ) -> Iterator[Outcome]:
        """Translate many recordings, whose segments share batches.

        Args:
            audios: Recordings, each as in `translate`; the next one is decoded while one is translated.
            to: As in `translate`.
            language: As in `translate`; one for all recordings.
            **more: As in `translate`.

        Returns:
            An outcome a recording, in order, each as soon as it is there. A recording that cannot be read does not stop
            the others: `get` of its outcome raises the AudioError.

        Raises:
            LanguageError: As in `translate`.
            ModelError: As in `translate`.
        """
        return self._outcomes(audios, self.options(to, language, **more))

    def stream(
        self,
        audio: AudioSource,
        to: str | Sequence[str] | TranslateOptions,
        language: str | None = None,
        **more: Unpack[TranslateKeywords],
    ) -> Iterator[Segment]:
        """Translate a recording and hand out each segment as soon as it is there.

        Args:
            audio: As in `translate`.
            to: As in `translate`.
            language: As in `translate`.
            **more: As in `translate`.

        Returns:
            The segments, in order; the file is decoded meanwhile.

        Raises:
            AudioError: The recording cannot be read, or not to its end.
            LanguageError: As in `translate`.
            ModelError: As in `translate`.

        >>> for segment in translator.stream("talk.mp4", to=["deu"]):
        ...     print(segment.start_s, segment.transcript, segment.translations["deu"])
        """
        options = self.options(to, language, **more)
        return self._segments(audio, options)

    def __call__(self, utterances: Sequence[Utterance], targets: Sequence[str]) -> list[Hypothesis]:
        """Translate the utterances of a manifest, as `evaluation.generate` asks for it.

        Args:
            utterances: Speech whose language is known. One that is longer than `window_s` is divided at its pauses and
                put together again.
            targets: Languages by code or name, or sets of them; none: transcripts alone.

        Returns:
            A hypothesis for each utterance and each target that is not its own language, in order; without targets one
            for each utterance, whose target is its own language.

        Raises:
            AudioError: A recording cannot be read.
            LanguageError: A language is unknown, or one that the model does not know.
            ModelError: Transcripts are asked for, and the model writes none.
        """
        options = TranslateOptions(known_targets(expand(targets), self.targets, self.name))
        if not options.targets:
            check_writes_transcripts(self)
        speech: list[Speech] = []
        counts: list[int] = []
        for utterance in utterances:
            source = known_source(utterance.language, self.sources, self.name)
            divided = self._speech_of(utterance, source)
            speech += divided
            counts.append(len(divided))
        decoded = iter(self._decode_speech(speech, options))
        whole = [list(itertools.islice(decoded, count)) for count in counts]
        return [
            to_hypothesis(utterance, code, found)
            for utterance, found in zip(utterances, whole, strict=True)
            for code in options.targets or (utterance.language,)
            if code != utterance.language or not options.targets
        ]

    def _speech_of(self, utterance: Utterance, source: str) -> list[Speech]:
        """What is said in an utterance, in stretches that it can be given."""
        waveform = load_audio(utterance.audio, utterance.start_s, utterance.duration_s, language=source)
        return [Speech(samples, source) for samples in self._split(waveform)]

    def _split(self, waveform: Waveform) -> list[Waveform]:
        if len(waveform) <= round(self.window_s * SAMPLE_RATE):
            return [waveform]
        return [part.samples for part in speech_segments([waveform], self.vad)]

    def options(
        self,
        to: str | Sequence[str] | TranslateOptions,
        language: str | None = None,
        **more: Unpack[TranslateKeywords],
    ) -> TranslateOptions:
        """Read and check what `translate` takes; do it once where the same is asked for again and again.

        Raises:
            LanguageError: A language is unknown, or one that the model does not know.
            ModelError: The model cannot do what is asked for.
            DragomanError: A VAD parameter is out of its range.
        """
        if isinstance(to, TranslateOptions):
            if language is not None or more:
                raise TypeError("TranslateOptions stand for all other arguments; change them with dataclasses.replace.")
            return self.checked(to)
        return self.checked(TranslateOptions.parse(to, language, **more))

    def checked(self, options: TranslateOptions) -> TranslateOptions:
        """The same options with the model's own targets in the place of None. Raises what `options` raises."""
        check_supported(self, options)
        source = options.language
        if source is not None:
            known_source(source, self.sources, self.name)
        targets = known_targets(options.to, self.targets, self.name, source)
        if not targets:
            check_writes_transcripts(self)
        self.vad_options(options)
        return replace(options, to=targets)

    def vad_options(self, options: TranslateOptions) -> VadOptions:
        """How a recording is divided. Raises DragomanError."""
        return self.vad.varied(options.vad_parameters, self.name) if options.vad_parameters else self.vad

    def _speech_segments(self, audio: AudioSource, options: TranslateOptions) -> Iterator[SpeechSegment]:
        blocks = blocks_of(audio, options)
        return Prefetcher(speech_segments(blocks, self.vad_options(options)), 2 * self.batch_size)

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

    def _outcomes(self, audios: Iterable[AudioSource], options: TranslateOptions) -> Iterator[Outcome]:
        found: list[Segment] = []
        for segment in self._queue(options, _AHEAD * self.batch_size)(self._heard(audios, options)):
            if not isinstance(segment, _EndOfRecording):
                found += [segment] if segment is not None else []
                continue
            name = name_of(segment.audio)
            spoken = {segment.language for segment in found}
            targets = tuple(code for code in options.targets if {code} != spoken)
            whole = None if segment.error else Result(name, targets, found)
            found = []
            yield Outcome(name, whole, segment.error)

    def _segments(self, audio: AudioSource, options: TranslateOptions) -> Iterator[Segment]:
        for segment in self._queue(options, self.batch_size)(self._heard([audio], options)):
            if isinstance(segment, _EndOfRecording):
                if segment.error:
                    raise segment.error
            elif segment is not None:
                yield segment

    def _queue(
        self, options: TranslateOptions, ahead: int
    ) -> SegmentQueue[_HeardSegment, Segment | _EndOfRecording | None]:
        return SegmentQueue(
            lambda heard: self._decoded(heard, options),
            lambda heard: len(heard.part.samples),
            self.batch_size,
            ahead,
        )

    def _heard(self, audios: Iterable[AudioSource], options: TranslateOptions) -> Iterator[_Heard]:
        """The segments of each recording and its end."""
        for audio, segments in self._prefetched(audios, options):
            known: DetectedLanguage | None = None if options.language is None else (options.language, None)
            error = None
            try:
                if known is None and not options.multilingual:
                    first = list(itertools.islice(segments, _FIRST_OF_PIPE if is_pipe(audio) else _FIRST))
                    # that of a single segment is detected in its batch, beside those of other recordings
                    known = self._language_of(audio, first, options) if len(first) > 1 else None
                    segments = itertools.chain(first, segments)
                for part in segments:
                    yield ToDo(_HeardSegment(part, known))
            except AudioError as raised:
                error = raised
            yield Done(_EndOfRecording(audio, error))

    def _decoded(self, heard: Sequence[_HeardSegment], options: TranslateOptions) -> Iterator[Segment | None]:
        """A batch, each as soon as it is there; None where nothing is said."""
        unknown = [number for number, one in enumerate(heard) if one.detected is None]
        found = self._detect_languages([heard[number].part.samples for number in unknown]) if unknown else []
        detected = [one.detected for one in heard]
        for number, language in zip(unknown, found, strict=True):
            detected[number] = language
        spoken = [language for language in detected if language is not None]
        speech = [Speech(one.part.samples, language) for one, (language, _) in zip(heard, spoken, strict=True)]
        for one, language, decoded in zip(heard, spoken, self._decode_speech(speech, options), strict=True):
            yield to_segment(one.part, language, decoded, self.calibration) if says_something(decoded) else None

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
        together, each = self._detect_both(parts)
        sure = dict.fromkeys(language for language, likely in each if likely is not None and likely >= _SURE)
        if len(sure) > 1:
            names = ", ".join(LANGUAGES[language].name for language in sure)
            message = "%s: more than one language seems to be spoken (%s); multilingual (--multilingual) detects each."
            _log.warning(message, name_of(audio), names)
        return next(iter(together.items()))

    def _places(self, audio: AudioSource, options: TranslateOptions) -> list[Waveform]:
        """The longest speech at each of a few places, (N,); none where a recording cannot be read by its times."""
        vad, found = self.vad_options(options), excerpts_of(audio, _PLACES, self.window_s, options)
        speech = [[part.samples for part in speech_segments([excerpt], vad)] for excerpt in found]
        return [max(parts, key=len) for parts in speech if parts]


def check_supported(translator: SpeechTranslator | type[SpeechTranslator], options: TranslateOptions) -> None:
    """Raise LanguageError or ModelError for what it cannot do, whatever the languages."""
    if options.language is None and not translator.identifies_language:
        instead = " instead of `multilingual`" if options.multilingual else ""
        raise LanguageError(f"{translator.name} cannot detect what is spoken; name the `language`{instead}.")
    if (options.hotwords or options.glossary) and not translator.supports_phrases:
        raise ModelError(f"{translator.name} does not support hotwords and glossaries; leave them out.")


def check_writes_transcripts(who: SpeechTranslator | type[SpeechTranslator] | Recipe) -> None:
    """Raise ModelError where no transcript can be written."""
    if not who.writes_transcripts:
        raise ModelError(f"{who.name} does not write what is said; name a target instead of none.")
