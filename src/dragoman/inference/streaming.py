"""Speech that is still being spoken -> transcript and translations as they come, by local agreement.

A segment of speech that is open is decoded anew whenever so much more of it has been heard. What two decodings agree on
is stable: it is never rewritten, and later decodings go on from it. A pause, or the end of the model's window, ends the
segment, in the same places as in a recording (vad.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import numpy as np

from dragoman.data.audio import SAMPLE_RATE, Waveform
from dragoman.errors import DragomanError
from dragoman.inference.decoding.decoder import DecodedSpeech
from dragoman.inference.live_language import LiveLanguage
from dragoman.inference.local_agreement import LocalAgreement, PartialText
from dragoman.inference.options import TranslateKeywords, TranslateOptions
from dragoman.inference.prefetch import Prefetcher
from dragoman.inference.recordings import Speech
from dragoman.inference.result import Segment
from dragoman.inference.segments import says_something, to_segment
from dragoman.inference.translator import Translator
from dragoman.vad import Segmenter, SpeechSegment

_LOOK = SAMPLE_RATE // 10
"""Samples from one look at what is open to the next."""
_TRANSCRIPT = "transcript"
_MOST_WAITING = 6000
"""At most this many blocks are taken from a source ahead of the model; then the source has to wait."""


@dataclass(frozen=True)
class PartialSegment:
    """The open segment as far as it is heard, in seconds from the start; translations by ISO 639-3 code. `number`
    counts the segments."""

    number: int
    start_s: float
    end_s: float
    language: str
    transcript: PartialText
    translations: dict[str, PartialText]


@dataclass(frozen=True)
class FinalSegment:
    """A segment that has ended. Its texts begin with what was stable before; all of them are."""

    number: int
    segment: Segment


LiveEvent = PartialSegment | FinalSegment


class LiveTranslator:
    """Translate speech while it is spoken.

    Args:
        translator: The model.
        to: Targets, as in `Translator.translate`.
        language: What is spoken; None: detected from the first seconds of speech (see `LiveLanguage`), and no updates
            come before.
        min_chunk_s: A segment is decoded anew whenever it has grown by this many seconds.
        **more: `hotwords`, `glossary` and `vad_parameters`, as in `Translator.translate`.

    Raises:
        LanguageError: A language is unknown, or one that the model does not know.
        ModelError: The model cannot do what is asked for.
        DragomanError: `min_chunk_s` or a VAD parameter is out of its range, or `multilingual` is asked for.

    >>> live = LiveTranslator(Translator.from_pretrained("small"), to=["deu"], language="eng")
    >>> for event in live.follow(blocks):  # blocks of samples, (N,) float32 mono at 16 kHz
    ...     if isinstance(event, FinalSegment):
    ...         print(event.segment.transcript, event.segment.translations["deu"])
    """

    def __init__(
        self,
        translator: Translator,
        to: str | Sequence[str] | TranslateOptions,
        language: str | None = None,
        *,
        min_chunk_s: float = 0.7,
        **more: Unpack[TranslateKeywords],
    ) -> None:
        if not 0 < min_chunk_s < math.inf:
            raise DragomanError("Give a min_chunk_s above 0: after this many seconds of new speech it is decoded anew.")
        self.translator = translator
        self.min_chunk_s = min_chunk_s
        self._options = translator.options(to, language, **more)
        if self._options.multilingual:
            raise DragomanError("Live speech is taken to be in one language; leave multilingual out.")
        self._language = LiveLanguage(translator.identify, self._options.language)
        self._segmenter = Segmenter(translator.vad_options(self._options))
        self._rest = np.zeros(0, np.float32)
        self._open: _OpenSegment | None = None
        self._number = 0
        self._blocks: Prefetcher[Waveform] | None = None

    def follow(self, blocks: Iterable[Waveform]) -> Iterator[LiveEvent]:
        """Follow a source that goes on by itself, such as a microphone, to its end.

        A thread takes the blocks, so that none is lost while the model works. Where the model is slower than the
        speech, updates are left out and the newest state is decoded.

        Args:
            blocks: Samples, (N,) float32 mono at 16 kHz each; N may differ from block to block.

        Returns:
            Updates of the open segment, and each segment when it has ended.
        """
        self._blocks = Prefetcher(blocks, _MOST_WAITING)
        for block in self._blocks:
            yield from self.push(block, skip_updates=self._blocks.waiting)
        yield from self.finish()

    def stop(self) -> None:
        """Stop listening: `follow` goes on to the end of what was heard so far. A signal handler may call it."""
        if self._blocks is not None:
            self._blocks.stop()

    def push(self, block: Waveform, *, skip_updates: bool = False) -> Iterator[LiveEvent]:
        """Take the next samples and yield what comes of them.

        Args:
            block: Samples, (N,) float32 mono at 16 kHz.
            skip_updates: Yield no updates of the open segment, as more samples are waiting.
        """
        rest = np.concatenate([self._rest, block])
        whole = len(rest) - len(rest) % _LOOK
        self._rest = rest[whole:]
        for at in range(0, whole, _LOOK):
            yield from self._ended(self._segmenter.push(rest[at : at + _LOOK]))
            speech = self._segmenter.peek()  # also when behind: where segments end does not depend on how fast we are
            if speech is not None and not skip_updates:
                yield from self._grown(speech)

    def finish(self) -> Iterator[LiveEvent]:
        """The speech is over: end the open segment and yield it."""
        yield from self._ended(self._segmenter.push(self._rest))
        yield from self._ended(self._segmenter.finish())

    def _grown(self, speech: SpeechSegment) -> Iterator[LiveEvent]:
        """Decode the open segment if it has grown enough."""
        heard_s = self._open.heard_s if self._open else speech.start_s
        if speech.end_s - heard_s < self.min_chunk_s:
            return
        detected = self._language.of(speech.samples, has_ended=False)
        if detected is None:
            return
        decoded, opened = self._decode(speech, detected[0])
        opened.add(decoded, speech.end_s)
        if opened.is_shown:
            texts = {name: growing.text for name, growing in opened.texts.items()}
            transcript = texts.pop(_TRANSCRIPT)
            yield PartialSegment(
                self._number, speech.speech_start_s, speech.speech_end_s, detected[0], transcript, texts
            )

    def _ended(self, speeches: Iterator[SpeechSegment]) -> Iterator[LiveEvent]:
        """Decode what has ended; where nothing is said it is reported only if an update said something."""
        for speech in speeches:
            detected = self._language.of(speech.samples, has_ended=True)
            assert detected is not None
            decoded, ended = self._decode(speech, detected[0])
            self._open = None
            if ended.is_shown or says_something(decoded):
                segment = to_segment(speech, detected, decoded, self.translator.calibration)
                yield FinalSegment(self._number, segment)
                self._number += 1
                self._language.doubt(speech.samples, bool(segment.low_confidence.get(_TRANSCRIPT)))

    def _decode(self, speech: SpeechSegment, source: str) -> tuple[DecodedSpeech, _OpenSegment]:
        request = self.translator.request(Speech(speech.samples, source), self._options)
        if self._open is None:
            self._open = _OpenSegment(
                speech.start_s, source, request.targets, self.translator.recipe.writes_transcripts
            )
        (decoded,) = self.translator.decoder([replace(request, prefixes=self._open.prefixes)])
        return decoded, self._open


class _OpenSegment:
    """What is known of the open segment, up to `heard_s`; `texts` holds the transcript and each target by its code."""

    def __init__(self, start_s: float, source: str, targets: Sequence[str], writes_transcripts: bool) -> None:
        self.heard_s = start_s
        self.is_shown = False
        self.texts = {name: LocalAgreement() for name in (_TRANSCRIPT, *targets)}
        self._writes_transcripts = writes_transcripts

    @property
    def prefixes(self) -> dict[str, str]:
        return {name: growing.text.stable for name, growing in self.texts.items()}

    def add(self, decoded: DecodedSpeech, heard_s: float) -> None:
        """A translation is of the whole transcript, its tentative end too: two that agree were often written from two
        that do not, and while nothing of these is stable, neither is the translation."""
        self.heard_s = heard_s
        self.is_shown |= says_something(decoded)
        transcript = self.texts[_TRANSCRIPT]
        transcript.add(decoded.transcript)
        can_commit = bool(transcript.text.stable) or not self._writes_transcripts
        for code, translation in decoded.translations.items():
            self.texts[code].add(translation.text, can_commit=can_commit)
