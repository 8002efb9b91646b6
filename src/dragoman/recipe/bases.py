"""The tables that describe bases of our own: the corpus that they learn from, tokenizer, LLM and encoder."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from dragoman.recipe.stages import AugmentConfig, Schedule
from dragoman.recipe.strict import StrictModel
from dragoman.text.languages import is_code


class TatoebaConfig(StrictModel):
    """The corpus that the bases and stages learn from: everyday sentences, narrowed to a domain and spoken by
    espeak-ng (`dragoman prepare tatoeba`)."""

    languages: tuple[str, ...]
    """ISO 639-3 codes; English and at least one more."""
    max_words: int = Field(ge=1)
    """The longest text of the domain, in words."""
    vocabulary: int = Field(ge=1)
    """How many of the most frequent words of each language the domain knows."""
    clips_per_language: int = Field(ge=0)
    """Spoken training clips of each language, at most."""
    clips_of: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    """Languages that have another number of them."""
    spoken_first: tuple[str, ...] = ()
    """Languages whose sentences come first among the clips of the others too, so that these translate into them."""
    valid_sentences: int = Field(ge=0)
    """Sentences held out of training."""
    seed: int = Field(ge=0)

    @field_validator("languages", "spoken_first", mode="before")
    @classmethod
    def _toml_has_no_tuples(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("languages")
    @classmethod
    def _check_languages(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [code for code in languages if not is_code(code)]:
            raise ValueError(f"not ISO 639-3 codes that Dragoman knows: {', '.join(unknown)}")
        if "eng" not in languages or len(set(languages)) != len(languages) or len(languages) < 2:
            raise ValueError("name 'eng' and at least one other language, each once")
        return languages

    @model_validator(mode="after")
    def _of_its_languages(self) -> TatoebaConfig:
        if others := [code for code in (*self.clips_of, *self.spoken_first) if code not in self.languages]:
            raise ValueError(f"clips_of and spoken_first: {others[0]!r} is not among the corpus's languages")
        return self


class TokenizerBaseConfig(StrictModel):
    pieces: int = Field(gt=0)


class TransformerBaseConfig(StrictModel):
    """Widths and depth of a small transformer, and how it is pre-trained."""

    hidden: int = Field(gt=0)
    layers: int = Field(gt=0)
    heads: int = Field(gt=0)
    feed_forward: int = Field(gt=0)
    schedule: Schedule


class LlmBaseConfig(TransformerBaseConfig):
    """A decoder in Qwen2's shape, pre-trained on text in the task formats, with corrupted copies in the place of
    audio."""


class EncoderBaseConfig(TransformerBaseConfig):
    """A Whisper-shaped encoder pre-trained with CTC."""

    augment: AugmentConfig | None = None


class BasesConfig(StrictModel):
    corpus: TatoebaConfig
    tokenizer: TokenizerBaseConfig
    llm: LlmBaseConfig
    encoder: EncoderBaseConfig
