"""What `dragoman evaluate` evaluates: a model of ours, its LLM alone, or another system."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dragoman.cli.options import How, Wanted, checked, prepared
from dragoman.errors import DataError
from dragoman.files import digest_of_weights
from dragoman.text.languages import LANGUAGES, known_targets

if TYPE_CHECKING:
    from dragoman.evaluation.generate import Translate
    from dragoman.evaluation.runs import Account
    from dragoman.records import Utterance


@dataclass(frozen=True)
class Candidate:
    """What is evaluated, ready to be called."""

    name: str
    """Tells it from others: weights and options."""
    model: str
    sources: Collection[str]
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
    system: str | None, model: str | None, text: bool, utterances: Sequence[Utterance], wanted: Wanted, how: How
) -> Candidate:
    """Our own `model`, with `text` its LLM alone; or another `system`. Raises DragomanError."""
    if text and wanted.only_transcripts:
        raise DataError("--text translates what was said; name a target instead of none.")
    if system is None:
        return _ours(checked(model or "tiny", wanted, how.device, how.threads), text, wanted, how)
    if text:
        raise DataError("--text is for our own models; leave out --system or --text.")
    how.told_others()
    prepared(how.device, how.threads)
    return _other(system, model, utterances, wanted, how)


def _ours(folder: Path, text: bool, wanted: Wanted, how: How) -> Candidate:
    """The model, or its LLM alone on the reference transcripts."""
    from dragoman.cli.devices import hardware
    from dragoman.inference.text_translator import TextTranslator
    from dragoman.inference.translator import Translator
    from dragoman.recipe import read_stored_recipe

    recipe = read_stored_recipe(folder / "recipe.json")
    translate: Translate
    if text:
        translate = TextTranslator.from_pretrained(folder, **how.told_text())
        works = translate.llm
    else:
        translate = Translator.from_pretrained(folder, **how.told())
        works = translate.decoder.model
    by, what = how.transcript_by or recipe.decoding.transcript_by, how.translate_from or recipe.decoding.translate_from
    road = "text, " if text else "" if (by, what) == ("adapter", "speech") else f"{by} to {what}, "
    beams = f"{road}beams {how.beam_size or recipe.decoding.beams}"
    beams += "" if how.no_repeat_ngram_size is None else f", no_repeat_ngram_size {how.no_repeat_ngram_size}"
    return Candidate(
        f"{recipe.name} {digest_of_weights(folder)}, {beams}{_held(how)}",
        recipe.name,
        recipe.sources,
        recipe.known_targets(wanted.to),
        translate,
        sum(parameter.numel() for parameter in works.parameters()),
        hardware(str(next(works.parameters()).device)),
    )


def _other(name: str, model: str | None, utterances: Sequence[Utterance], wanted: Wanted, how: How) -> Candidate:
    """One of SYSTEMS."""
    from dragoman.cli.devices import hardware
    from dragoman.inference.recordings import check_writes
    from dragoman.systems import find_system

    if wanted.only_transcripts:
        check_writes(find_system(name))
    system = find_system(name).from_pretrained(model, **how.told_others())
    to = wanted.to
    if to == ("all",) and system.targets is LANGUAGES:
        to = tuple(dict.fromkeys(code for row in utterances for code in (row.language, *row.translations)))
    return Candidate(
        f"{name}: {system.identity}{_held(how)}",
        name if model is None else f"{name} {model}",
        system.sources,
        known_targets(to, system.targets, name),
        system,
        sum(part.num_parameters for part in system.parts),
        hardware(str(system.parts[0].model.device)),
    )


def _held(how: How) -> str:
    return "" if how.compute_type == "auto" else f", {how.compute_type}"
