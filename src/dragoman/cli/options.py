"""What several verbs ask for: a model, languages, a machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dragoman.cli.console import say, silence_libraries
from dragoman.errors import DataError, ModelError
from dragoman.recipe import TranscriptBy, TranslateFrom

if TYPE_CHECKING:
    from dragoman.inference.options import LoadOptions, TranslateOptions
    from dragoman.recipe import Recipe

ModelOption = Annotated[
    str | None,
    typer.Option(
        help="A model folder, a built-in model, or a name on the Hugging Face hub; $DRAGOMAN_MODEL or small by default."
    ),
]
ModelOrSystemsOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="A model folder, a built-in model, or a name on the Hugging Face hub, or with --system one of that; "
        "$DRAGOMAN_MODEL, or small, or the system's own, by default.",
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
EngineOption = Annotated[
    Literal["torch", "vllm"],
    typer.Option("--engine", help="What runs our models: torch, or vLLM where it is installed."),
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
        "--compute_type",
        help="Type of the weights: auto, float32, bfloat16, float16; for our models also int8 or 4bit.",
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
        help="Our models: no n tokens twice, instead of the guard against loops; the papers use 5; 0: no guard.",
    ),
]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads; all by default.")]
VadThresholdOption = Annotated[float | None, typer.Option("--vad_threshold", help="Speech begins at this probability.")]
VadMinSpeechOption = Annotated[
    int | None,
    typer.Option("--vad_min_speech_duration_ms", help="Speech shorter than this, between two pauses, is ignored."),
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
    int | None, typer.Option("--vad_speech_pad_ms", help="Silence that a segment keeps before and after its speech.")
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


def read_targets(to: Sequence[str]) -> TranslateOptions:
    """Targets alone, for a verb whose speech is in the languages that a manifest says. Raises LanguageError."""
    from dragoman.inference.options import TranslateOptions

    return TranslateOptions.parse(to)


@dataclass(frozen=True)
class TranslateFlags:
    """What is wanted of recordings, flag by flag."""

    to: ToOption
    language: LanguageOption = None
    audio_track: AudioTrackOption = None
    hotwords: HotwordsOption = None
    glossary: GlossaryOption = None
    vad_threshold: VadThresholdOption = None
    vad_min_speech_duration_ms: VadMinSpeechOption = None
    vad_max_speech_duration_s: VadMaxSpeechOption = None
    vad_min_silence_duration_ms: VadMinSilenceOption = None
    vad_speech_pad_ms: VadSpeechPadOption = None

    def read(self, *, multilingual: bool = False) -> TranslateOptions:
        """Check what can be checked without a model. Raises LanguageError, DataError."""
        from dragoman.inference.options import TranslateOptions

        options = TranslateOptions.parse(
            self.to,
            self.language,
            multilingual=multilingual,
            hotwords=[word.strip() for word in (self.hotwords or "").split(",") if word.strip()],
            audio_track=self.audio_track,
            vad_parameters=self._vad_parameters(),
        )
        if self.glossary is None:
            return options
        if options.only_transcripts:
            raise DataError("--glossary: with --to none nothing is translated; name a target, or leave it out.")
        from dragoman.inference.decoding.glossary import Glossary

        return replace(options, glossary=Glossary.read(self.glossary))

    def _vad_parameters(self) -> dict[str, float]:
        """Those that are given, by the names of VadOptions."""
        prefix = "vad_"
        found = {one.name: getattr(self, one.name) for one in fields(self) if one.name.startswith(prefix)}
        return {name.removeprefix(prefix): value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class LoadFlags:
    """How to translate, whatever does."""

    beam_size: BeamSizeOption = None
    device: DeviceOption = None
    compute_type: ComputeTypeOption = "auto"
    threads: ThreadsOption = None
    transcript_by: TranscriptByOption = None
    translate_from: TranslateFromOption = None
    no_repeat_ngram_size: Ngrams = None

    def read(self) -> LoadOptions:
        from dragoman.inference.options import LoadOptions

        given = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "threads"}
        return LoadOptions(**given)


@dataclass(frozen=True)
class BatchedLoadFlags(LoadFlags):
    """As LoadFlags, and how much at once."""

    batch_size: BatchSizeOption = 16


_OURS = ("transcript_by", "translate_from", "no_repeat_ngram_size", "smt_transcript")
_FLAGS = {"smt_transcript": "task smt"}
"""Where a flag has another name."""


def for_external_system(load: LoadOptions) -> dict[str, Any]:
    """What `from_pretrained` of external systems takes. Raises ModelError for options of our own models."""
    for name in _OURS:
        if getattr(load, name) is not None:
            raise ModelError(f"--{_FLAGS.get(name, name)} is for our own models; leave it or --system out.")
    return {name: value for name, value in asdict(load).items() if name not in _OURS}


def check_model(recipe: Recipe, options: TranslateOptions) -> None:
    """Raise LanguageError for what the model does not speak, ModelError for what it does not write."""
    source = None if options.language is None else recipe.known_source(options.language)
    recipe.known_targets(options.to, source)
    if options.only_transcripts:
        from dragoman.inference.recordings import check_writes_transcripts

        check_writes_transcripts(recipe)


def chosen_model(model: str | None) -> str:
    """What is named, or the default."""
    return model or os.environ.get("DRAGOMAN_MODEL") or "small"


def resolve_model(model: str | None, options: TranslateOptions, device: str | None, threads: int | None) -> Path:
    """The model's folder. The recipe comes first, so that a wrong language is reported before the weights are read."""
    from dragoman.cli.fetch import fetch_bases
    from dragoman.model.hub import BUILT_IN
    from dragoman.model.load import model_folder
    from dragoman.recipe import read_stored_recipe

    silence_libraries()
    folder = model_folder(chosen_model(model))
    recipe = read_stored_recipe(folder / "recipe.json")
    check_model(recipe, options)
    if folder.parent == BUILT_IN:
        say(f"{recipe.name}: {recipe.about} Name a model of your own, or one on the Hugging Face hub, with --model.")
    prepare_device(device, threads)
    fetch_bases(recipe)
    return folder


def prepare_device(device: str | None, threads: int | None) -> None:
    """Quiet the libraries, check that the device is there, set the number of threads. Raises DragomanError."""
    from dragoman.cli.devices import check_device, set_threads

    silence_libraries()
    set_threads(threads)
    check_device(None if device == "auto" else device)  # which devices, is seen when a model is loaded
