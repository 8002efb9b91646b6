"""Cascades: one model writes what is said, another translates the text. Any `Transcriber` goes with any
`TextTranslator`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from dragoman.data.audio import Waveform
from dragoman.errors import ModelError
from dragoman.inference.decode import Decoded, Translation
from dragoman.inference.recordings import Speech
from dragoman.systems.base import NOTHING, System, into_each
from dragoman.systems.pretrained import Pretrained
from dragoman.systems.texts import ChatTranslator, Nllb, TextTranslator
from dragoman.systems.whisper import Whisper


class Transcriber(Protocol):
    """Speech -> what is said. Whisper and Seamless are such."""

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
    asr: ClassVar[type]
    mt: ClassVar[type]

    def __init__(self, hears: Transcriber, writes: TextTranslator, batch_size: int = 16) -> None:
        self.hears, self.writes = hears, writes
        self.window_s, self.identifies = hears.window_s, hears.identifies
        super().__init__([*hears.parts, writes.part], batch_size)

    @classmethod
    def from_pretrained(
        cls, name: str | None = None, *, device: str | None = None, beam_size: int | None = None, batch_size: int = 16
    ) -> Cascade:
        """`name` is two, with a plus between them: openai/whisper-small+facebook/nllb-200-distilled-600M; one that is
        left out is the usual."""
        heard, plus, written = (name or "+").partition("+")
        if not plus or "+" in written:
            raise ModelError(f"{cls.name} is two models: name them as in {cls.asr.checkpoint}+{cls.mt.checkpoint}.")
        return cls(
            cls.asr.from_pretrained(heard or None, device=device, beam_size=beam_size),
            cls.mt.from_pretrained(written or None, device=device, beam_size=beam_size),
            batch_size,
        )

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


class WhisperNllb(Cascade):
    """As in LLM-SRT's Table 5 and in MCAT, with NLLB-3.3B."""

    name = "whisper+nllb"
    identifies = True
    asr, mt = Whisper, Nllb


class WhisperChat(Cascade):
    """As in LLM-SRT's Tables 3 and 5, there with Qwen2.5 of 3B, 7B and 32B."""

    name = "whisper+chat"
    identifies = True
    asr, mt = Whisper, ChatTranslator
