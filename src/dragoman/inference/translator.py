"""The public class: recordings in, transcripts and translations out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dragoman.data.audio import Waveform
from dragoman.data.features import Features, speech_features
from dragoman.inference.decoding.decoder import DecodedSpeech, Decoder, DecodeRequest
from dragoman.inference.decoding.whisper_decoder import WhisperDecoder
from dragoman.inference.language_id import LanguageIdentifier, WhisperLanguageIdentifier
from dragoman.inference.recordings import DetectedLanguage, Speech, SpeechTranslator, TranslateOptions
from dragoman.model.build import LoadedModel
from dragoman.model.load import load_for_inference
from dragoman.recipe import Recipe, TranscriptBy, TranslateFrom
from dragoman.vad import vad_options_for


class Translator(SpeechTranslator):
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
        transcript_by: TranscriptBy | None = None,
        translate_from: TranslateFrom | None = None,
        no_repeat_ngram_size: int | None = None,
    ) -> None:
        self.recipe: Recipe = loaded.recipe
        audio, decoding = self.recipe.audio, self.recipe.decoding
        self.features = speech_features(audio)
        weights = next(loaded.model.encoder.parameters())
        by_whisper = (transcript_by or decoding.transcript_by) == "whisper"
        self.whisper = WhisperDecoder.load(self.recipe, weights.device, weights.dtype) if by_whisper else None
        self.decoder = Decoder(
            loaded,
            beam_size or decoding.beams,
            decoding.max_new_tokens,
            4 * batch_size,
            no_repeat_ngram_size,
            whisper=self.whisper,
            translate_from=translate_from or decoding.translate_from,
        )
        self.calibration = loaded.calibration
        temperature = 1.0 if loaded.calibration is None else loaded.calibration.language_temperature
        self.identifier: LanguageIdentifier | WhisperLanguageIdentifier = LanguageIdentifier(
            self.decoder, self.sources, batch_size, temperature
        )
        if self.whisper is not None:
            self.identifier = WhisperLanguageIdentifier(self.whisper, self.sources, batch_size)
        self.name, self.batch_size, self.window_s = self.recipe.name, batch_size, audio.window_s
        self.writes_transcripts = self.identifies_language = self.supports_phrases = self.recipe.writes_transcripts
        self.vad = vad_options_for(self.recipe).varied(vad_parameters or {}, self.name)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        device: str | None = None,
        compute_type: str = "auto",
        beam_size: int | None = None,
        batch_size: int = 16,
        vad_parameters: Mapping[str, float] | None = None,
        transcript_by: TranscriptBy | None = None,
        translate_from: TranslateFrom | None = None,
        no_repeat_ngram_size: int | None = None,
    ) -> Translator:
        """A model folder, a built-in model ("tiny") or a model's name on the Hugging Face hub. `device` "auto" spreads
        the LLM over GPUs, RAM and disk; `compute_type` is how it is held: float32, bfloat16, float16, int8, 4bit or
        auto. `vad_parameters` are those of VadOptions that differ from what suits the model. `transcript_by` and
        `translate_from` say who writes the transcript and what is translated, see recipe.Decoding; the model's own by
        default. `no_repeat_ngram_size`: as for a Decoder. Raises ModelError."""
        loaded = load_for_inference(name, device, compute_type, merged=True)
        return cls(
            loaded,
            beam_size=beam_size,
            batch_size=batch_size,
            vad_parameters=vad_parameters,
            transcript_by=transcript_by,
            translate_from=translate_from,
            no_repeat_ngram_size=no_repeat_ngram_size,
        )

    @property
    def sources(self) -> list[str]:
        """Languages it hears, ISO 639-3."""
        return self.recipe.sources

    @property
    def targets(self) -> list[str]:
        """Languages it writes, ISO 639-3."""
        return self.recipe.targets

    def identify(self, waveforms: Sequence[Waveform]) -> dict[str, float]:
        """How likely each language is spoken in all of these, the likeliest first; together 1.

        By Whisper's own decoder where that writes the transcripts; else the likeliest is the one whose transcripts are,
        to the LLM and (where the model was taught by CTC) to the audio tokens alone, per token. waveforms: (N,) at
        16 kHz each, within the model's window.
        """
        return self.identifier.identify_recording(self._identified(waveforms))

    def _detect_languages(self, waveforms: Sequence[Waveform]) -> list[DetectedLanguage]:
        return list(self.identifier.identify_segments(self._identified(waveforms)))

    def _identified(self, waveforms: Sequence[Waveform]) -> list[Features]:
        """What the language is detected from."""
        features = self.features if self.whisper is None else self.whisper.features
        return [features(waveform) for waveform in waveforms]

    def _decode_speech(self, speech: Sequence[Speech], options: TranslateOptions) -> list[DecodedSpeech]:
        """Neighbours in length share a batch; the order of the result is that of the speech."""
        requests = [self.request(part, options) for part in speech]
        order = sorted(range(len(requests)), key=lambda number: requests[number].features.shape[1])
        found: dict[int, DecodedSpeech] = {}
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            found.update(zip(chosen, self.decoder([requests[number] for number in chosen]), strict=True))
        return [found[number] for number in range(len(requests))]

    def request(self, part: Speech, options: TranslateOptions) -> DecodeRequest:
        """What the decoder is asked of a stretch of speech."""
        targets = tuple(code for code in options.targets if code != part.language)
        whisper_mel = None if self.whisper is None else self.whisper.features(part.samples)
        features = self.features(part.samples)
        return DecodeRequest(
            features, part.language, targets, options.hotwords, options.glossary, whisper_mel=whisper_mel
        )
