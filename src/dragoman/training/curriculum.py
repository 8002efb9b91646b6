"""All stages of a recipe, each from the model that the one before left; continues wherever it stopped."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from dragoman.data.batching import Batch, made_ahead
from dragoman.data.examples import StageExamples, select, usable, with_translations
from dragoman.data.sampling import of_rank, steps_from
from dragoman.errors import DataError, RecipeError
from dragoman.files import whole_file
from dragoman.model.checkpoint import LoadedModel, first_model, load_model, own_tensors, save_model
from dragoman.model.trainable import train_only
from dragoman.recipe import Recipe, Stage, dump_recipe
from dragoman.records import Utterance, read_manifest
from dragoman.training.state import trained_state
from dragoman.training.trainer import Job, Stream, fit, make_accelerator

# Scores of a model's translations of a few utterances, by name.
TranslationScores = Callable[[LoadedModel, Sequence[Utterance]], dict[str, float]]

_log = logging.getLogger(__name__)
_VALIDATED = 256
_TRANSLATED = 48


def train_curriculum(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    bases: Path | None = None,
    micro_batch: int = 64,
    workers: int = 1,
    compiled: bool = False,
    save_every: int = 200,
    translation_scores: TranslationScores | None = None,
) -> Path:
    """Run the stages of a recipe; `data` holds one manifest a source (`<name>.jsonl`) and `valid.jsonl`.

    Leaves `out/1-asr/model`, ... and returns the last one. A stage whose model is there is not run again.
    """
    if not recipe.stages:
        raise RecipeError(f"The recipe {recipe.name!r} has no stages: there is nothing to train.")
    with make_accelerator(recipe.stages[0].schedule.precision).main_process_first():
        remember_recipe(recipe, out)
    model: Path | None = None
    for number, stage in enumerate(recipe.stages, 1):
        folder = out / f"{number}-{stage.name}"
        if not (folder / "model").is_dir():
            run = StageRun(recipe, stage, data, folder, micro_batch, workers, compiled, save_every, translation_scores)
            run(model, bases)
        model = folder / "model"
    assert model is not None
    return model


def remember_recipe(recipe: Recipe, out: Path) -> None:
    """A run folder belongs to one recipe: going on with another one is an error that names what changed."""
    stored, new = out / "recipe.json", dump_recipe(recipe)
    if stored.is_file():
        before, now = json.loads(stored.read_text(encoding="utf-8")), json.loads(new)
        changed = [key for key in now if before.get(key) != now[key]]
        if changed:
            raise RecipeError(f"{out} was started with another recipe ({changed[0]} differs); choose another --out.")
        return
    out.mkdir(parents=True, exist_ok=True)
    with whole_file(stored) as file:
        file.write(new)


class StageRun:
    """One stage of a recipe on this machine."""

    def __init__(
        self,
        recipe: Recipe,
        stage: Stage,
        data: Path,
        folder: Path,
        micro_batch: int,
        workers: int,
        compiled: bool,
        save_every: int,
        translation_scores: TranslationScores | None,
    ) -> None:
        self.recipe, self.stage, self.data, self.folder = recipe, stage, data, folder
        self.micro_batch, self.workers, self.compiled = micro_batch, workers, compiled
        self.save_every = save_every
        self.translation_scores = translation_scores

    def __call__(self, previous: Path | None, bases: Path | None) -> None:
        """Train from the model in `previous` (or from the bases) and write `folder/model`."""
        accelerator = make_accelerator(self.stage.schedule.precision)
        dtype = torch.bfloat16 if self.stage.schedule.precision == "bf16" else torch.float32
        torch.manual_seed(self.stage.schedule.seed)
        loaded = first_model(self.recipe, bases, dtype) if previous is None else load_model(previous, dtype)
        train_only(loaded.model, self.stage.trains)
        loaded.model.ctc_weight = self.stage.ctc_weight
        loaded = replace(loaded, recipe=self._so_far())
        examples = StageExamples(self._utterances(), self.stage, self.recipe, loaded.tokenizer)
        job = Job(
            label=f"stage {self.stage.name}",
            module=loaded.model,
            stream=self._stream(examples, accelerator),
            schedule=self.stage.schedule,
            folder=self.folder,
            validate=partial(self._validate, loaded, accelerator),
            compiled=self.compiled,
            save_every=self.save_every,
        )
        frozen = own_tensors(loaded.model)  # under FSDP each process holds but a part of them afterwards
        tensors = {**frozen, **trained_state(fit(job, accelerator))}
        if accelerator.is_main_process:
            save_model(loaded, self.folder / "model", tensors)
        accelerator.wait_for_everyone()
        accelerator.free_memory()  # else this stage's model may still be there when the next one's is loaded

    def _utterances(self) -> list[Utterance]:
        chosen: list[Utterance] = []
        for source in self.stage.data:
            path = self.data / f"{source.name}.jsonl"
            if not path.is_file():
                raise DataError(f"stage {self.stage.name}: {path} is missing; put the manifest there or fix --data.")
            utterances = with_translations(read_manifest(path), self.recipe.targets)
            kept = select(utterances, source, self.stage.schedule.seed)
            kept = usable([utterance for utterance in kept if utterance.language in self.recipe.sources], self.stage)
            if len(kept) < len(utterances):
                why = "the rest is filtered out, untranslated or in other languages"
                _log.warning("stage %s: %d of %d in %s; %s.", self.stage.name, len(kept), len(utterances), path, why)
            chosen += kept
        return chosen

    def _so_far(self) -> Recipe:
        """The recipe with the stages up to this one: what this stage's model has learnt."""
        done = self.recipe.stages[: self.recipe.stages.index(self.stage) + 1]
        return self.recipe.model_copy(update={"stages": done})

    def _stream(self, examples: StageExamples, accelerator: Accelerator) -> Stream:
        schedule = self.stage.schedule
        rank, world = accelerator.process_index, accelerator.num_processes

        def stream(start: int) -> Iterator[list[Batch]]:
            steps = steps_from(start, examples.lengths, schedule.batch, schedule.seed)
            keys = ((epoch, of_rank(numbers, rank, world, self.micro_batch)) for epoch, numbers in steps)
            return made_ahead(examples.micro_batches, keys, self.workers)

        return stream

    def _validate(self, loaded: LoadedModel, accelerator: Accelerator) -> dict[str, float]:
        """Loss over held-out utterances and, by the function that was handed in, scores of their translations."""
        path = self.data / "valid.jsonl"
        if not path.is_file():
            return {}
        utterances = _mixed(with_translations(read_manifest(path), self.recipe.targets))
        heard = [utterance for utterance in utterances if utterance.language in self.recipe.sources]
        utterances = usable(heard, self.stage)[:_VALIDATED]
        if not utterances:
            return {}
        examples = StageExamples(utterances, self.stage, self.recipe, loaded.tokenizer)
        total, targets = 0.0, 0
        for start in range(0, len(examples.utterances), 32):
            batch = examples.batch(0, range(start, min(start + 32, len(examples.utterances))))
            total += float(loaded.model(batch.to(accelerator.device))["loss"])
            targets += batch.num_targets
        scores = self.translation_scores(loaded, utterances[:_TRANSLATED]) if self.translation_scores else {}
        return {"loss": total / max(targets, 1), **scores}


def _mixed(utterances: Sequence[Utterance]) -> list[Utterance]:
    """The same utterances in a fixed random order: manifests are sorted by language, and their beginning is used."""
    return [utterances[number] for number in np.random.default_rng(0).permutation(len(utterances))]
