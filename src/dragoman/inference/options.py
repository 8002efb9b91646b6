"""What is asked of a translator: how it is loaded, and what is wanted of recordings. What people type is read here,
once; behind it languages are codes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from dragoman.errors import LanguageError
from dragoman.inference.decoding.glossary import Glossary
from dragoman.recipe import SmtTranscript, TranscriptBy, TranslateFrom
from dragoman.text.languages import asked_targets, find


@dataclass(frozen=True)
class LoadOptions:
    """How a model is loaded and searched.

    `device` is torch's name of one (CUDA where there is one by default), or "auto": the LLM over GPUs, RAM and disk.
    `compute_type` is how it is held: float32, bfloat16, float16, int8, 4bit or auto. `beam_size` 1 is greedy, None the
    model's own; `batch_size` stretches of speech are decoded at once. `transcript_by` and `translate_from` say who
    writes the transcript and what is translated, see recipe.DecodingConfig; the model's own by default. With
    `no_repeat_ngram_size` no n tokens are written twice, in the place of the guard against loops; 0: no guard.
    With `smt_transcript` speech is translated by the task smt, beside the transcript that the model writes (hypothesis)
    or that an utterance brings (reference).
    """

    device: str | None = None
    compute_type: str = "auto"
    beam_size: int | None = None
    batch_size: int = 16
    transcript_by: TranscriptBy | None = None
    translate_from: TranslateFrom | None = None
    no_repeat_ngram_size: int | None = None
    smt_transcript: SmtTranscript | None = None


class LoadKeywords(TypedDict, total=False):
    """The fields of LoadOptions as keywords."""

    device: str | None
    compute_type: str
    beam_size: int | None
    batch_size: int
    transcript_by: TranscriptBy | None
    translate_from: TranslateFrom | None
    no_repeat_ngram_size: int | None
    smt_transcript: SmtTranscript | None


@dataclass(frozen=True)
class TranslateOptions:
    """What is wanted of recordings, languages by ISO 639-3 code.

    `to` are the targets; () is a transcript and no more, None every language that the translator writes. `language` is
    what is spoken; None: detected from the speech, once a recording or, if it is `multilingual`, once a segment.
    `hotwords` are words that may be said and are made likelier in the transcript; the `glossary` says how terms are to
    be translated. `audio_track` (from 1) says which to hear of several; None: the likeliest. `vad_parameters` are those
    of VadOptions that differ from what suits the model.
    """

    to: tuple[str, ...] | None
    language: str | None = None
    multilingual: bool = False
    hotwords: tuple[str, ...] = ()
    glossary: Glossary | None = None
    audio_track: int | None = None
    vad_parameters: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def parse(
        cls,
        to: str | Sequence[str],
        language: str | None = None,
        *,
        multilingual: bool = False,
        hotwords: Sequence[str] = (),
        glossary: Glossary | None = None,
        audio_track: int | None = None,
        vad_parameters: Mapping[str, float] | None = None,
    ) -> TranslateOptions:
        """Languages by code or name, "all" or "none". Checks what can be checked without a model; raises
        LanguageError."""
        source, targets = None if language is None else find(language).code, asked_targets(to)
        if source is not None and source in (targets or ()):
            raise LanguageError(f"Source and target are both {source!r}; name a target that differs from the speech.")
        if glossary is not None and targets == ():
            raise LanguageError("A glossary is for translations; name a target instead of none.")
        if multilingual and source is not None:
            raise LanguageError("A multilingual recording has no one language; give `language` or `multilingual`.")
        return cls(targets, source, multilingual, tuple(hotwords), glossary, audio_track, vad_parameters or {})

    @property
    def only_transcripts(self) -> bool:
        return self.to == ()

    @property
    def targets(self) -> tuple[str, ...]:
        """What is written, once a translator has put its own languages in the place of None."""
        assert self.to is not None, "SpeechTranslator.checked says which"
        return self.to


class TranslateKeywords(TypedDict, total=False):
    """What TranslateOptions.parse takes beside the languages."""

    multilingual: bool
    hotwords: Sequence[str]
    glossary: Glossary | None
    audio_track: int | None
    vad_parameters: Mapping[str, float] | None
