"""What makes `small` as good as it is: short runs of equal length that differ in one thing each.

    run=out/small
    python runs/small_studies.py curriculum lora --run $run/run --data $run/data --features $run/frames \\
        --speech DATA/speech-dev --out out/small-studies

They begin with finished stages of the run that `runs/small.sh` leaves. Each is then held to people's speech that
nothing was taught by, and a table sets it beside what the papers report of theirs. Interrupted, the same command goes
on.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from small_dev import Evaluator, common_voice, parallel_texts, put_between_markers, shown, stories, table, written
from small_overlays import STUDIES, Budget, StudyRow, overlay

from dragoman.cli.console import silence_libraries
from dragoman.data.index import open_index
from dragoman.data.index.selection import usable
from dragoman.errors import DragomanError
from dragoman.evaluation.intervals import Estimate, estimates, mean
from dragoman.evaluation.score import ALL
from dragoman.model.build import new_model
from dragoman.model.folder import load_lora, save_model, stored_recipe
from dragoman.recipe import QFormerConfig, Recipe, StackedConfig, load_recipe, read_stored_recipe
from dragoman.records import Utterance
from dragoman.training.curriculum import train_curriculum
from dragoman.training.options import TrainOptions

HEARD_AT_ONCE = 8  # clips, where the encoder learns: 16 took 7 GB
SHOWN_LANGUAGES = ("eng", "deu", "fra", "spa")
MEASURED = (
    "hours of speech",
    "word errors, all languages",
    ", ".join(SHOWN_LANGUAGES),
    "chrF from speech",
    "against the first row",
    "chrF from text into English",
)
STORIES = 12  # sentences of them, in each language, that the LLM translates as texts

Scores = dict[str, dict[str, Estimate]]
"""By measure (`heard`, `translated`, `read`), then by direction."""


def run_row(study: str, row: StudyRow, budget: Budget, options: argparse.Namespace) -> tuple[Recipe, Path]:
    """Train one row, or go on with it. Raises DragomanError."""
    name = f"{row.name}-{budget.steps}-{budget.seed}"
    begin = finished_stage(options.run, row.begins_with)
    if row.adapter is not None:
        begin = with_fresh_adapter(begin, row.adapter, budget.seed, options.out / study / "begin" / name)
    recipe = overlay(base_recipe(options), study, row, str(begin))
    out = options.out / study / name
    model = out / f"{len(recipe.stages)}-{recipe.stages[-1].name}" / "model"
    if not model.is_dir():
        started = time.monotonic()
        features = None if row.encoder_lora else options.features
        at_once = HEARD_AT_ONCE if row.encoder_lora else 32
        machine = TrainOptions(workers=0, micro_batch=at_once, micro_tokens=4096, features=features)
        train_curriculum(recipe, options.data, out, machine)
        print(f"{study}, {name}: trained, {(time.monotonic() - started) / 60:.1f} minutes", flush=True)
    return recipe, model


def finished_stage(run: Path, name: str) -> Path:
    """The model that a stage of a run has left. Raises DragomanError."""
    found = [path for path in run.glob("*/model") if path.parent.name.partition("-")[2] == name]
    if not found:
        raise DragomanError(f"{run}: has no finished stage {name!r}; train it first (runs/small.sh), or fix --run.")
    return found[0].resolve()


def with_fresh_adapter(begin: Path, adapter: QFormerConfig | StackedConfig, seed: int, out: Path) -> Path:
    """A model folder as `begin`, LoRA included, but with an adapter that has learnt nothing."""
    if not out.is_dir():
        recipe = stored_recipe(begin).model_copy(update={"adapter": adapter})
        torch.manual_seed(seed)
        loaded = new_model(recipe, begin, torch.float32)
        load_lora(loaded.model.llm, begin / "llm_lora" / "adapter_model.safetensors")
        save_model(loaded, out)
    return out.resolve()


def base_recipe(options: argparse.Namespace) -> Recipe:
    """That of the run, which names its manifests as they are called there, unless another is asked for."""
    return load_recipe(options.recipe) if options.recipe else read_stored_recipe(options.run / "recipe.json")


def evaluate_row(recipe: Recipe, model: Path, options: argparse.Namespace) -> Scores:
    """What a trained row hears, translates from speech, and translates from text, all greedily."""
    evaluate = Evaluator(str(model), model.parent.parent / "scores", options.threads)
    greedy = ("--beam_size", "1")
    hears = ("--transcript_by", "adapter", "--translate_from", "speech")
    spoken = manifest("stories", stories(options.speech, recipe.sources, recipe.targets), options)
    texts = manifest("texts", parallel_texts(options.speech, recipe.sources, ["eng"], STORIES), options)
    found = {"translated": estimates(evaluate("stories", spoken, "--to", "all", *greedy, *hears), "chrF")}
    if any("mt" in stage.all_tasks for stage in recipe.stages):  # else it would be asked without its LoRA
        found["read"] = estimates(evaluate("texts", texts, "--to", "eng", *greedy, "--text"), "chrF")
    if recipe.writes_transcripts:
        clips = manifest("common-voice", common_voice(options.speech, recipe.sources), options)
        found["heard"] = estimates(evaluate("common-voice", clips, "--to", "none", *greedy, *hears), "WER")
    return found


def manifest(name: str, rows: Sequence[Utterance], options: argparse.Namespace) -> Path:
    return written(options.out / "manifests" / f"{name}.jsonl", rows[: options.limit])


def hours_heard(recipe: Recipe, data: Path) -> float:
    """Of speech, in all that the last stage draws from."""
    stage, seconds = recipe.stages[-1], 0.0
    for source in (source for source in stage.data if stage.uses_speech(source)):
        index = open_index(data / f"{source.name}.jsonl")
        seconds += float(index.duration_s[usable(index, source, stage, recipe)].sum())
    return seconds / 3600


def over_seeds(runs: Sequence[Scores]) -> Scores:
    """The mean of runs that differ in their seed, of what all of them have."""
    return {
        measure: {
            code: mean([run[measure][code] for run in runs])
            for code in own
            if all(code in run[measure] for run in runs)
        }
        for measure, own in runs[0].items()
    }


def study_table(study: str, options: argparse.Namespace) -> str:
    """Train and evaluate the rows of a study, and set them side by side. What cannot be trained is said, and left
    out."""
    head = ["", STUDIES[study].published, *MEASURED]
    rows: list[list[str]] = []
    first: Estimate | None = None
    for place, row in enumerate(planned(study, options, options.seeds[0])):
        if options.rows and row.name not in options.rows:
            continue
        try:
            trained = [
                run_row(study, planned(study, options, seed)[place], budget(options, seed), options)
                for seed in options.seeds
            ]
            scores = over_seeds([evaluate_row(recipe, model, options) for recipe, model in trained])
        except (DragomanError, subprocess.CalledProcessError) as error:
            print(f"{study}, {row.name}: {error}", flush=True)
            continue
        own, read = scores["translated"][ALL], scores.get("read", {}).get(ALL)
        first = first or own
        against = "" if own is first else shown(own - first, signed=True)
        hours = f"{hours_heard(trained[0][0], options.data):.1f}"
        rows.append([row.says, row.published, hours, *heard(scores), shown(own), against, shown(read)])
        options.out.joinpath(f"{study}.md").write_text(caption(study, options) + table(head, rows), encoding="utf-8")
    return caption(study, options) + table(head, rows)


def heard(scores: Scores) -> tuple[str, str]:
    """Word errors over all languages and of some; none of what translates without a transcript."""
    found = scores.get("heard", {})
    each = (f"{found[code].value:.1f}" if code in found else "-" for code in SHOWN_LANGUAGES)
    return shown(found.get(ALL)), ", ".join(each)


def planned(study: str, options: argparse.Namespace, seed: int) -> list[StudyRow]:
    return STUDIES[study].rows(base_recipe(options), budget(options, seed))


def budget(options: argparse.Namespace, seed: int) -> Budget:
    return Budget(options.steps, options.ctc_steps, seed)


def caption(study: str, options: argparse.Namespace) -> str:
    """What the rows have in common."""
    seeds = f"the mean of {len(options.seeds)} seeds" if len(options.seeds) > 1 else f"seed {options.seeds[0]}"
    return (
        f"{STUDIES[study].title} {options.steps} steps of 16 clips through the LLM a row, where there is a CTC start"
        f" {options.ctc_steps} of 32 before it; {seeds}; greedy; in brackets 95 % intervals over the utterances.\n\n"
    )


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", metavar="STUDY", nargs="*", help=f"{', '.join(STUDIES)}; all by default")
    parser.add_argument("--run", type=Path, required=True, help="a run of small with the stages text and align-long")
    parser.add_argument("--recipe", help="in the place of the run's own: a .toml file, or small")
    parser.add_argument("--data", type=Path, required=True, help="the manifests that it was trained on")
    parser.add_argument("--features", type=Path, help="what `dragoman encode` stored of them")
    parser.add_argument("--speech", type=Path, required=True, help="held-out human speech: speech-dev")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=130, help="through the LLM; 4 to 5 s each on a core with bf16")
    parser.add_argument("--ctc_steps", type=int, default=300, help="of a CTC start; 1 s each")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--rows", nargs="+", help="only these rows of the studies")
    parser.add_argument("--limit", type=int, help="only the first rows of each held-out set, to try the command")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--into", type=Path, help="a page with <!-- small_studies --> and <!-- /small_studies -->")
    options = parser.parse_args(given)
    options.studies = options.studies or list(STUDIES)
    if unknown := set(options.studies) - STUDIES.keys():
        parser.error(f"there is no study {min(unknown)!r}; there are {', '.join(STUDIES)}")
    known = {row.name for study in options.studies for row in planned(study, options, 1)}
    if unknown := set(options.rows or ()) - known:
        parser.error(f"there is no row {min(unknown)!r}; there are {', '.join(sorted(known))}")
    return options


def main() -> None:
    options = arguments()
    silence_libraries()
    torch.set_num_threads(options.threads)
    text = "\n".join(study_table(study, options) for study in options.studies)
    if options.into is not None:
        put_between_markers(options.into, "small_studies", text)
    print(text)


if __name__ == "__main__":
    main()
