"""The public class: recordings in, transcripts and translations out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Unpack

from dragoman.data.audio import Waveform
from dragoman.data.features import Features, speech_features
from dragoman.errors import DataError, ModelError
from dragoman.inference.decoding.decoder import BatchDecoder, DecodedSpeech, Decoder, DecodeRequest
from dragoman.inference.decoding.whisper_decoder import WhisperDecoder
from dragoman.inference.language_id import LanguageIdentifier, WhisperLanguageIdentifier
from dragoman.inference.options import LoadKeywords, LoadOptions, TranslateOptions
from dragoman.inference.recordings import Speech, SpeechTranslator
from dragoman.inference.segments import DetectedLanguage
from dragoman.model.build import LoadedModel
from dragoman.model.load import load_for_inference
from dragoman.recipe import Recipe, SmtTranscript, TranslateFrom
from dragoman.records import Utterance
from dragoman.vad import vad_options_for


class Translator(SpeechTranslator):
    """Translate recordings of any length into several languages at once.

    Args:
        loaded: A model, as `load_for_inference` returns it; `from_pretrained` loads it by name.
        options: How it is searched: `beam_size`, `batch_size`, …; where the model is held, `loaded` has decided.
        **more: The fields of `LoadOptions`, in the place of `options`.

    Raises:
        ModelError: The options ask for what the model was not trained to do.

    >>> translator = Translator.from_pretrained("small")
    >>> result = translator.translate("talk.mp3", to=["deu", "fra"])
    >>> result.transcript, result.translations["deu"]
    """

    def __init__(self, loaded: LoadedModel, options: LoadOptions | None = None, **more: Unpack[LoadKeywords]) -> None:
        options = options or LoadOptions(**more)
        self.recipe: Recipe = loaded.recipe
        audio, decoding = self.recipe.audio, self.recipe.decoding
        translate_from = options.translate_from or decoding.translate_from
        self.smt_transcript = options.smt_transcript
        if self.smt_transcript is not None:
            _check_smt(self.recipe, self.smt_transcript, translate_from)
        self.features = speech_features(audio)
        self.name, self.batch_size, self.window_s = self.recipe.name, options.batch_size, audio.window_s
        self.model = loaded.model
        weights = next(self.model.encoder.parameters())
        by_whisper = (options.transcript_by or decoding.transcript_by) == "whisper"
        self.whisper = WhisperDecoder.load(self.recipe, weights.device, weights.dtype) if by_whisper else None
        self.decoder: BatchDecoder = Decoder(
            loaded,
            options.beam_size or decoding.beams,
            decoding.max_new_tokens,
            4 * self.batch_size,
            options.no_repeat_ngram_size,
            whisper=self.whisper,
            translate_from=translate_from,
            smt=self.smt_transcript is not None,
        )
        self.is_cascade = self.decoder.is_cascade
        self.calibration = loaded.calibration
        self.writes_transcripts = self.identifies_language = self.supports_phrases = self.recipe.writes_transcripts
        self.vad = vad_options_for(self.recipe)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, options: LoadOptions | None = None, **more: Unpack[LoadKeywords]
    ) -> Translator:
        """Load a model by its name.

        Args:
            name: A model folder, a built-in model ("tiny", "small"), or a model's name on the Hugging Face hub.
            options: How it is loaded and searched.
            **more: The fields of `LoadOptions` (`device`, `compute_type`, `beam_size`, `batch_size`, …), in the place
                of `options`.

        Raises:
            ModelError: There is no such model, it is incomplete or too large for the memory, or the options ask for
                what it was not trained to do.
        """
        options = options or LoadOptions(**more)
        return cls(load_for_inference(name, options.device, options.compute_type, merged=True), options)

    @cached_property
    def language_whisper(self) -> WhisperDecoder | None:
        """Whisper's own decoder, where it can tell this model's languages apart: one step of it does, for which the LLM
        would have to transcribe in each. Loaded when a language is first asked for."""
        if self.whisper is not None or self.recipe.encoder.lora is not None:
            return self.whisper
        weights = next(self.model.encoder.parameters())
        try:
            whisper = WhisperDecoder.load(self.recipe, weights.device, weights.dtype)
        except ModelError:  # it has no decoder, or one for English alone
            return None
        return whisper if whisper.languages.keys() >= set(self.sources) else None

    @cached_property
    def identifier(self) -> LanguageIdentifier | WhisperLanguageIdentifier:
        """What tells languages."""
        if self.language_whisper is not None:
            return WhisperLanguageIdentifier(self.language_whisper, self.sources, self.batch_size)
        temperature = 1.0 if self.calibration is None else self.calibration.language_temperature
        return LanguageIdentifier(self.decoder, self.sources, self.batch_size, temperature)

    @property
    def sources(self) -> list[str]:
        """Languages it hears, ISO 639-3."""
        return self.recipe.sources

    @property
    def targets(self) -> list[str]:
        """Languages it writes, ISO 639-3."""
        return self.recipe.targets

    def identify(self, waveforms: Sequence[Waveform]) -> dict[str, float]:
        """Detect the language that is spoken in all of these.

        By Whisper's own decoder where it knows all of the model's languages. Otherwise a transcript is written in each
        language, and they are compared by how likely they are, per token, to the LLM and (where the model was trained
        with CTC) to the audio tokens alone.

        Args:
            waveforms: Speech, (N,) float32 mono at 16 kHz each, at most `window_s` seconds of it.

        Returns:
            The probability of each language by ISO 639-3 code, the likeliest first; together they are 1.
        """
        return self.identifier.identify_recording(self._identified(waveforms))

    def _detect_languages(self, waveforms: Sequence[Waveform]) -> list[DetectedLanguage]:
        return list(self.identifier.identify_segments(self._identified(waveforms)))

    def _detect_both(self, waveforms: Sequence[Waveform]) -> tuple[dict[str, float], list[DetectedLanguage]]:
        together, each = self.identifier.identify_both(self._identified(waveforms))
        return together, list(each)

    def _identified(self, waveforms: Sequence[Waveform]) -> list[Features]:
        """What the language is detected from."""
        return (self.language_whisper or self).features.batch(waveforms)

    def _decode_speech(self, speech: Sequence[Speech], options: TranslateOptions) -> Iterable[DecodedSpeech]:
        """Neighbours in length share a batch; the order of the result is that of the speech."""
        order = sorted(range(len(speech)), key=lambda number: len(speech[number].samples))
        found: dict[int, DecodedSpeech] = {}
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            requests = self.requests([speech[number] for number in chosen], options)
            found.update(zip(chosen, self.decoder(requests), strict=True))
        return [found[number] for number in range(len(speech))]

    def _speech_of(self, utterance: Utterance, source: str) -> list[Speech]:
        """With its reference transcript, where speech is translated with that. Raises DataError."""
        found = super()._speech_of(utterance, source)
        if self.smt_transcript != "reference":
            return found
        if len(found) != 1:
            raise DataError(
                f"Utterance {utterance.id!r} is longer than the {self.window_s:g} s that {self.name} hears at once, and"
                " its transcript cannot be divided with it; leave it out, or translate with what the model hears"
                " (--transcript hypothesis)."
            )
        return [replace(found[0], transcript=utterance.text.strip())]

    def request(self, part: Speech, options: TranslateOptions) -> DecodeRequest:
        """What the decoder is asked of a stretch of speech."""
        return self.requests([part], options)[0]

    def requests(self, parts: Sequence[Speech], options: TranslateOptions) -> list[DecodeRequest]:
        """`request` of each; neighbours in length are best together."""
        waveforms = [part.samples for part in parts]
        own = None if self.whisper is None else self.whisper.features.batch(waveforms)
        features = own  # in a cascade the adapter hears nothing
        if features is None or not self.is_cascade:
            features = self.features.batch(waveforms)
        return [
            DecodeRequest(
                features[number],
                part.language,
                tuple(code for code in options.targets if code != part.language),
                options.hotwords,
                options.glossary,
                whisper_mel=None if own is None else own[number],
                transcript=part.transcript,
            )
            for number, part in enumerate(parts)
        ]


def _check_smt(recipe: Recipe, transcript: SmtTranscript, translate_from: TranslateFrom) -> None:
    """Raise ModelError where a model was not taught smt, hears no speech when it translates, or has no transcript to
    translate with."""
    if recipe.stages and not any("smt" in stage.all_tasks for stage in recipe.stages):
        raise ModelError(
            f"{recipe.name} was not trained to translate speech with its transcript (smt); leave --task out."
        )
    if translate_from == "transcript":
        raise ModelError(
            f"{recipe.name} translates the transcript alone; with --task smt, --translate_from has to be speech."
        )
    if transcript == "hypothesis" and not recipe.writes_transcripts:
        raise ModelError(f"{recipe.name} does not write what is said; translate with --transcript reference.")
