"""The public class: recordings in, transcripts and translations out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from dragoman.data.audio import SAMPLE_RATE, Waveform, load_audio, stream_audio
from dragoman.data.batching import Mel
from dragoman.data.features import LogMel
from dragoman.errors import ModelError
from dragoman.inference.decode import Decoded, Decoder, Request
from dragoman.inference.segment import Segment as Speech
from dragoman.inference.segment import VadOptions, segments
from dragoman.languages import LANGUAGES
from dragoman.model.checkpoint import LoadedModel, load_model
from dragoman.recipe import Recipe
from dragoman.records import Hypothesis, Utterance

BUILT_IN = Path(__file__).parent.parent / "assets"
_IDENTIFIED_BY = 3
"""A recording's language is told from so many of its first segments."""


@dataclass(frozen=True)
class Segment:
    """One stretch of speech, in seconds from the start of the recording; translations by ISO 639-3 code.

    `score` is the mean log-probability of the transcript's tokens; `truncated` names what was stopped before its end
    ("transcript" or a target's code).
    """

    start_s: float
    end_s: float
    transcript: str
    translations: dict[str, str]
    score: float
    truncated: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """A whole recording; without speech it has no segments."""

    audio: str
    language: str | None
    targets: tuple[str, ...]
    segments: list[Segment] = field(default_factory=list)

    @property
    def transcript(self) -> str:
        return _joined((segment.transcript for segment in self.segments), self.language)

    @property
    def translations(self) -> dict[str, str]:
        return {code: _joined((s.translations.get(code, "") for s in self.segments), code) for code in self.targets}


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
        vad: VadOptions | None = None,
    ) -> None:
        self.recipe: Recipe = loaded.recipe
        audio, decoding = self.recipe.audio, self.recipe.decoding
        self.features = LogMel(audio.mel_bins, audio.window_s, padded=audio.padding == "window")
        self.decoder = Decoder(loaded, beam_size or decoding.beams, decoding.max_new_tokens, max_rows=4 * batch_size)
        self.batch_size = batch_size
        # A model of whole windows is served best by long stretches, one of trimmed clips by single sentences.
        pause_ms = 2000 if audio.padding == "window" else 500
        self.vad = vad or VadOptions(max_speech_duration_s=audio.window_s, min_silence_duration_ms=pause_ms)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        beam_size: int | None = None,
        batch_size: int = 16,
    ) -> Translator:
        """A model folder, a built-in model ("tiny") or a model's name on the Hugging Face hub. Raises ModelError."""
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        default = torch.float32 if chosen.type == "cpu" else torch.bfloat16
        loaded = load_model(locate(name), dtype or default)
        loaded.model.to(chosen)
        return cls(loaded, beam_size=beam_size, batch_size=batch_size)

    @property
    def sources(self) -> list[str]:
        """Languages it hears, ISO 639-3."""
        return self.recipe.sources

    @property
    def targets(self) -> list[str]:
        """Languages it writes, ISO 639-3."""
        return self.recipe.targets

    def translate(self, audio: str | Path | bytes, to: str | Sequence[str], language: str | None = None) -> Result:
        """Transcribe a recording and translate it into each language of `to`; `language` is what is spoken (told from
        the speech when not given). Languages by code or name; "all" is every target of the model. Raises AudioError,
        LanguageError."""
        source = None if language is None else self.recipe.known_source(language)
        wanted = self.recipe.known_targets(to, source)
        speech = segments(stream_audio(audio), self.vad)
        first = list(itertools.islice(speech, _IDENTIFIED_BY))
        if source is None:
            source = self.identify([part.samples for part in first]) if first else None
        targets = tuple(code for code in wanted if code != source)
        found = [] if source is None else list(self._segments(itertools.chain(first, speech), source, targets))
        return Result("<bytes>" if isinstance(audio, bytes) else str(audio), source, targets, found)

    def identify(self, waveforms: Sequence[Waveform]) -> str:
        """The language spoken: the one whose transcripts are likeliest, to the LLM and (where the model was taught by
        CTC) to the audio tokens alone, per token. waveforms: (N,) at 16 kHz each, within the model's window.

        On the built-in model, 92 % of 160 held-out clips of 1 to 4 s; by the LLM's probability alone 72 %.
        """
        mels = [self.features(waveform) for waveform in waveforms]
        requests = [Request(mel, code, ()) for code in self.sources for mel in mels]
        scores = [decoded.score + decoded.ctc_score for decoded in self._decode(requests)]
        totals = {code: sum(scores[n * len(mels) : (n + 1) * len(mels)]) for n, code in enumerate(self.sources)}
        return max(totals, key=totals.__getitem__)

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
            _hypothesis(utterance, code, found)
            for utterance, found in zip(utterances, whole, strict=True)
            for code in self.recipe.known_targets(targets)
            if code != utterance.language
        ]

    def _mels(self, waveform: Waveform) -> list[Mel]:
        if len(waveform) <= round(self.recipe.audio.window_s * SAMPLE_RATE):
            return [self.features(waveform)]
        return [self.features(part.samples) for part in segments([waveform], self.vad)]

    def _segments(self, speech: Iterator[Speech], source: str, targets: tuple[str, ...]) -> Iterator[Segment]:
        while batch := list(itertools.islice(speech, self.batch_size)):
            requests = [Request(self.features(part.samples), source, targets) for part in batch]
            for part, decoded in zip(batch, self._decode(requests), strict=True):
                if decoded.transcript:
                    yield _segment(part, decoded)

    def _decode(self, requests: Sequence[Request]) -> list[Decoded]:
        """Neighbours in length share a batch; the order of the result is that of the requests."""
        order = sorted(range(len(requests)), key=lambda number: requests[number].mel.shape[1])
        found: dict[int, Decoded] = {}
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            found.update(zip(chosen, self.decoder([requests[number] for number in chosen]), strict=True))
        return [found[number] for number in range(len(requests))]


