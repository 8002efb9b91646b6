"""The model card: what the model is, how good it is, how that was measured, its data and licences. Markdown."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from statistics import fmean

from dragoman.errors import DataError
from dragoman.evaluation.report.matrix import by_source, by_target, in_order
from dragoman.evaluation.report.tables import Cell, Table, named_averages
from dragoman.evaluation.runs import ScoredRun, text_run
from dragoman.model.calibration import read_calibration
from dragoman.recipe import Recipe, read_stored_recipe
from dragoman.text.languages import LANGUAGES

_MOST_ROWS = 210  # of directions; beyond LLM-SRT's 15 x 14 a card shows means per language

_HUB = ("apache-2.0", "mit", "cc-by-2.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0")  # its names


def card(runs: Sequence[ScoredRun], folder: Path) -> str:
    """The card of the model in `folder`, from runs of it: one that hears, and its `--text` run if there is one.

    Raises DataError when not exactly one run hears, or a run is of a model by another name.
    """
    recipe = read_stored_recipe(folder / "recipe.json")
    heard = [run for run in runs if not run.reads_text]
    if len(heard) != 1:
        raise DataError(f"A card is about one run from speech (and its --text run), but {len(heard)} are named.")
    run = heard[0]
    for other in runs:
        if other.system.partition(" ")[0] != recipe.name:
            raise DataError(
                f"{other.name} is a run of {other.system.partition(' ')[0] or 'something published'!r}, not of"
                f" {recipe.name!r}; name its model with --model."
            )
    sets = named_averages([run])
    parts = [
        _front_matter(recipe),
        f"# {recipe.name}\n\n{recipe.about}",
        _what(recipe) + " " + _trust(folder),
        "## How good it is\n\n" + _measured(run) + "\n\n" + results(run, text_run(run, runs)).markdown(),
        f"Over the papers' sets of directions:\n\n{sets.markdown()}" if sets.rows else "",
        "Signatures:\n\n" + "".join(f"- `{signature}`\n" for signature in run.signatures()),
        _data(recipe, folder),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def results(run: ScoredRun, text: ScoredRun | None) -> Table:
    """A row per direction (or per language, when there are very many or none) and the means; word errors are those of
    the source. With the `--text` run, the first metric also from text, which is the ceiling."""
    if len(run.directions) > _MOST_ROWS:
        return _by_language(run)
    metrics, errors = run.quality_metrics, run.errors()
    if not run.directions:
        each: list[list[Cell]] = [[code, errors[code]] for code in in_order(errors)]
        return Table(
            ["from", "word errors, %"], [*each, ["mean", fmean(errors.values()) if errors else None]], digits=1
        )
    first = metrics[0] if metrics else ""
    ceilings = text.values(first) if text else {}
    columns = [(f"{first} from text", ceilings)] if ceilings else []
    columns += [(f"{metric} from speech", run.values(metric)) for metric in metrics]
    rows: list[list[Cell]] = []
    for direction in run.directions:
        source, target = direction.split("-")
        rows.append([source, errors.get(source), target, *(values.get(direction) for _, values in columns)])
    means: list[Cell] = [fmean(values.values()) for _, values in columns]
    if ceilings:
        ceiling, speech = fmean(ceilings.values()), fmean(run.values(first).values())
        means[1] = f"{speech:.1f} ({speech / ceiling:.0%} of text)" if ceiling else speech
    rows.append(["mean", fmean(errors.values()) if errors else None, "", *means])
    return Table(["from", "word errors, %", "to", *(name for name, _ in columns)], rows, digits=1)


def _by_language(run: ScoredRun) -> Table:
    """The means of each language as a source and as a target."""
    errors = run.errors()
    ends = [(metric, end(run.values(metric))) for metric in run.quality_metrics for end in (by_source, by_target)]
    header = [f"{metric} {way}" for (metric, _), way in zip(ends, cycle(("from it", "into it")), strict=False)]
    codes = in_order({code for _, means in ends for code in means})
    rows = [[code, LANGUAGES[code].name, errors.get(code), *(means.get(code) for _, means in ends)] for code in codes]
    return Table(["code", "language", "word errors, %", *header], rows, digits=1)


def _front_matter(recipe: Recipe) -> str:
    """What the Hugging Face hub reads: licence, languages, task."""
    languages = [LANGUAGES[code].iso1 or code for code in in_order({*recipe.sources, *recipe.targets})]
    licence = recipe.licence.lower()
    known = [f"license: {licence}"] if licence in _HUB else ["license: other", f"license_name: {licence}"]
    lines = ["---", *known, "language:", *(f"- '{code}'" for code in languages)]
    return "\n".join([*lines, "pipeline_tag: automatic-speech-recognition", "tags:", "- speech-translation", "---"])


def _what(recipe: Recipe) -> str:
    sources = ", ".join(LANGUAGES[code].name for code in in_order(recipe.sources))
    targets = ", ".join(LANGUAGES[code].name for code in in_order(recipe.targets))
    heard = f"It hears {sources}; it writes {targets}." if sources != targets else f"It hears and writes {sources}."
    lora = recipe.llm.lora
    return (
        f"{heard} Speech encoder: {_name(recipe.encoder.name)}. Adapter: {recipe.adapter.kind}. Language model:"
        f" {_name(recipe.llm.name)}{f', LoRA of rank {lora.rank}' if lora else ''}. Audio is heard in windows of"
        f" {recipe.audio.window_s:g} s."
    )


def _trust(folder: Path) -> str:
    """What its confidence is worth."""
    fitted = read_calibration(folder)
    if fitted is None:
        return "Its confidence is not calibrated."
    return (
        f"Its confidence is calibrated ({fitted.about}): transcripts below {fitted.low_transcript:g} and translations"
        f" below {fitted.low_translation:g} are more likely wrong than right."
    )


def _measured(run: ScoredRun) -> str:
    utterances = sum(score.count for m in ("WER", "CER") for score in run.scores.get(m, {}).values())
    sizes = [[s.count for d, s in run.scores[metric].items() if "-" in d] for metric in run.translation_metrics]
    hypotheses = max(map(sum, sizes), default=0)
    counted = [f"{utterances:,} recordings"] * bool(utterances) + [f"{hypotheses:,} translations"] * bool(hypotheses)
    return (
        f"Measured on {', '.join(counted)} ({run.system}; one reference). Word errors are character"
        " errors for languages written without spaces. Means count each direction, or source language, once."
        f"{_invented(run)}"
    )


def _invented(run: ScoredRun) -> str:
    """What it wrote where nothing is said, if that was asked."""
    found = run.scores.get("hallucinated", {}).values()
    if not found:
        return ""
    wrong, silent = sum(round(score.value) for score in found), sum(score.count for score in found)
    return f" Where nothing is said (silence, noise, music) it wrote something in {wrong} of {silent} outputs."


def _data(recipe: Recipe, folder: Path) -> str:
    """Trained on what, stage by stage; the credits that lie in the folder; the licence of the weights."""
    stages: list[list[Cell]] = [
        [
            stage.name,
            " and ".join(sorted(stage.all_tasks)) or "ctc",
            ", ".join(source.name for source in stage.data),
            stage.schedule.steps or f"{stage.schedule.epochs} {'epoch' if stage.schedule.epochs == 1 else 'epochs'}",
        ]
        for stage in recipe.stages
    ]
    table = Table(["stage", "tasks", "data", "steps"], stages).markdown() if stages else ""
    credits = "".join(f"- [{path.name}]({path.name}): {_credit(path)}\n" for path in sorted(folder.glob("CREDITS*")))
    return f"## Data and licence\n\n{table}\n{credits}\nLicence of the weights: {recipe.licence}."


def _credit(path: Path) -> str:
    """The first line of a text; of a table the licences that it names."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if path.suffix != ".tsv":
        return lines[0] if lines else ""
    rows = csv.DictReader(lines, delimiter="\t")
    return "; ".join(dict.fromkeys(row.get("licence") or "no licence named" for row in rows))


def _name(model: str) -> str:
    return "its own, trained from scratch" if model == "base" else model
