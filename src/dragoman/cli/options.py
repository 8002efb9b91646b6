"""What several verbs ask for: a model, languages, a machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dragoman.cli.console import say, silence_libraries
from dragoman.errors import DataError, LanguageError, ModelError
from dragoman.recipe import TranscriptBy, TranslateFrom
from dragoman.text.languages import all_or_none, expand, find

if TYPE_CHECKING:
    from dragoman.inference.decoding.glossary import Glossary
    from dragoman.recipe import Recipe

ModelOption = Annotated[str, typer.Option(help="A model folder, a built-in model, or a name on the Hugging Face hub.")]
OptionalModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="A model folder, a built-in model, or a name on the Hugging Face hub; tiny, or the system's own.",
    ),
]
SystemOption = Annotated[
    str | None,
    typer.Option(
        "--system", help="Another system instead of ours, such as whisper or seamless-m4t-v2-large; --model says which."
    ),
]
ToOption = Annotated[
    list[str],
    typer.Option("--to", help="Target: de, deu or German; several with commas; or all; or none: a transcript alone."),
]
LanguageOption = Annotated[str | None, typer.Option(help="What is spoken; detected from the speech by default.")]
AudioTrackOption = Annotated[
    int | None,
    typer.Option(
        "--audio_track",
        min=1,
        help="The audio track to hear, from 1; else the one tagged with --language, the default one, the first.",
    ),
]
BeamSizeOption = Annotated[
    int | None, typer.Option("--beam_size", min=1, help="1 is greedy; the model's own by default.")
]
BatchSizeOption = Annotated[int, typer.Option("--batch_size", min=1, help="Stretches of speech decoded at once.")]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        help="cpu, cuda, …; cuda by default where there is one. auto, for our models: the LLM over GPUs, RAM and disk."
    ),
]
ComputeTypeOption = Annotated[
    str,
    typer.Option(
        "--compute_type", help="How a model is held: auto, float32, bfloat16, float16; ours also int8 or 4bit."
    ),
]
TranscriptByOption = Annotated[
    TranscriptBy | None,
    typer.Option(
        "--transcript_by",
        help="Who writes the transcript: the LLM by the adapter, or Whisper's own decoder; the model says by default.",
    ),
]
TranslateFromOption = Annotated[
    TranslateFrom | None,
    typer.Option(
        "--translate_from",
        help="Translate the speech with the transcript at hand, or the transcript alone; the model says by default.",
    ),
]
Ngrams = Annotated[
    int | None,
    typer.Option(
        "--no_repeat_ngram_size",
        min=0,
        help="Of ours: no n tokens twice, in the place of the guard against loops; the papers have 5; 0: no guard.",
    ),
]
Engine = Literal["torch", "vllm"]
EngineOption = Annotated[Engine, typer.Option(help="What runs our models: torch, or vLLM where that is installed.")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads; all by default.")]
VadThresholdOption = Annotated[float | None, typer.Option("--vad_threshold", help="Speech begins at this probability.")]
VadMinSpeechOption = Annotated[
    int | None, typer.Option("--vad_min_speech_duration_ms", help="Less speech than this between two pauses is none.")
]
VadMaxSpeechOption = Annotated[
    float | None, typer.Option("--vad_max_speech_duration_s", help="The longest segment; the model's window at most.")
]
VadMinSilenceOption = Annotated[
    int | None,
    typer.Option(
        "--vad_min_silence_duration_ms", help="A pause of this length ends a segment; --vad_speech_pad_ms at least."
    ),
]
VadSpeechPadOption = Annotated[
    int | None, typer.Option("--vad_speech_pad_ms", help="What a segment keeps around its speech.")
]
HotwordsOption = Annotated[
    str | None, typer.Option(help="Words and names that may be said, with commas: likelier in the transcript.")
]
GlossaryOption = Annotated[
    Path | None,
    typer.Option(
        "--glossary", help="A CSV file of term,translation and if wanted source,target: what to write for it."
    ),
]


@dataclass(frozen=True)
class LanguageFlags:
    """The languages asked for; they are known, but not yet compared with a model's."""

    to: tuple[str, ...]
    source: str | None

    @classmethod
    def read(cls, to: Sequence[str], language: str | None) -> LanguageFlags:
        """Check what can be checked without a model. Raises LanguageError."""
        source = None if language is None else find(language).code
        if word := all_or_none(to):
            return cls((word,), source)
        codes = expand(to)
        if not codes:
            raise LanguageError("No target language is given; name at least one, as in --to deu.")
        if source in codes:
            raise LanguageError(f"Source and target are both {source!r}; name a target that differs from the speech.")
        return cls(codes, source)

    @property
    def only_transcripts(self) -> bool:
        return self.to == ("none",)

    def check(self, recipe: Recipe) -> None:
        """Raise LanguageError for what the model does not speak, ModelError for what it does not write."""
        source = None if self.source is None else recipe.known_source(self.source)
        recipe.known_targets(self.to, source)
        if self.only_transcripts:
            from dragoman.inference.recordings import check_writes_transcripts

            check_writes_transcripts(recipe)