def locate(name: str | Path) -> Path:
    """The folder of a model: its path, one that Dragoman ships, or a copy from the Hugging Face hub."""
    if Path(name).is_dir():
        return Path(name)
    if (BUILT_IN / str(name) / "recipe.json").is_file():
        return BUILT_IN / str(name)
    if str(name).count("/") != 1 or str(name).startswith((".", "/")):
        raise ModelError(
            f"There is no model {str(name)!r}: give a model folder, 'tiny', or a name on the hub (owner/name)."
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(name)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ModelError(
            f"The model {str(name)!r} cannot be downloaded from the Hugging Face hub: check name and network."
        ) from error


def _segment(part: Speech, decoded: Decoded) -> Segment:
    cut = ["transcript"] if decoded.truncated else []
    cut += [code for code, translation in decoded.translations.items() if translation.truncated]
    texts = {code: translation.text for code, translation in decoded.translations.items()}
    return Segment(part.start_s, part.end_s, decoded.transcript, texts, decoded.score, tuple(cut))


def _hypothesis(utterance: Utterance, code: str, parts: Sequence[Decoded]) -> Hypothesis:
    translations = [part.translations[code] for part in parts]
    return Hypothesis(
        id=utterance.id,
        source=utterance.language,
        target=code,
        start_s=utterance.start_s,
        end_s=None if utterance.duration_s is None else utterance.start_s + utterance.duration_s,
        transcript=_joined((part.transcript for part in parts), utterance.language),
        translation=_joined((translation.text for translation in translations), code),
        raw="\n".join(translation.raw for translation in translations),
        truncated=any(part.truncated for part in parts) or any(translation.truncated for translation in translations),
    )


def _joined(texts: Iterable[str], code: str | None) -> str:
    spaced = code is None or LANGUAGES[code].uses_spaces
    return (" " if spaced else "").join(text for text in texts if text)
