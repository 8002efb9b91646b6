"""`config.json` of an exported model, in transformers' form."""

from __future__ import annotations

import json
from typing import Any

from transformers import AutoConfig, PretrainedConfig

from dragoman.errors import ModelError
from dragoman.recipe import Recipe
from dragoman.recipe.audio import LogMelConfig


class DragomanConfig(PretrainedConfig):
    """Configs of the two bases, the resolved recipe, and what the tokenizer knows: the piece that stands for an audio
    embedding, and those in front of the audio (`PromptConfig.before_audio`)."""

    model_type = "dragoman"

    text_config: Any = None
    encoder_config: Any = None
    recipe: Any = None
    audio_token_id: int = 0
    lead_ids: Any = None

    def __post_init__(self, **others: Any) -> None:
        self.text_config = _config(self.text_config, "qwen2")
        self.encoder_config = _config(self.encoder_config, "whisper")
        self.lead_ids = list(self.lead_ids or ())
        super().__post_init__(**others)

    def parsed_recipe(self) -> Recipe:
        """The recipe as the rest of the package knows it."""
        return Recipe.model_validate_json(json.dumps(self.recipe))


def mel_table(recipe: Recipe) -> LogMelConfig:
    """What the encoder hears. Raises ModelError for an encoder that the plugin does not bring."""
    if not isinstance(recipe.audio, LogMelConfig):
        raise ModelError(f"{recipe.name}: the plugin for vLLM brings Whisper's encoder alone; this model has another.")
    return recipe.audio


def tokens_of_mel(recipe: Recipe, num_frames: int) -> int:
    """A of F mel frames."""
    return recipe.audio_tokens(mel_table(recipe).encoder_frames(num_frames))


def _config(found: Any, usual: str) -> PretrainedConfig:
    if isinstance(found, PretrainedConfig):
        return found
    values = dict(found or {})
    return AutoConfig.for_model(values.pop("model_type", usual), **values)
