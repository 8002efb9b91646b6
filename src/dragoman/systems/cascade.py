"""Cascades: one model writes what is said, another translates the text. Any `Transcriber` goes with any
`TextTranslator`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from dragoman.data.audio import Waveform
from dragoman.errors import ModelError
from dragoman.inference.decoding.decoder import Decoded, Translation
from dragoman.inference.recordings import Speech
from dragoman.systems.base import NOTHING, System, into_each
from dragoman.systems.pretrained import Pretrained
from dragoman.systems.texts import TextTranslator


class Transcriber(Protocol):
    """Speech -> what is said. Whisper, Seamless and Voxtral are such."""

    @property
    def parts(self) -> tuple[Pretrained, ...]: ...

    @property
    def sources(self) -> list[str]: ...

    @property
    def window_s(self) -> float: ...

    @property
    def identifies(self) -> bool: ...

    def language_scores(self, waveforms: Sequence[Waveform]) -> npt.NDArray[np.float64]: ...

    def transcribe(self, speech: Sequence[Speech]) -> list[Translation]: ...


class Cascade(System):
    """Its transcripts are the recogniser's. What is cut short stays marked: a translation of half a transcript too."""

    name = "cascade"
    writes_speech = True
    asr: ClassVar[Any]
    mt: ClassVar[type[TextTranslator]]

    def __init__(self, hears: Transcriber, writes: TextTranslator, batch_size: int = 16) -> None:
        self.hears, self.writes = hears, writes
        self.window_s, self.identifies = hears.window_s, hears.identifies
        super().__init__([*hears.parts, writes.part], batch_size)

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
        hears = cls.asr.from_pretrained(
            heard or None, device=device, compute_type=compute_type, beam_size=beam_size, batch_size=batch_size
        )
        writes = cls.mt.from_pretrained(written or None, device=device, compute_type=compute_type, beam_size=beam_size)
        return cls(hears, writes, batch_size)

    @property
    def sources(self) -> list[str]:
        written = self.writes.languages
        return [code for code in self.hears.sources if code in written]

    @property
    def targets(self) -> Collection[str]:
        return self.writes.languages

    def language_scores(self, waveforms: Sequence[Waveform]) -> npt.NDArray[np.float64]:
        """The recogniser's, of the languages that the translator knows too."""
        written = self.writes.languages
        both = [at for at, code in enumerate(self.hears.sources) if code in written]
        return self.hears.language_scores(waveforms)[:, both]

    def decode(self, speech: Sequence[Speech], targets: Sequence[str]) -> list[Decoded]:
        transcripts = self.hears.transcribe(speech)

        def translate(rows: list[int], target: str) -> list[Translation]:
            said = [number for number in rows if transcripts[number].text]  # the rest is silence
            texts = [(transcripts[number].text, speech[number].language) for number in said]
            found = dict(zip(said, self.writes.translate(texts, target) if texts else [], strict=True))
            return [found.get(number, NOTHING) for number in rows]

        return into_each(speech, targets, transcripts, translate)


def cascade(asr: Any, mt: type[TextTranslator]) -> type[Cascade]:
    """Of two kinds, as a system of its own."""
    about = {"name": f"{asr.name}+{mt.name}", "asr": asr, "mt": mt, "identifies": asr.identifies}
    return type(f"{asr.__name__}{mt.__name__}", (Cascade,), about)


def _pairs(name: str) -> list[tuple[str, str]]:
    """The two that a plus may stand between; one in a folder's own name does not."""
    pairs = [(name[:at], name[at + 1 :]) for at, sign in enumerate(name) if sign == "+"]
    return [pair for pair in pairs if all("+" not in part or Path(part).is_dir() for part in pair)]
