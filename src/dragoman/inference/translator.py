"""The public class: recordings in, transcripts and translations out."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from dragoman.data.audio import SAMPLE_RATE, Waveform, load_audio, stream_audio
from dragoman.data.batching import Mel
from dragoman.data.features import LogMel
from dragoman.data.langid import is_other
from dragoman.errors import AudioError, LanguageError, ModelError
from dragoman.inference.ahead import ahead
from dragoman.inference.decode import Decoded, Decoder, Request
from dragoman.inference.glossary import Glossary
from dragoman.inference.identify import Identifier
from dragoman.inference.result import Outcome, Result, Segment, joined
from dragoman.inference.segment import Segment as Speech
from dragoman.inference.segment import segments, vad_options
from dragoman.model.checkpoint import LoadedModel, load_on, merge_lora
from dragoman.recipe import Recipe
from dragoman.records import Hypothesis, Utterance

_IDENTIFIED_BY = 3
"""A recording's language is told from so many of its first segments."""


@dataclass(frozen=True)
class Wanted:
    """Targets asked for, and what is spoken; None: to be told, once a recording or once a segment. Words that may be
    said, and terms with their translations."""

    targets: tuple[str, ...]
    source: str | None
    multilingual: bool
    hotwords: tuple[str, ...]
    glossary: Glossary | None

    def request(self, mel: Mel, source: str) -> Request:
        targets = tuple(code for code in self.targets if code != source)
        return Request(mel, source, targets, self.hotwords, self.glossary)


