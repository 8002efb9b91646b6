"""The door that other systems stand behind: they are called as our Translator is, with recordings or with utterances.

A system brings what it hears, what it writes, and how it translates stretches of speech that fit its window; dividing
long recordings, batches, order and rows are the same for all. Shapes: N samples at 16 kHz.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from dragoman.data.audio import Waveform
from dragoman.errors import LanguageError
from dragoman.inference.decoding.decoder import DecodedSpeech, Translation
from dragoman.inference.options import TranslateOptions
from dragoman.inference.recordings import Speech, SpeechTranslator
from dragoman.inference.segments import DetectedLanguage
from dragoman.systems.pretrained import CheckpointSpec, PretrainedModel
from dragoman.vad import VadOptions

_PAUSE_MS = 2000
"""As our own models of whole windows are given long recordings: long stretches, divided where nobody speaks."""
EMPTY_TRANSLATION = Translation("", "", False)


class System(SpeechTranslator):
    """A system to translate and to compare with. `parts` are the checkpoints that it is made of."""

    name: str
    """Its key in SYSTEMS."""
    window_s: float = 30.0
    writes_transcripts = identifies_language = supports_phrases = False

    def __init__(self, parts: Sequence[PretrainedModel], batch_size: int = 16) -> None:
        self.parts, self.batch_size = tuple(parts), batch_size
        self.vad = VadOptions(max_speech_duration_s=self.window_s, min_silence_duration_ms=_PAUSE_MS)

    @classmethod
    @abstractmethod
    def from_pretrained(
        cls,
        name: str | None = None,
        *,
        device: str | None = None,
        compute_type: str = "auto",
        beam_size: int | None = None,
        batch_size: int = 16,
    ) -> Self:
        """A system, ready to translate.

        Args:
            name: A checkpoint's folder or its name on the hub; the system's usual one by default.
            device: Torch's name of one; by default CUDA where there is one.
            compute_type: float32, bfloat16, float16 or auto.
            beam_size: 1 is greedy; the system's usual one by default.
            batch_size: Stretches of speech at once.

        Raises:
            ModelError: There is no such checkpoint, or it is another kind's, or too large.
        """

    @abstractmethod
    def decode(self, speech: Sequence[Speech], targets: Sequence[str]) -> list[DecodedSpeech]:
        """A batch into each target that is not its own language; the transcript is empty where a system writes none."""

    def language_scores(self, waveforms: Sequence[Waveform]) -> npt.NDArray[np.float64]:
        """Log-probability that each of `sources` is spoken, (waveforms, sources); of a system that
        `identifies_language`."""
        raise LanguageError(f"{self.name} cannot detect what is spoken; name it.")

    def identify(self, waveforms: Sequence[Waveform]) -> dict[str, float]:
        return self._spoken(self.language_scores(waveforms).sum(axis=0))

    @property
    def identity(self) -> str:
        """Tells it from others: weights and beams."""
        return ", ".join(f"{part.name} {part.identity} beams {part.beams}" for part in self.parts)

    def _detect_languages(self, waveforms: Sequence[Waveform]) -> list[DetectedLanguage]:
        return [next(iter(self._spoken(row).items())) for row in self.language_scores(waveforms)]

    def _detect_both(self, waveforms: Sequence[Waveform]) -> tuple[dict[str, float], list[DetectedLanguage]]:
        scores = self.language_scores(waveforms)
        return self._spoken(scores.sum(axis=0)), [next(iter(self._spoken(row).items())) for row in scores]

    def _spoken(self, scores: npt.NDArray[np.float64]) -> dict[str, float]:
        """Log-probabilities (sources,) -> shares of 1, the likeliest first."""
        shares = np.exp(scores - np.logaddexp.reduce(scores)).tolist()
        return dict(sorted(zip(self.sources, shares, strict=True), key=lambda item: -item[1]))

    def _decode_speech(self, speech: Sequence[Speech], options: TranslateOptions) -> list[DecodedSpeech]:
        """Neighbours in length share a batch; the order of the result is that of the speech."""
        order = sorted(range(len(speech)), key=lambda number: len(speech[number].samples))
        found: dict[int, DecodedSpeech] = {}
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            decoded = self.decode([speech[number] for number in chosen], options.targets)
            found.update(zip(chosen, decoded, strict=True))
        return [found[number] for number in range(len(speech))]


class SingleCheckpointSystem(System):
    """A system that is one checkpoint, its `part`."""

    checkpoint: ClassVar[CheckpointSpec]

    def __init__(self, part: PretrainedModel, batch_size: int = 16) -> None:
        super().__init__([part], batch_size)
        self.part = part

    @classmethod
    def from_pretrained(
        cls,
        name: str | None = None,
        *,
        device: str | None = None,
        compute_type: str = "auto",
        beam_size: int | None = None,
        batch_size: int = 16,
    ) -> Self:
        return cls(cls.checkpoint.load(name, device, compute_type, beam_size), batch_size)


def translate_into_each(
    speech: Sequence[Speech],
    targets: Sequence[str],
    transcripts: Sequence[Translation],
    translate: Callable[[list[int], str], list[Translation]],
) -> list[DecodedSpeech]:
    """One target after the other, by `translate`, which is given numbers of `speech` and a language that none of it is
    in."""
    found: list[dict[str, Translation]] = [{} for _ in speech]
    for code in targets:
        rows = [number for number, part in enumerate(speech) if part.language != code]
        for number, translation in zip(rows, translate(rows, code) if rows else [], strict=True):
            found[number][code] = translation
    return [
        DecodedSpeech(transcript.text, translations, transcript.truncated)
        for transcript, translations in zip(transcripts, found, strict=True)
    ]
