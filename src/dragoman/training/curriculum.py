"""All stages of a recipe, each from the model that the one before left; continues wherever it stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import release_memory

from dragoman.data.examples import Examples
from dragoman.data.index import ManifestIndex
from dragoman.data.index.selection import Selection
from dragoman.data.sampling import Rows
from dragoman.errors import RecipeError
from dragoman.files import digest_of_weights, only_run
from dragoman.model.build import LoadedModel, pinned
from dragoman.model.folder import load_model, save_model, trainable_state
from dragoman.model.load import model_folder
from dragoman.model.speech_llm import SpeechLLM
from dragoman.model.trainable import train_only
from dragoman.progress import OnProgress, no_progress
from dragoman.recipe import Recipe, Stage
from dragoman.records import Utterance
from dragoman.training.distillation import Teacher
from dragoman.training.encoding import StoredFrames, check_storable
from dragoman.training.inputs.manifests import check_data, held_out, stage_indexes, valid_index
from dragoman.training.inputs.proportion import check_texts
from dragoman.training.inputs.steps import check_processes, stream_of_steps
from dragoman.training.monitoring.throughput import SpeechWork
from dragoman.training.options import TrainOptions
from dragoman.training.run_folder import as_recorded, remember_data, remember_recipe
from dragoman.training.state import gathered_state
from dragoman.training.trainer import TrainingJob, fit, make_accelerator
from dragoman.training.warm_start import (
    initial_model,
    initial_recipe,
    initial_tensors,
    interpolate_weights,
    trimmed_vocabulary,
    with_initial_revisions,
)

# Scores of a model's translations of a few utterances, by name.
TranslationScores = Callable[[LoadedModel, Sequence[Utterance]], dict[str, float]]

_log = logging.getLogger(__name__)
_TRANSLATED = 48


def train_curriculum(
    recipe: Recipe,
    data: Path,
    out: Path,
    options: TrainOptions = TrainOptions(),
    *,
    bases: Path | None = None,
    translation_scores: TranslationScores | None = None,
    on_progress: OnProgress = no_progress,
) -> Path:
    """Run the stages of a recipe, one after the other; what was interrupted goes on where it stopped.

    Args:
        recipe: All that decides the result.
        data: One manifest a source (`<name>.jsonl`), and `valid.jsonl`.
        out: Gets a folder a stage, `1-asr`, ...; a stage whose model is there is not run again.
        options: How the machine is used.
        bases: Base models of our own, where the recipe has some (`dragoman bases`).
        translation_scores: Scores a model on held-out utterances, as `evaluation.validation.translation_scores`.
        on_progress: Called with what is being done and how far it is.

    Returns:
        The folder of the last stage's model.

    Raises:
        DataError: Data that are missing, do not fit, or make a loss that is not finite.
        ModelError: Bases or a checkpoint that do not fit the recipe.
        OutputError: Another run has `out`, or it cannot be written.
    """
    with only_run(out):
        recipe, bases, left_out = _begun(recipe, data, out, options, bases, on_progress)
        model: Path | None = None
        for stage, folder in _folders(recipe, out):
            if not (folder / "model").is_dir():
                misfits = left_out[stage.name]
                run = StageRun(recipe, stage, data, folder, misfits, options, translation_scores, on_progress)
                run(model, bases)
                release_memory()  # else this stage's model is still there when the next one's is loaded
            model = folder / "model"
    assert model is not None
    return model


def _folders(recipe: Recipe, out: Path) -> list[tuple[Stage, Path]]:
    return [(stage, out / f"{number}-{stage.name}") for number, stage in enumerate(recipe.stages, 1)]


def _begun(
    recipe: Recipe, data: Path, out: Path, options: TrainOptions, bases: Path | None, on_progress: OnProgress
) -> tuple[Recipe, Path | None, dict[str, list[Rows]]]:
    """Whatever would stop a later stage is reported before the first. The recipe with what it left open, where its
    bases are, and for each stage that is not finished the rows of each source that are left out."""
    if not recipe.stages:
        raise RecipeError(f"The recipe {recipe.name!r} has no stages: there is nothing to train.")
    if options.features is not None:
        check_storable(recipe)
    recipe = with_initial_revisions(recipe)
    accelerator = make_accelerator(recipe.stages[0].schedule.precision)
    _check_teachable(recipe, accelerator)
    for stage in recipe.stages:
        check_processes(accelerator.num_processes, stage.schedule.batch, f"stage {stage.name}")
    # one of all makes the indexes, and on machines that do not share the data one of each
    with accelerator.main_process_first(), accelerator.local_main_process_first():
        check_data(recipe, data, on_progress)
        if valid_index(data, on_progress) is None:
            _log.warning("%s is missing: there is no validation.", data / "valid.jsonl")
    with accelerator.main_process_first():  # the others find what it has settled
        recipe = pinned(as_recorded(recipe, out))
        remember_recipe(recipe, out)
        bases = trimmed_vocabulary(recipe, data, out) or bases
    finished = {stage.name: folder / "model" for stage, folder in _folders(recipe, out) if (folder / "model").is_dir()}
    left = [stage for stage in recipe.stages if stage.name not in finished]
    return recipe, bases, check_texts(recipe, left, data, [*finished.values(), bases][0], options.skip_bad)


def _check_teachable(recipe: Recipe, accelerator: Accelerator) -> None:
    for stage in (stage for stage in recipe.stages if stage.distillation):
        known = {task for task, *_ in initial_recipe(recipe).abilities}
        if known.isdisjoint(stage.all_tasks):
            last = ", ".join(sorted(known)) or "nothing"
            raise RecipeError(
                f"stages.{stage.name}.distillation: {recipe.init_from} was last trained on {last}, and this stage is "
                f"of {', '.join(sorted(stage.all_tasks))}; leave it out, or name another model in init_from."
            )
        if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
            raise RecipeError(
                f"stage {stage.name}: distillation needs the whole model in each process; train it with torchrun."
            )


@dataclass(frozen=True)
class StageRun:
    """One stage of a recipe on this machine; `left_out`: rows of each of its sources."""

    recipe: Recipe
    stage: Stage
    data: Path
    folder: Path
    left_out: Sequence[Rows]
    options: TrainOptions
    translation_scores: TranslationScores | None
    on_progress: OnProgress

    def __call__(self, previous: Path | None, bases: Path | None) -> None:
        """Train from the model in `previous` (or from the bases) and write `folder/model`."""
        accelerator = make_accelerator(self.stage.schedule.precision)
        indexes = stage_indexes(self.stage, self.data)
        with accelerator.main_process_first():
            self._remember(indexes)
        selection = self._selection(indexes)
        dtype = torch.bfloat16 if self.stage.schedule.precision == "bf16" else torch.float32
        torch.manual_seed(self.stage.schedule.seed)
        loaded = initial_model(self.recipe, bases, dtype) if previous is None else load_model(previous, dtype)
        if self.stage.weight_interpolation < 1.0:
            interpolate_weights(loaded.model, self.recipe, self.stage.weight_interpolation)
        train_only(loaded.model, self.stage.trains)
        loaded.model.ctc_weight, loaded.model.ctc_sampled = self.stage.ctc_weight, self.stage.ctc_sampled
        rehearsed = self._taught(loaded.model)
        if self.options.checkpoint_activations:
            loaded.model.checkpoint_activations()
        loaded = replace(loaded, recipe=self.recipe.up_to(self.stage))
        stored = self._stored(loaded)
        frames = (
            None
            if stored is None
            else [
                stored.open(index, own.row) if self.stage.uses_speech(source) else None
                for index, own, source in zip(indexes, selection.chosen, self.stage.data, strict=True)
            ]
        )
        limits = self.options.micro_batch, self.options.micro_tokens
        examples = Examples(indexes, self.stage, self.recipe, loaded.tokenizer, *limits, frames, rehearsed)
        order = selection.order()
        job = TrainingJob(
            label=f"stage {self.stage.name}",
            module=loaded.model,
            stream=stream_of_steps(order, examples.micro_batches, accelerator, self.options.workers, selection.draws),
            schedule=self.stage.schedule.over(len(selection)),
            folder=self.folder,
            options=self.options,
            validate=self._validation(loaded, accelerator, stored),
            on_progress=self.on_progress,
            ids=lambda step: selection.ids(order.step(step)),
            work=SpeechWork(loaded.model, self.recipe),
        )
        frozen = trainable_state(loaded.model)  # under FSDP and ZeRO-3 each process holds but a part of them afterwards
        tensors = {**frozen, **gathered_state(fit(job, accelerator))}
        if accelerator.is_main_process:
            save_model(loaded, self.folder / "model", tensors)
        accelerator.wait_for_everyone()
        accelerator.free_memory()  # DeepSpeed would keep the model for ever

    def _remember(self, indexes: Sequence[ManifestIndex]) -> None:
        valid = valid_index(self.data)
        opened = [*indexes, *([valid] if valid else [])]
        digests = {index.manifest: index.digest for index in opened}
        if self.recipe.init_from is not None:  # a later stage may look back at it
            digests[Path(self.recipe.init_from)] = digest_of_weights(model_folder(self.recipe.init_from))
        remember_data(digests, self.folder.parent)

    def _selection(self, indexes: Sequence[ManifestIndex]) -> Selection:
        selection = Selection(indexes, self.stage, self.recipe, self.left_out)
        for index, chosen in zip(indexes, selection.chosen, strict=True):
            if chosen.num_utterances < len(index):
                why = "the rest is filtered out, over a cap, untranslated, in other languages or too much text"
                found = chosen.num_utterances, len(index), index.manifest
                _log.warning("stage %s: %d of %d in %s; %s.", self.stage.name, *found, why)
        return selection

    def _stored(self, loaded: LoadedModel) -> StoredFrames | None:
        """What the encoder heard before, if it was stored and the stage hears."""
        if self.options.features is None or not self.stage.uses_audio:
            return None
        return StoredFrames.for_encoder(self.options.features, self.recipe, loaded.model.encoder)

    def _taught(self, model: SpeechLLM) -> frozenset[tuple[str, str, str]]:
        """Give the model that the recipe goes on from to this one as its teacher, if the stage has one; returns the
        abilities in which it is listened to."""
        if not self.stage.distillation:
            return frozenset()
        model.teacher = Teacher(model, initial_tensors(model, self.recipe), self.stage.distillation)
        return initial_recipe(self.recipe).abilities

    def _validation(
        self, loaded: LoadedModel, accelerator: Accelerator, stored: StoredFrames | None
    ) -> Callable[[], dict[str, float]] | None:
        """Loss over held-out utterances and, by the function that was handed in, scores of their translations."""
        index = valid_index(self.data)
        if index is None:
            return None
        stage, draws = held_out(index, self.stage, self.recipe)
        if not draws:
            _log.warning("stage %s: %s has no utterance that could validate it.", self.stage.name, index.manifest)
            return None
        frames = None if stored is None else [stored.open(index, np.array([draw.row for draw in draws]))]
        limits = self.options.micro_batch, self.options.micro_tokens
        examples = Examples([index], stage, self.recipe, loaded.tokenizer, *limits, frames)

        def validate() -> dict[str, float]:
            total, targets = 0.0, 0
            for start in range(0, len(draws), 32):
                for batch in examples.micro_batches(draws[start : start + 32]):
                    total += float(loaded.model(batch.to(accelerator.device))["loss"])
                    targets += batch.num_targets
            heard = [examples.utterance(draw) for draw in draws[:_TRANSLATED]]
            scores = self.translation_scores(loaded, heard) if self.translation_scores else {}
            return {"loss": total / max(targets, 1), **scores}

        return validate
