"""The tables that describe a model: its encoder, adapter and LLM, how it is asked."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from dragoman.recipe.strict import StrictModel, TaskName

Quantisation = Literal["8bit", "4bit"]


class Lora(StrictModel):
    """Low-rank weights beside the named linear layers; PEFT's terms."""

    rank: int = Field(gt=0)
    alpha: int = Field(gt=0)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    targets: list[str] | Literal["all-linear"]


def _none(value: Any) -> Any:
    """TOML has no null: "none" takes away what another recipe has."""
    return None if value == "none" else value


OptionalLora = Annotated[Lora | None, BeforeValidator(_none)]


class EncoderConfig(StrictModel):
    """`name` is a Hugging Face name or folder; "base" is the one that `[bases]` describes. What it hears, `[audio]`
    says: which class of transformers it is follows from there and from its own config."""

    name: str
    revision: str | None = None
    lora: OptionalLora = None


class VocabularyConfig(StrictModel):
    """Which of the LLM's pieces are kept (Ushio et al. 2023): those that the texts of these manifests need in the
    recipe's languages, and of the `most_frequent` of its own order those that are spelt with their characters. Language
    tags become pieces."""

    texts: list[str] = Field(min_length=1)
    most_frequent: int = Field(default=0, ge=0)


class LlmConfig(StrictModel):
    """`name` as in EncoderConfig. `scale_audio` multiplies the adapter's output by sqrt(hidden), which Gemma2's
    checkpoints of the papers expect (transformers <= 5.3 did it inside the model). `quantisation` holds its frozen
    weights in 8 bits (LLM.int8) or 4 (NF4, as QLoRA and LLaST), in training and after: LoRA learns beside the weights
    as they are then."""

    name: str
    revision: str | None = None
    scale_audio: bool = False
    quantisation: Quantisation | None = None
    lora: OptionalLora = None
    vocabulary: VocabularyConfig | None = None


class QFormerConfig(StrictModel):
    """Q-Former -> (mean over `pool` neighbours) -> MLP -> LayerNorm: LLM-SRT (pool 1) and MCAT (pool 5)."""

    kind: Literal["q-former"]
    queries: int = Field(gt=0)
    pool: int = Field(default=1, gt=0)
    layers: int = Field(gt=0)
    hidden: int = Field(gt=0)
    heads: int = Field(gt=0)
    feed_forward: int = Field(gt=0)
    cross_every: int = Field(default=2, gt=0)
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    mlp_hidden: int | None = Field(default=None, gt=0)


class MlpConfig(StrictModel):
    """A plain MLP on every frame, no downsampling: LLaST (there on the speech's frames only: padding "trimmed")."""

    kind: Literal["mlp"]
    layers: int = Field(default=3, gt=0)


class StackedConfig(StrictModel):
    """`stack` neighbouring frames side by side -> MLP -> LayerNorm (SLAM-LLM's linear projector). `ctc_blank`: what
    stands for "nothing" in the CTC loss is learnt, in the place of the padding piece's embedding."""

    kind: Literal["stacked"]
    stack: int = Field(gt=0)
    hidden: int = Field(gt=0)
    ctc_blank: bool = False


AdapterConfig = Annotated[QFormerConfig | MlpConfig | StackedConfig, Field(discriminator="kind")]


class PromptConfig(StrictModel):
    """`tags` renames the tag of a language for checkpoints that were trained with another one (LLM-SRT: cmn -> zho).

    `worded` says a task's prompt in words in the place of tags, with {source}, {target} (languages by name) and
    {transcript}; `before_audio` is text in front of the audio, such as the beginning of a chat template (LLaST).
    `joint_answer`: transcript, tags and translation of an SRT answer are tokenised as one text, as the authors'
    checkpoints were taught (`dragoman convert` sets it); else the translation apart.
    """

    tags: dict[str, str] = Field(default_factory=dict)
    before_audio: str = ""
    joint_answer: bool = False
    worded: dict[TaskName, str] = Field(default_factory=dict)

    @field_validator("worded")
    @classmethod
    def _only_these_places(cls, value: dict[TaskName, str]) -> dict[TaskName, str]:
        for task, text in value.items():
            try:
                text.format(source="", target="", transcript="")
            except (KeyError, IndexError, ValueError) as error:
                raise ValueError(f"{task}: only {{source}}, {{target}} and {{transcript}} are filled in") from error
        return value


TranscriptBy = Literal["adapter", "whisper"]
TranslateFrom = Literal["speech", "transcript"]
SmtTranscript = Literal["reference", "hypothesis"]
"""The transcript that speech is translated with (smt): the manifest's, or what the model hears itself."""


class DecodingConfig(StrictModel):
    """How a model is used unless the caller says otherwise.

    `transcript_by`: the LLM writes what it hears through the adapter, or Whisper's own decoder does.
    `translate_from`: the LLM translates the speech with the transcript at hand (srt where it wrote that itself, smt
    where Whisper did), or the transcript alone (mt: a cascade).
    `ctc_weight`: the share of CTC in what the LLM transcribes, where the audio tokens were taught to spell by it (joint
    CTC/attention decoding, Watanabe et al. 2017, whose share is 0.1 to 0.5).
    """

    beams: int = Field(default=1, gt=0)
    max_new_tokens: int = Field(default=400, gt=0)
    transcript_by: TranscriptBy = "adapter"
    translate_from: TranslateFrom = "speech"
    ctc_weight: float = Field(default=0.0, ge=0.0, lt=1.0)
