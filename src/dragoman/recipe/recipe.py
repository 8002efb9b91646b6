"""The whole recipe, what must hold between its tables, and the numbers derived from it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import AliasChoices, Field, field_validator, model_validator

from dragoman.recipe.audio import AudioConfig
from dragoman.recipe.bases import BasesConfig
from dragoman.recipe.model import (
    AdapterConfig,
    DecodingConfig,
    EncoderConfig,
    LlmConfig,
    MlpConfig,
    PromptConfig,
    QFormerConfig,
    StackedConfig,
)
from dragoman.recipe.stages import Stage
from dragoman.recipe.strict import StrictModel
from dragoman.text import languages
from dragoman.text.languages import expand, is_code


class Recipe(StrictModel):
    name: str = Field(pattern=r"^[a-z0-9.-]+$")
    about: str
    licence: str
    sources: list[str] = Field(min_length=1)
    targets: list[str] = Field(min_length=1)
    audio: AudioConfig
    encoder: EncoderConfig
    adapter: AdapterConfig
    llm: LlmConfig
    prompt: PromptConfig = PromptConfig()
    init_from: str | None = Field(default=None, validation_alias=AliasChoices("init_from", "start"))
    """The model whose weights the first stage goes on from: a folder, a built-in model, a name on the hub."""
    stages: list[Stage] = Field(default_factory=list)
    decoding: DecodingConfig = DecodingConfig()
    bases: BasesConfig | None = None

    @field_validator("sources", "targets")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        return list(expand(value))

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError("stages: two stages have the same name")
        for stage in self.stages:
            if stage.ctc_weight and self.prompt.before_audio:
                raise ValueError(
                    f"stages.{stage.name}.ctc_weight: prompt.before_audio is not in the speech; leave one out"
                )
            if stage.weight_interpolation < 1.0 and (self.init_from is None or stage is self.stages[0]):
                raise ValueError(
                    f"stages.{stage.name}.weight_interpolation: is for a later stage of a recipe "
                    "that names a model in init_from"
                )
            if stage.distillation and self.init_from is None:
                raise ValueError(
                    f"stages.{stage.name}.distillation: there is no model to distil; name one in init_from"
                )
            for part, lora in (("llm_lora", self.llm.lora), ("encoder_lora", self.encoder.lora)):
                if part in stage.trains and lora is None:
                    raise ValueError(f"stages.{stage.name}.trains: {part} is trained, but the recipe has no such LoRA")
        if self.decoding.ctc_weight and not self.aligned_by_ctc:
            raise ValueError("decoding.ctc_weight: no stage teaches the audio tokens by CTC (ctc_weight); leave it out")
        unknown = [code for code in self.prompt.tags if not is_code(code)]
        if unknown:
            raise ValueError(f"prompt.tags: {unknown[0]!r} is not a language code")
        return self

    @model_validator(mode="after")
    def _heard_as_log_mel(self) -> Recipe:
        kind = self.audio.kind
        if kind == "log-mel":
            return self
        if self.encoder.name == "base":
            raise ValueError(f"audio.kind: an encoder of [bases] is a small Whisper and hears log-mel, not {kind}")
        if self.decoding.transcript_by == "whisper":
            raise ValueError(f"decoding.transcript_by: whisper hears log-mel; an encoder of {kind} has no decoder")
        for stage in self.stages:
            if stage.augment and stage.augment.alters_mel:
                raise ValueError(
                    f"stages.{stage.name}.augment: warp and masks are made in log-mel, and this encoder hears {kind}; "
                    "leave all but speed out"
                )
        return self

    @model_validator(mode="after")
    def _bases(self) -> Recipe:
        if "base" in (self.encoder.name, self.llm.name) and self.bases is None:
            raise ValueError('bases: encoder or llm is "base", but there is no [bases] table')
        if self.bases is None or self.init_from is not None:  # there are none, or they are made already
            return self
        if missing := set(self.languages) - set(self.bases.corpus.languages):
            raise ValueError(f"bases.corpus.languages: {min(missing)!r} is a source or target, but not in the corpus")
        return self

    def up_to(self, stage: Stage) -> Recipe:
        """What a model has learnt that this stage, one of the recipe's, has left. Before any stage has taught the audio
        tokens by CTC, CTC has no say in its transcripts."""
        learnt = self.model_copy(update={"stages": self.stages[: self.stages.index(stage) + 1]})
        if learnt.aligned_by_ctc:
            return learnt
        return learnt.model_copy(update={"decoding": self.decoding.model_copy(update={"ctc_weight": 0.0})})

    @property
    def languages(self) -> tuple[str, ...]:
        """Sources and targets, each once, in the recipe's order."""
        return tuple(dict.fromkeys([*self.sources, *self.targets]))

    @property
    def transcribes(self) -> bool:
        """Whether the finished model still answers the transcription prompt by itself (its last stage held ASR)."""
        return not self.stages or "asr" in self.stages[-1].all_tasks

    @property
    def translates_directly(self) -> bool:
        """Whether the finished model translates without a transcript of its own (its last stage held ST and no SRT)."""
        return bool(self.stages) and "st" in self.stages[-1].all_tasks and "srt" not in self.stages[-1].all_tasks

    @property
    def writes_transcripts(self) -> bool:
        """Whether the finished model writes what is said, by itself or before a translation."""
        return self.transcribes or not self.translates_directly

    @property
    def trained_in_bf16(self) -> bool:
        """Whether all its stages run in bf16, so that nothing is lost where it is used in it."""
        return bool(self.stages) and all(stage.schedule.precision == "bf16" for stage in self.stages)

    @property
    def aligned_by_ctc(self) -> bool:
        """Whether the audio tokens were taught to spell the transcript by themselves."""
        return any(stage.ctc_weight for stage in self.stages)

    @property
    def abilities(self) -> frozenset[tuple[str, str, str]]:
        """What the finished model was last taught: task, source and target; transcription is from a language to itself.
        What translates beside a transcript (smt) is able to without the speech (mt)."""
        tasks = self.stages[-1].all_tasks if self.stages else frozenset()
        return frozenset(
            (task, source, target)
            for task in (*tasks, *(("mt",) if "smt" in tasks else ()))
            for source in self.sources
            for target in (source, *self.targets)
        )

    def known_source(self, name: str) -> str:
        """The code of a language that the model hears, see `languages.known_source`."""
        return languages.known_source(name, self.sources, self.name)

    def known_targets(self, codes: Sequence[str] | None, source: str | None = None) -> tuple[str, ...]:
        """These targets, all of which the model writes, see `languages.known_targets`."""
        return languages.known_targets(codes, self.targets, self.name, source)

    def longest_clips(self) -> dict[str, float]:
        """Of each manifest, by its name: the longest clip, in seconds, that a stage hears; infinite without a limit."""
        longest_s: dict[str, float] = {}
        for source in (source for stage in self.stages for source in stage.data if stage.uses_speech(source)):
            longest_s[source.name] = max(longest_s.get(source.name, 0.0), source.max_duration_s or math.inf)
        return longest_s

    def audio_tokens(self, frames: int) -> int:
        """Number of audio embeddings that the adapter makes of a clip of this many encoder frames."""
        match self.adapter:
            case QFormerConfig(queries=queries, pool=pool):
                return queries // pool
            case StackedConfig(stack=stack):
                return math.ceil(frames / stack)
            case MlpConfig():
                return frames