class Translator:
    """Translate recordings of any length into several languages at once.

    >>> translator = Translator.from_pretrained("tiny")
    >>> result = translator.translate("talk.mp3", to=["deu", "fra"])
    >>> result.transcript, result.translations["deu"]
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        beam_size: int | None = None,
        batch_size: int = 16,
        vad_parameters: Mapping[str, float] | None = None,
    ) -> None:
        self.recipe: Recipe = loaded.recipe
        audio, decoding = self.recipe.audio, self.recipe.decoding
        self.features = LogMel(audio.mel_bins, audio.window_s, padded=audio.padding == "window")
        self.decoder = Decoder(loaded, beam_size or decoding.beams, decoding.max_new_tokens, max_rows=4 * batch_size)
        self.identifier = Identifier(self.decoder, self.sources, batch_size)
        self.batch_size = batch_size
        self.vad = vad_options(self.recipe, vad_parameters or {})

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        beam_size: int | None = None,
        batch_size: int = 16,
        vad_parameters: Mapping[str, float] | None = None,
    ) -> Translator:
        """A model folder, a built-in model ("tiny") or a model's name on the Hugging Face hub. `vad_parameters` are
        those of VadOptions that differ from what suits the model. Raises ModelError."""
        loaded = load_on(name, device, dtype)
        merge_lora(loaded.model)
        return cls(loaded, beam_size=beam_size, batch_size=batch_size, vad_parameters=vad_parameters)

    @property
    def sources(self) -> list[str]:
        """Languages it hears, ISO 639-3."""
        return self.recipe.sources

    @property
    def targets(self) -> list[str]:
        """Languages it writes, ISO 639-3."""
        return self.recipe.targets

    def translate(
        self,
        audio: str | Path | bytes,
        to: str | Sequence[str],
        language: str | None = None,
        *,
        multilingual: bool = False,
        hotwords: Sequence[str] = (),
        glossary: Glossary | None = None,
    ) -> Result:
        """Transcribe a recording and translate it into each language of `to`.

        Languages by code or name; "all" is every target of the model. `language` is what is spoken; told from the
        speech when not given, once a recording or, if it is `multilingual`, once a segment. `hotwords` are words that
        may be said and are made likelier in the transcript; the `glossary` says how terms are to be translated. Raises
        AudioError, LanguageError.
        """
        each = self.translate_each(
            [audio], to, language, multilingual=multilingual, hotwords=hotwords, glossary=glossary
        )
        return next(each).get()

    def translate_each(
        self,
        audios: Iterable[str | Path | bytes],
        to: str | Sequence[str],
        language: str | None = None,
        *,
        multilingual: bool = False,
        hotwords: Sequence[str] = (),
        glossary: Glossary | None = None,
    ) -> Iterator[Outcome]:
        """`translate` of one recording after the other; while the model works on one, the next is decoded. One that
        cannot be read does not stop the others: its outcome raises the AudioError."""
        wanted = self.wanted(to, language, multilingual, hotwords, glossary)
        for audio, speech in self._opened(audios):
            yield self._outcome(audio, speech, wanted)

    def stream(
        self,
        audio: str | Path | bytes,
        to: str | Sequence[str],
        language: str | None = None,
        *,
        multilingual: bool = False,
        hotwords: Sequence[str] = (),
        glossary: Glossary | None = None,
    ) -> Iterator[Segment]:
        """`translate`, but each segment as soon as it is there; the next ones are decoded from the file meanwhile.

        >>> for segment in translator.stream("talk.mp4", to=["deu"]):
        ...     print(segment.start_s, segment.transcript, segment.translations["deu"])
        """
        wanted = self.wanted(to, language, multilingual, hotwords, glossary)
        return self._segments(self._speech(audio), wanted)

    def identify(self, waveforms: Sequence[Waveform]) -> dict[str, float]:
        """How likely each language is spoken in all of these, the likeliest first; together 1.

        The likeliest is the one whose greedy transcripts are, to the LLM and (where the model was taught by CTC) to the
        audio tokens alone, per token. waveforms: (N,) at 16 kHz each, within the model's window.
        """
        return self.identifier.together([self.features(waveform) for waveform in waveforms])

    def __call__(self, utterances: Sequence[Utterance], targets: Sequence[str]) -> list[Hypothesis]:
        """The System contract: each utterance into each target that is not its own language, in order. One that is
        longer than the model's window is divided at its pauses and put together again."""
        parts: list[Request] = []
        counts: list[int] = []
        for utterance in utterances:
            source = self.recipe.known_source(utterance.language)
            wanted = tuple(code for code in self.recipe.known_targets(targets) if code != source)
            mels = self._mels(load_audio(utterance.audio, utterance.start_s, utterance.duration_s))
            parts += [Request(mel, source, wanted) for mel in mels]
            counts.append(len(mels))
        decoded = iter(self._decode(parts))
        whole = [list(itertools.islice(decoded, count)) for count in counts]
        return [
            hypothesis(utterance, code, found)
            for utterance, found in zip(utterances, whole, strict=True)
            for code in self.recipe.known_targets(targets)
            if code != utterance.language
        ]

    def _mels(self, waveform: Waveform) -> list[Mel]:
        if len(waveform) <= round(self.recipe.audio.window_s * SAMPLE_RATE):
            return [self.features(waveform)]
        return [self.features(part.samples) for part in segments([waveform], self.vad)]

    def wanted(
        self,
        to: str | Sequence[str],
        language: str | None,
        multilingual: bool,
        hotwords: Sequence[str],
        glossary: Glossary | None,
    ) -> Wanted:
        """What is asked for, checked. Raises LanguageError, ModelError."""
        if multilingual and language is not None:
            raise LanguageError("A multilingual recording has no one language; give `language` or `multilingual`.")
        source = None if language is None else self.recipe.known_source(language)
        if source is None and not self.recipe.writes_speech:
            raise LanguageError(f"{self.recipe.name} cannot tell what is spoken, for it writes no transcript; name it.")
        if (hotwords or glossary) and not self.recipe.writes_speech:
            raise ModelError(
                f"{self.recipe.name} writes no transcript to look for words in; leave hotwords and glossary out."
            )
        return Wanted(self.recipe.known_targets(to, source), source, multilingual, tuple(hotwords), glossary)

    def _speech(self, audio: str | Path | bytes) -> Iterator[Speech]:
        return ahead(segments(stream_audio(audio), self.vad), 2 * self.batch_size)

    def _opened(self, audios: Iterable[str | Path | bytes]) -> Iterator[tuple[str | Path | bytes, Iterator[Speech]]]:
        """Each recording, with the one after it already being decoded."""
        ready: deque[tuple[str | Path | bytes, Iterator[Speech]]] = deque()
        for audio in audios:
            ready.append((audio, self._speech(audio)))
            if len(ready) == 2:
                yield ready.popleft()
        yield from ready

    def _outcome(self, audio: str | Path | bytes, speech: Iterator[Speech], wanted: Wanted) -> Outcome:
        name = "<bytes>" if isinstance(audio, bytes) else str(audio)
        try:
            found = list(self._segments(speech, wanted))
        except AudioError as error:
            return Outcome(name, error=error)
        spoken = {segment.language for segment in found}
        targets = tuple(code for code in wanted.targets if {code} != spoken)
        return Outcome(name, Result(name, targets, found))

    def _segments(self, speech: Iterator[Speech], wanted: Wanted) -> Iterator[Segment]:
        known = None if wanted.source is None else (wanted.source, None)
        if known is None and not wanted.multilingual:
            first = list(itertools.islice(speech, _IDENTIFIED_BY))
            known = next(iter(self.identify([part.samples for part in first]).items())) if first else None
            speech = itertools.chain(first, speech)
        while batch := list(itertools.islice(speech, self.batch_size)):
            mels = [self.features(part.samples) for part in batch]
            spoken = [known] * len(mels) if known else self.identifier.each(mels)
            requests = [wanted.request(mel, language) for mel, (language, _) in zip(mels, spoken, strict=True)]
            for part, told, decoded in zip(batch, spoken, self._decode(requests), strict=True):
                if decoded.transcript or any(found.text for found in decoded.translations.values()):
                    yield segment_of(part, told, decoded)

    def _decode(self, requests: Sequence[Request]) -> list[Decoded]:
        """Neighbours in length share a batch; the order of the result is that of the requests."""
        order = sorted(range(len(requests)), key=lambda number: requests[number].mel.shape[1])
        found: dict[int, Decoded] = {}
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            found.update(zip(chosen, self.decoder([requests[number] for number in chosen]), strict=True))
        return [found[number] for number in range(len(requests))]


