"""What `dragoman evaluate` evaluates: one of our own models, its LLM alone, or another system."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dragoman.cli.options import LanguageFlags, LoadOptions, prepare_device, resolve_model
from dragoman.errors import DataError
from dragoman.files import digest_of_weights
from dragoman.text.languages import LANGUAGES, known_targets

if TYPE_CHECKING:
    from dragoman.evaluation.generate import Translate
    from dragoman.evaluation.runs import RunStats
    from dragoman.records import Utterance


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
    system: str | None,
    model: str | None,
    text: bool,
    utterances: Sequence[Utterance],
    languages: LanguageFlags,
    load: LoadOptions,
) -> EvaluatedSystem:
    """Our own `model`, with `text` its LLM alone; or another `system`. Raises DragomanError."""
    if text and languages.only_transcripts:
        raise DataError("--text translates what was said; name a target instead of none.")
    if system is None:
        return _own(resolve_model(model or "tiny", languages, load.device, load.threads), text, languages, load)
    if text:
        raise DataError("--text is for our own models; leave out --system or --text.")
    load.for_external_system()
    prepare_device(load.device, load.threads)
    return _external(system, model, utterances, languages, load)


def _own(folder: Path, text: bool, languages: LanguageFlags, load: LoadOptions) -> EvaluatedSystem:
    """The model, or its LLM alone on the reference transcripts."""
    from dragoman.cli.devices import hardware
    from dragoman.inference.text_translator import TextTranslator
    from dragoman.inference.translator import Translator
    from dragoman.recipe import read_stored_recipe

    recipe = read_stored_recipe(folder / "recipe.json")
    translate: Translate
    if load.engine == "vllm":
        return _by_vllm(folder, text, languages, load)
    if text:
        translate = TextTranslator.from_pretrained(folder, **load.for_llm_alone())
        works = translate.llm
    else:
        translate = Translator.from_pretrained(folder, **load.for_own_model())
        works = translate.decoder.model
    by, what = (
        load.transcript_by or recipe.decoding.transcript_by,
        load.translate_from or recipe.decoding.translate_from,
    )
    road = "text, " if text else "" if (by, what) == ("adapter", "speech") else f"{by} to {what}, "
    beams = f"{road}beams {load.beam_size or recipe.decoding.beams}"
    beams += "" if load.no_repeat_ngram_size is None else f", no_repeat_ngram_size {load.no_repeat_ngram_size}"
    return EvaluatedSystem(
        f"{recipe.name} {digest_of_weights(folder)}, {beams}{_held(load)}",
        recipe.name,
        recipe.sources,
        recipe.known_targets(languages.to),
        translate,
        sum(parameter.numel() for parameter in works.parameters()),
        hardware(str(next(works.parameters()).device)),
    )


def _by_vllm(folder: Path, text: bool, languages: LanguageFlags, load: LoadOptions) -> EvaluatedSystem:
    """The model, exported to vLLM."""
    import torch

    from dragoman.cli.devices import hardware
    from dragoman.engines.vllm.translator import VllmTranslator
    from dragoman.model.build import skeleton

    if text:
        raise DataError("--text is not for vLLM; leave it or --engine out.")
    translate = VllmTranslator.from_pretrained(folder, **load.for_vllm())
    recipe = translate.recipe
    road = f"{'whisper' if translate.whisper else 'adapter'} to {translate.translate_from}"
    return EvaluatedSystem(
        f"{recipe.name} {digest_of_weights(folder)}, vllm, {road}, beams 1{_held(load)}",
        recipe.name,
        recipe.sources,
        recipe.known_targets(languages.to),
        translate,
        sum(parameter.numel() for parameter in skeleton(recipe, folder).parameters()),
        hardware("cuda" if torch.cuda.is_available() else "cpu"),
    )


def _external(
    name: str, model: str | None, utterances: Sequence[Utterance], languages: LanguageFlags, load: LoadOptions
) -> EvaluatedSystem:
    """One of SYSTEMS."""
    from dragoman.cli.devices import hardware
    from dragoman.inference.recordings import check_writes_transcripts
    from dragoman.systems import find_system

    if languages.only_transcripts:
        check_writes_transcripts(find_system(name))
    system = find_system(name).from_pretrained(model, **load.for_external_system())
    to = languages.to
    if to == ("all",) and system.targets is LANGUAGES:
        to = tuple(dict.fromkeys(code for row in utterances for code in (row.language, *row.translations)))
    return EvaluatedSystem(
        f"{name}: {system.identity}{_held(load)}",
        name if model is None else f"{name} {model}",
        system.sources,
        known_targets(to, system.targets, name),
        system,
        sum(part.num_parameters for part in system.parts),
        hardware(str(system.parts[0].model.device)),
    )


def _held(load: LoadOptions) -> str:
    return "" if load.compute_type == "auto" else f", {load.compute_type}"
