"""What `dragoman evaluate` evaluates: one of our own models, its LLM alone, or another system."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dragoman.cli.options import (
    EngineOption,
    ModelOrSystemsOption,
    SystemOption,
    for_external_system,
    prepare_device,
    resolve_model,
)
from dragoman.errors import DataError
from dragoman.files import digest_of_weights
from dragoman.recipe import SmtTranscript, TranslateFrom
from dragoman.text.languages import LANGUAGES, known_targets

if TYPE_CHECKING:
    from dragoman.evaluation.generate import Translate
    from dragoman.evaluation.runs import RunStats
    from dragoman.inference.options import LoadOptions, TranslateOptions
    from dragoman.records import Utterance


TaskOption = Annotated[
    Literal["smt"] | None,
    typer.Option(
        "--task", help="smt: translate the speech together with its --transcript; by default as the model usually does."
    ),
]
TranscriptOption = Annotated[
    SmtTranscript | None,
    typer.Option("--transcript", help="For --task smt: the manifest's (reference), or the model's own (hypothesis)."),
]
TextOption = Annotated[bool, typer.Option("--text", help="Translate the reference transcripts, without speech.")]


@dataclass(frozen=True)
class SystemFlags:
    """What is evaluated, and what runs it."""

    model: ModelOrSystemsOption = None
    system: SystemOption = None
    engine: EngineOption = "torch"
    text: TextOption = False

    def check(self) -> None:
        """Raise DataError for what only one of our own models can do, or only by torch."""
        if self.system is not None and self.text:
            raise DataError("--text is for our own models; leave out --system or --text.")
        if self.system is not None and self.engine != "torch":
            raise DataError("--engine is for our own models; leave it or --system out.")
        if self.text and self.engine != "torch":
            raise DataError("--text is not for vLLM; leave it or --engine out.")


@dataclass(frozen=True)
class SmtFlags:
    """Whether speech is translated by the task smt, and with which transcript."""

    task: TaskOption = None
    transcript: TranscriptOption = None

    def read(self, translate_from: TranslateFrom | None) -> SmtTranscript | None:
        """The transcript that is translated with, None without the task. Raises DataError."""
        if self.task is None and self.transcript is not None:
            raise DataError("--transcript goes with --task smt; add that, or leave it out.")
        if self.task is not None and self.transcript is None:
            raise DataError(
                "--task smt needs --transcript: reference (the manifest's) or hypothesis (the model's own)."
            )
        if self.task is not None and translate_from == "transcript":
            raise DataError("--task smt hears the speech too; leave it or --translate_from transcript out.")
        return self.transcript


@dataclass(frozen=True)
class EvaluatedSystem:
    """What is evaluated, ready to be called."""

    name: str
    """Tells it from others: weights and options."""
    model: str
    sources: Collection[str]
    targets: tuple[str, ...]
    translate: Translate
    parameters: int
    hardware: str

    def run_stats(self, hypotheses: int, seconds: float) -> RunStats:
        from dragoman.evaluation.runs import RunStats

        return RunStats(
            model=self.model,
            parameters=self.parameters,
            hypotheses=hypotheses,
            seconds=round(seconds, 3),
            hardware=self.hardware,
        )


def choose_system(
    chosen: SystemFlags,
    utterances: Sequence[Utterance],
    options: TranslateOptions,
    load: LoadOptions,
    threads: int | None,
) -> EvaluatedSystem:
    """One of our own models, its LLM alone, or another system. Raises DragomanError."""
    chosen.check()
    if chosen.text and options.only_transcripts:
        raise DataError("--text translates what was said; name a target instead of none.")
    if load.smt_transcript is not None and (chosen.text or options.only_transcripts):
        other = "--text" if chosen.text else "--to none"
        raise DataError(f"--task smt translates speech with its transcript; leave it or {other} out.")
    if chosen.system is None:
        folder = resolve_model(chosen.model, options, load.device, threads)
        if chosen.engine == "vllm":
            return _by_vllm(folder, options, load)
        return _own(folder, chosen.text, utterances, options, load)
    for_external_system(load)
    prepare_device(load.device, threads)
    return _external(chosen.system, chosen.model, utterances, options, load)


def _check_transcripts(utterances: Sequence[Utterance], sources: Collection[str]) -> None:
    """Raise DataError where --transcript reference has none to take."""
    lacking = [one.id for one in utterances if one.language in sources and not (one.text.strip() or one.is_speechless)]
    if lacking:
        raise DataError(
            f"--transcript reference: {len(lacking)} utterances have no transcript ({lacking[0]!r} first); add their"
            " text, leave them out, or use --transcript hypothesis."
        )


def _own(
    folder: Path, text: bool, utterances: Sequence[Utterance], options: TranslateOptions, load: LoadOptions
) -> EvaluatedSystem:
    """The model, or its LLM alone on the reference transcripts."""
    from dragoman.cli.devices import hardware
    from dragoman.inference.text_translator import TextTranslator
    from dragoman.inference.translator import Translator
    from dragoman.recipe import read_stored_recipe

    recipe = read_stored_recipe(folder / "recipe.json")
    if load.smt_transcript == "reference":
        _check_transcripts(utterances, recipe.sources)
    translate: Translate
    if text:
        translate = TextTranslator.from_pretrained(folder, load)
        works = translate.llm
    else:
        translate = Translator.from_pretrained(folder, load)
        works = translate.model
    by, what = (
        load.transcript_by or recipe.decoding.transcript_by,
        load.translate_from or recipe.decoding.translate_from,
    )
    road = "text, " if text else "" if (by, what) == ("adapter", "speech") else f"{by} to {what}, "
    if load.smt_transcript is not None:
        road = f"smt by {load.smt_transcript}, {road}"
    beams = f"{road}beams {load.beam_size or recipe.decoding.beams}"
    beams += "" if load.no_repeat_ngram_size is None else f", no_repeat_ngram_size {load.no_repeat_ngram_size}"
    return EvaluatedSystem(
        f"{recipe.name} {digest_of_weights(folder)}, {beams}{_compute_type(load)}",
        recipe.name,
        recipe.sources,
        recipe.known_targets(options.to),
        translate,
        sum(parameter.numel() for parameter in works.parameters()),
        hardware(str(next(works.parameters()).device)),
    )


def _by_vllm(folder: Path, options: TranslateOptions, load: LoadOptions) -> EvaluatedSystem:
    """The model, exported to vLLM."""
    import torch

    from dragoman.cli.devices import hardware
    from dragoman.engines.vllm.translator import VllmTranslator
    from dragoman.model.build import skeleton

    translate = VllmTranslator.from_pretrained(folder, load)
    recipe = translate.recipe
    road = f"{'whisper' if translate.whisper else 'adapter'} to {translate.decoder.translate_from}"
    return EvaluatedSystem(
        f"{recipe.name} {digest_of_weights(folder)}, vllm, {road}, beams 1{_compute_type(load)}",
        recipe.name,
        recipe.sources,
        recipe.known_targets(options.to),
        translate,
        sum(parameter.numel() for parameter in skeleton(recipe, folder).parameters()),
        hardware("cuda" if torch.cuda.is_available() else "cpu"),
    )


def _external(
    name: str, model: str | None, utterances: Sequence[Utterance], options: TranslateOptions, load: LoadOptions
) -> EvaluatedSystem:
    """One of SYSTEMS."""
    from dragoman.cli.devices import hardware
    from dragoman.inference.recordings import check_writes_transcripts
    from dragoman.systems import find_system

    if options.only_transcripts:
        check_writes_transcripts(find_system(name))
    system = find_system(name).from_pretrained(model, **for_external_system(load))
    to = options.to
    if to is None and system.targets is LANGUAGES:
        to = tuple(dict.fromkeys(code for row in utterances for code in (row.language, *row.translations)))
    return EvaluatedSystem(
        f"{name}: {system.identity}{_compute_type(load)}",
        name if model is None else f"{name} {model}",
        system.sources,
        known_targets(to, system.targets, name),
        system,
        sum(part.num_parameters for part in system.parts),
        hardware(str(system.parts[0].model.device)),
    )


def _compute_type(load: LoadOptions) -> str:
    return "" if load.compute_type == "auto" else f", {load.compute_type}"
