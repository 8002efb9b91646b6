"""`dragoman bases` and `dragoman train`: models from recipes. Both go on wherever they stopped."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dragoman.cli.console import hush, say
from dragoman.cli.options import Threads

if TYPE_CHECKING:
    from dragoman.model.checkpoint import LoadedModel
    from dragoman.records import Hypothesis, Utterance


_TOGETHER = 16
_TARGETS = 4


class Part(StrEnum):
    """One base model."""

    tokenizer = "tokenizer"
    llm = "llm"
    encoder = "encoder"


RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A .toml file, or a recipe that Dragoman ships.")]
Data = Annotated[Path, typer.Option(help="The folder of manifests that the recipe's sources name.")]
Bases = Annotated[Path | None, typer.Option(help="Our own base models, where the recipe has some.")]
Checkpoint = Annotated[
    bool,
    typer.Option("--checkpoint_activations", help="Compute each layer twice and keep less of it: slower, less memory."),
]
Compile = Annotated[bool, typer.Option("--compile", help="Compile the model first: slower to start, faster after.")]


def bases(
    recipe: RecipeName,
    data: Data,
    out: Annotated[Path, typer.Option(help="Where the base models are written.")],
    part: Annotated[list[Part] | None, typer.Option(help="Only this one; all by default.")] = None,
    compiled: Compile = False,
    threads: Threads = None,
) -> None:
    """Train a recipe's tokenizer, language model and speech encoder from nothing."""
    from dragoman.recipe import load_recipe

    chosen = load_recipe(recipe)
    from dragoman.bases.build import build_bases
    from dragoman.cli.machine import set_threads

    hush()
    set_threads(threads)
    build_bases(chosen, data, out, tuple(part or Part), compiled)


def train(
    recipe: RecipeName,
    data: Data,
    out: Annotated[Path, typer.Option(help="Where the stages are written.")],
    bases: Bases = None,
    micro_batch: Annotated[int, typer.Option("--micro_batch", min=1, help="Utterances that fit at once.")] = 64,
    micro_tokens: Annotated[
        int | None, typer.Option("--micro_tokens", min=1, help="Tokens, audio and text, that the LLM takes at once.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare batches.")] = 1,
    features: Annotated[
        Path | None, typer.Option(help="What `dragoman encode` stored, to be read in the place of audio.")
    ] = None,
    compiled: Compile = False,
    checkpoint_activations: Checkpoint = False,
    threads: Threads = None,
) -> None:
    """Run the stages of a recipe, one after the other; prints the folder of the finished model."""
    from dragoman.recipe import load_recipe

    chosen = load_recipe(recipe)
    from dragoman.cli.machine import set_threads
    from dragoman.training.curriculum import train_curriculum

    hush()
    set_threads(threads)
    model = train_curriculum(
        chosen,
        data,
        out,
        bases=bases,
        micro_batch=micro_batch,
        micro_tokens=micro_tokens,
        workers=workers,
        compiled=compiled,
        checkpointed=checkpoint_activations,
        features=features,
        translation_scores=translation_scores,
    )
    say(f"{chosen.name} is trained.")
    typer.echo(model)


def translation_scores(loaded: LoadedModel, utterances: Sequence[Utterance]) -> dict[str, float]:
    """BLEU (the mean over directions), WER and the like of a model on utterances that bring their references. Of many
    targets each few utterances go to some, others each time; one without a translation is transcribed."""
    from dragoman.evaluation.score import ALL, score
    from dragoman.inference.text import TextTranslator
    from dragoman.inference.translator import Translator

    taught = loaded.recipe.stages[-1]
    if not taught.all_tasks:
        return {}  # the LLM has not learnt to listen yet
    translator = Translator(loaded, beam_size=1) if taught.hears else TextTranslator(loaded, beam_size=1)
    rows: list[Hypothesis] = []
    for start in range(0, len(utterances), _TOGETHER):
        some = utterances[start : start + _TOGETHER]
        by_id = {utterance.id: utterance for utterance in some}
        known = [code for code in loaded.recipe.targets if any(code in one.translations for one in some)]
        begin = start // _TOGETHER * _TARGETS
        targets = [known[number % len(known)] for number in range(begin, begin + min(_TARGETS, len(known)))]
        translated = [one for one in some if any(code in one.translations for code in targets)]
        found = translator(translated, targets) if translated else []
        if taught.hears and loaded.recipe.writes_speech:
            found += translator([one for one in some if one.text and one not in translated], [])
        rows += [
            row for row in (_referenced(h, by_id[h.id]) for h in found) if row.reference or row.target == row.source
        ]
    if not rows:
        return {}
    return {found.metric: found.value for found in score(rows) if found.direction == ALL}


def _referenced(row: Hypothesis, utterance: Utterance) -> Hypothesis:
    return row.model_copy(
        update={
            "reference": utterance.translations.get(row.target),
            "reference_transcript": utterance.text or None,
        }
    )
