"""Cascades: one model writes what is said, another translates the text. Any `Transcriber` goes with any
`MachineTranslator`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from dragoman.data.audio import Waveform
from dragoman.errors import ModelError
from dragoman.inference.decoding.decoder import DecodedSpeech, Translation
from dragoman.inference.recordings import Speech
from dragoman.systems.base import EMPTY_TRANSLATION, System, translate_into_each
from dragoman.systems.machine_translation import MachineTranslator
from dragoman.systems.pretrained import PretrainedModel


class Transcriber(Protocol):
    """Speech -> what is said. Whisper, Seamless and Voxtral are such."""

    @property
    def parts(self) -> tuple[PretrainedModel, ...]: ...

    @property
    def sources(self) -> list[str]: ...

    @property
    def window_s(self) -> float: ...

    @property
    def identifies_language(self) -> bool: ...

    def language_scores(self, waveforms: Sequence[Waveform]) -> npt.NDArray[np.float64]: ...

    def transcribe(self, speech: Sequence[Speech]) -> list[Translation]: ...


class Cascade(System):
    """Its transcripts are the recogniser's. What is cut short stays marked: a translation of half a transcript too."""

    name = "cascade"
    writes_transcripts = True
    asr: ClassVar[Any]
    mt: ClassVar[type[MachineTranslator]]

    def __init__(self, asr_model: Transcriber, mt_model: MachineTranslator, batch_size: int = 16) -> None:
        self.asr_model, self.mt_model = asr_model, mt_model
        self.window_s, self.identifies_language = asr_model.window_s, asr_model.identifies_language
        super().__init__([*asr_model.parts, mt_model.part], batch_size)

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
        """`name` is two, with a plus between them: openai/whisper-small+facebook/nllb-200-distilled-600M; one that is
        left out is the usual."""
        pairs = _pairs(name or "+")
        if len(pairs) != 1:
            usual = f"{cls.asr.checkpoint.name}+{cls.mt.checkpoint.name}"
            raise ModelError(f"{cls.name} is two models: name them as in {usual}.")
        ((heard, written),) = pairs
        asr_model = cls.asr.from_pretrained(
            heard or None, device=device, compute_type=compute_type, beam_size=beam_size, batch_size=batch_size
        )
        mt_model = cls.mt.from_pretrained(
            written or None, device=device, compute_type=compute_type, beam_size=beam_size
        )
        return cls(asr_model, mt_model, batch_size)

    @property
    def sources(self) -> list[str]:
        written = self.mt_model.languages
        return [code for code in self.asr_model.sources if code in written]

    @property
    def targets(self) -> Collection[str]:
        return self.mt_model.languages

    def language_scores(self, waveforms: Sequence[Waveform]) -> npt.NDArray[np.float64]:
        """The recogniser's, of the languages that the translator knows too."""
        written = self.mt_model.languages
        both = [at for at, code in enumerate(self.asr_model.sources) if code in written]
        return self.asr_model.language_scores(waveforms)[:, both]

    def decode(self, speech: Sequence[Speech], targets: Sequence[str]) -> list[DecodedSpeech]:
        transcripts = self.asr_model.transcribe(speech)

        def translate(rows: list[int], target: str) -> list[Translation]:
            said = [number for number in rows if transcripts[number].text]  # the rest is silence
            texts = [(transcripts[number].text, speech[number].language) for number in said]
            found = dict(zip(said, self.mt_model.translate(texts, target) if texts else [], strict=True))
            return [found.get(number, EMPTY_TRANSLATION) for number in rows]

        return translate_into_each(speech, targets, transcripts, translate)


def cascade(asr: Any, mt: type[MachineTranslator]) -> type[Cascade]:
    """Of two kinds, as a system of its own."""
    about = {"name": f"{asr.name}+{mt.name}", "asr": asr, "mt": mt, "identifies_language": asr.identifies_language}
    return type(f"{asr.__name__}{mt.__name__}", (Cascade,), about)


def _pairs(name: str) -> list[tuple[str, str]]:
    """The two that a plus may stand between; one in a folder's own name does not."""
    pairs = [(name[:at], name[at + 1 :]) for at, sign in enumerate(name) if sign == "+"]
    return [pair for pair in pairs if all("+" not in part or Path(part).is_dir() for part in pair)]
