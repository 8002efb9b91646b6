"""What `dragoman evaluate` evaluates: a model of ours, its LLM alone, or another system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dragoman.cli.options import Wanted, checked, only_for_ours, prepared
from dragoman.errors import DataError
from dragoman.files import digest_of_weights
from dragoman.languages import LANGUAGES, known_source, known_targets

if TYPE_CHECKING:
    from dragoman.evaluation.generate import Translate
    from dragoman.evaluation.runs import Account
    from dragoman.records import Utterance


@dataclass(frozen=True)
class Options:
    """How to translate, whatever does."""

    wanted: Wanted
    beam_size: int | None
    batch_size: int
    device: str | None
    compute_type: str
    threads: int | None


@dataclass(frozen=True)
class Candidate:
    """What is evaluated, ready to be called."""

    name: str
    """Tells it from others: weights and options."""
    model: str
    targets: tuple[str, ...]
    translate: Translate
    parameters: int
    hardware: str

    def account(self, hypotheses: int, seconds: float) -> Account:
        from dragoman.evaluation.runs import Account

        return Account(
            model=self.model,
            parameters=self.parameters,
            hypotheses=hypotheses,
            seconds=round(seconds, 3),
            hardware=self.hardware,
        )


def chosen(
    system: str | None, model: str | None, text: bool, utterances: Sequence[Utterance], options: Options
) -> Candidate:
    """Our own `model`, with `text` its LLM alone; or another `system`. Raises DragomanError."""
    if system is None:
        folder = checked(model or "tiny", options.wanted, options.device, options.threads)
        return _ours(folder, text, options)
    if text:
        raise DataError("--text is for our own models; leave out --system or --text.")
    only_for_ours(options.compute_type)
    prepared(options.device, options.threads)
    return _other(system, model, utterances, options)


def _ours(folder: Path, text: bool, options: Options) -> Candidate:
    """The model, or its LLM alone on the reference transcripts."""
    from dragoman.cli.machine import hardware
    from dragoman.inference.text import TextTranslator
    from dragoman.inference.translator import Translator
    from dragoman.recipe import read_stored_recipe

    recipe = read_stored_recipe(folder / "recipe.json")
    beams, size, device, held = options.beam_size, options.batch_size, options.device, options.compute_type
    how = ("text, " if text else "") + f"beams {beams or recipe.decoding.beams}"
    translate: Translate
    if text:
        translate = TextTranslator.from_pretrained(
            folder, device=device, compute_type=held, beam_size=beams, batch_size=size
        )
        works = translate.llm
    else:
        translate = Translator.from_pretrained(
            folder, device=device, compute_type=held, beam_size=beams, batch_size=size
        )
        works = translate.decoder.model
    how += "" if held == "auto" else f", {held}"
    return Candidate(
        f"{recipe.name} {digest_of_weights(folder)}, {how}",
        recipe.name,
        recipe.known_targets(options.wanted.to),
        translate,
        sum(parameter.numel() for parameter in works.parameters()),
        hardware(str(next(works.parameters()).device)),
    )


def _other(name: str, model: str | None, utterances: Sequence[Utterance], options: Options) -> Candidate:
    """One of SYSTEMS. A language that it does not speak is told before anything is translated."""
    from dragoman.cli.machine import hardware
    from dragoman.systems import find_system

    system = find_system(name).from_pretrained(
        model, device=options.device, beam_size=options.beam_size, batch_size=options.batch_size
    )
    for language in dict.fromkeys(utterance.language for utterance in utterances):
        known_source(language, system.sources, name)
    to = options.wanted.to
    if to == ("all",) and system.targets is LANGUAGES:
        to = tuple(dict.fromkeys(code for row in utterances for code in (row.language, *row.translations)))
    return Candidate(
        f"{name}: {system.identity}",
        name if model is None else f"{name} {model}",
        known_targets(to, system.targets, name),
        system,
        sum(part.num_parameters for part in system.parts),
        hardware(str(system.parts[0].model.device)),
    )
