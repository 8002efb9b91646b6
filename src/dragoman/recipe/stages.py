"""The tables that describe the curriculum: stages, their data and their schedules."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import AliasChoices, Field, field_validator, model_validator

from dragoman.recipe.strict import StrictModel, TaskName
from dragoman.text.languages import expand

TrainablePart = Literal["adapter", "llm_lora", "encoder_lora"]


class _Optimisation(StrictModel):
    batch: int = Field(gt=0)
    learning_rate: float = Field(gt=0.0)
    warmup_steps: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.01, ge=0.0)
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float | None = Field(default=1.0, gt=0.0)
    precision: Literal["fp32", "bf16"] = "bf16"
    seed: int = 0

    @field_validator("betas", mode="before")
    @classmethod
    def _toml_has_no_tuples(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("clip_norm", mode="before")
    @classmethod
    def _toml_has_no_null(cls, value: Any) -> Any:
        return None if value == "none" else value


class Schedule(_Optimisation):
    """AdamW with linear warm-up, then linear decay to 0. `batch` counts utterances over all processes;
    `clip_norm = "none"` leaves gradients as they are."""

    steps: int = Field(gt=0)


class StageSchedule(_Optimisation):
    """A schedule as long as `steps`, or `epochs` of the data, which are counted when they are at hand."""

    steps: int | None = Field(default=None, gt=0)
    epochs: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one_length(self) -> StageSchedule:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs")
        return self

    def over(self, items: int) -> Schedule:
        """For a stage of this many items; a step never holds items of two epochs."""
        steps = self.steps or (self.epochs or 0) * math.ceil(items / self.batch)
        return Schedule(steps=steps, **self.model_dump(exclude={"steps", "epochs"}))


class AugmentConfig(StrictModel):
    """How training alters the speech: `speed` plays it up to that share faster or slower, `warp` shifts its spectrum by
    up to that share; then bands of up to `frequency_width` mel bins and stretches of up to `time_width` frames (10 ms)
    are masked."""

    speed: float = Field(default=0.0, ge=0.0, lt=0.5)
    warp: float = Field(default=0.0, ge=0.0, lt=0.5)
    frequency_masks: int = Field(default=0, ge=0)
    frequency_width: int = Field(default=0, ge=0)
    time_masks: int = Field(default=0, ge=0)
    time_width: int = Field(default=0, ge=0)

    @property
    def alters_mel(self) -> bool:
        """Whether more than the speed is altered."""
        return bool(self.warp or self.frequency_masks or self.time_masks)


class DataSource(StrictModel):
    """One manifest (`<data>/<name>.jsonl`) with filters; languages are codes or named sets, empty means any. Where
    targets are named, an utterance without a translation into one of them is left out. `tasks` in the place of the
    stage's: `{ mt = 1.0 }` for a manifest of text alone. `max_hours` is for asking what more speech is worth: so much
    of the manifest, drawn before the filters, the same in every stage and part of what a greater number draws."""

    name: str
    sources: list[str] = Field(default_factory=list)
    targets: list[str] = Field(default_factory=list)
    tasks: dict[TaskName, float] | None = Field(default=None, min_length=1)
    max_duration_s: float | None = Field(default=None, gt=0.0)
    max_hours: float | None = Field(default=None, gt=0.0)
    weight: float | None = Field(default=None, gt=0.0)
    """Share among the stage's sources; without weights each utterance counts the same."""

    @field_validator("sources", "targets")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        return list(expand(value))


class Stage(StrictModel):
    """One stage of the curriculum: which tasks, which parameters, which data, how long.

    The task mt leaves the speech out and teaches the LLM to translate the transcripts. A stage without tasks leaves the
    LLM out and aligns the adapter by CTC alone, which is several times cheaper.
    `max_per_language` caps the utterances of a spoken language, `max_per_direction` the pairs of an utterance and a
    target from each language to each, over all sources together, in this order; which are kept is drawn by seed.
    `targets` is the number of target languages that share one utterance's encoder pass in a batch.
    `temperature` T draws a spoken language of n utterances in proportion to n^(1/T): 1 leaves the data as they are,
    more brings small languages nearer to large ones. `shards_at_once` takes the tar shards in a random order and the
    utterances of this many together, for storage that is slow out of order.
    `ctc_weight` adds a CTC loss between the adapter's outputs and the frozen embedding matrix of the LLM, which makes
    an adapter align that starts from scratch; with `ctc_sampled`, the pieces that no transcript of a batch has are
    stood for by that number of them, drawn anew each time (sampled softmax, Jean et al. 2015).
    `weight_interpolation` is for a later stage of a recipe that goes on from a model: this one begins at such a share
    of the way from that model's weights to those that the stages before have left (WiSE-FT, Wortsman et al. 2022),
    LoRA's two factors each by itself.
    `distillation` is for a recipe that goes on from a model: in what this one was last taught, the loss is this many
    times the divergence from what it said, in the place of the cross-entropy (Learning without Forgetting, Li and Hoiem
    2016, whose weight is 1).
    """

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    tasks: dict[TaskName, float]
    trains: list[TrainablePart] = Field(min_length=1)
    data: list[DataSource] = Field(min_length=1)
    schedule: StageSchedule
    max_per_language: int | None = Field(default=None, gt=0)
    max_per_direction: int | None = Field(default=None, gt=0)
    targets: int = Field(default=1, gt=0)
    temperature: float = Field(default=1.0, ge=1.0, allow_inf_nan=False)
    shards_at_once: int | None = Field(default=None, gt=0)
    augment: AugmentConfig | None = None
    ctc_weight: float = Field(default=0.0, ge=0.0)
    ctc_sampled: int | None = Field(default=None, gt=0)
    weight_interpolation: float = Field(
        default=1.0, gt=0.0, le=1.0, validation_alias=AliasChoices("weight_interpolation", "brought_back")
    )
    distillation: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _all_weights_or_none(self) -> Stage:
        if len({source.weight is None for source in self.data}) > 1:
            raise ValueError("data: some sources have a weight and some have none; give one to all or to none")
        return self

    @model_validator(mode="after")
    def _something_is_taught(self) -> Stage:
        if not self.all_tasks and not (self.ctc_weight and "llm_lora" not in self.trains):
            raise ValueError("tasks: a stage without tasks aligns by CTC: give it ctc_weight, and leave llm_lora out")
        if not self.uses_audio and (self.trains != ["llm_lora"] or self.ctc_weight or self.augment):
            raise ValueError("mt is text alone: such a stage trains llm_lora, without ctc_weight and augment")
        return self

    def tasks_of(self, source: DataSource) -> dict[TaskName, float]:
        """What is asked of a source's utterances, with weights."""
        return self.tasks if source.tasks is None else source.tasks

    def uses_speech(self, source: DataSource) -> bool:
        """Whether the speech of a source is needed."""
        return set(self.tasks_of(source)) != {"mt"}

    @property
    def all_tasks(self) -> frozenset[TaskName]:
        """Of all sources."""
        return frozenset(task for source in self.data for task in self.tasks_of(source))

    @property
    def uses_audio(self) -> bool:
        """Whether any of its tasks has speech in it."""
        return any(self.uses_speech(source) for source in self.data)