def segment_of(part: Speech, told: tuple[str, float | None], decoded: Decoded) -> Segment:
    """Speech in the language `told`, with how likely that is, as it was decoded."""
    language, confidence = told
    outputs = {"transcript": decoded, **decoded.translations}
    return Segment(
        part.start_s,
        part.end_s,
        language,
        decoded.transcript,
        {code: translation.text for code, translation in decoded.translations.items()},
        decoded.score,
        truncated=tuple(name for name, output in outputs.items() if output.truncated),
        looped=tuple(name for name, output in outputs.items() if output.looped),
        off_target=tuple(code for code, found in decoded.translations.items() if is_other(found.text, code)),
        missed={code: found.missed for code, found in decoded.translations.items() if found.missed},
        scores={code: translation.score for code, translation in decoded.translations.items()},
        language_confidence=confidence,
    )


def hypothesis(utterance: Utterance, code: str, parts: Sequence[Decoded]) -> Hypothesis:
    """An utterance's parts, decoded, put together again."""
    translations = [part.translations[code] for part in parts]
    return Hypothesis(
        id=utterance.id,
        source=utterance.language,
        target=code,
        start_s=utterance.start_s,
        end_s=None if utterance.duration_s is None else utterance.start_s + utterance.duration_s,
        transcript=joined((part.transcript for part in parts), utterance.language),
        translation=joined((translation.text for translation in translations), code),
        raw="\n".join(translation.raw for translation in translations),
        truncated=any(part.truncated for part in parts) or any(translation.truncated for translation in translations),
    )