_OURS = ("transcript_by", "translate_from", "no_repeat_ngram_size")


@dataclass(frozen=True)
class LoadOptions:
    """How to translate, whatever does: by the flags of these names."""

    beam_size: int | None
    batch_size: int
    device: str | None
    compute_type: str
    threads: int | None
    transcript_by: TranscriptBy | None = None
    translate_from: TranslateFrom | None = None
    no_repeat_ngram_size: int | None = None
    engine: Engine = "torch"

    def for_own_model(self) -> dict[str, Any]:
        """What `from_pretrained` of our own models takes."""
        return {name: value for name, value in asdict(self).items() if name not in ("threads", "engine")}

    def for_vllm(self) -> dict[str, Any]:
        """What `VllmTranslator.from_pretrained` takes. Raises ModelError for what vLLM does not do here."""
        if self.beam_size not in (None, 1):
            raise ModelError("vLLM is greedy here; leave --beam_size or --engine out.")
        for name in ("device", "no_repeat_ngram_size"):
            if getattr(self, name) is not None:
                raise ModelError(f"--{name} is not for vLLM, which knows its device and holds loops; leave it out.")
        names = ("batch_size", "compute_type", "transcript_by", "translate_from")
        return {name: getattr(self, name) for name in names}

    def for_llm_alone(self) -> dict[str, Any]:
        """What `from_pretrained` of the LLM alone takes."""
        return {name: value for name, value in self.for_own_model().items() if name not in _OURS}

    def for_external_system(self) -> dict[str, Any]:
        """What `from_pretrained` of external systems takes. Raises ModelError for options of our own models."""
        for name in _OURS:
            if getattr(self, name) is not None:
                raise ModelError(f"--{name} is for our own models; leave it or --system out.")
        if self.engine != "torch":
            raise ModelError("--engine is for our own models; leave it or --system out.")
        return self.for_llm_alone()


@dataclass(frozen=True)
class PhraseFlags:
    """What is known of the words before anything is heard."""

    hotwords: tuple[str, ...]
    glossary: Glossary | None

    @classmethod
    def read(cls, hotwords: str | None, glossary: Path | None, languages: LanguageFlags) -> PhraseFlags:
        """Raises DataError."""
        if glossary is not None and languages.only_transcripts:
            raise DataError("--glossary: with --to none nothing is translated; name a target, or leave it out.")
        from dragoman.inference.decoding.glossary import Glossary

        words = tuple(word.strip() for word in (hotwords or "").split(",") if word.strip())
        return cls(words, None if glossary is None else Glossary.read(glossary))


def resolve_model(model: str, languages: LanguageFlags, device: str | None, threads: int | None) -> Path:
    """The model's folder. The recipe comes first, so that a wrong language is reported before the weights are read."""
    from dragoman.cli.fetch import fetch_bases
    from dragoman.model.hub import BUILT_IN
    from dragoman.model.load import model_folder
    from dragoman.recipe import read_stored_recipe

    silence_libraries()
    folder = model_folder(model)
    recipe = read_stored_recipe(folder / "recipe.json")
    languages.check(recipe)
    if folder.parent == BUILT_IN:
        say(f"{recipe.name}: {recipe.about} Name a model of your own, or one on the Hugging Face hub, with --model.")
    prepare_device(device, threads)
    fetch_bases(recipe)
    return folder


def prepare_device(device: str | None, threads: int | None) -> None:
    """Quiet libraries, a device that is there, this many threads. Raises DragomanError."""
    from dragoman.cli.devices import check_device, set_threads

    silence_libraries()
    set_threads(threads)
    check_device(None if device == "auto" else device)  # which devices, is seen when a model is loaded
