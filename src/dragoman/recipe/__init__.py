"""A recipe: all that decides the result of a training run, as strict typed data, and the numbers derived from it.

A recipe is a TOML file. Unknown keys, wrong types and unknown names are errors that name file and key. Nothing of
the machine (devices, paths, micro-batch) is in it. `extends = "name"` takes another recipe, one beside it first,
and overrides its tables key by key (lists and `tasks` are replaced whole). If it names stages, it has these, in its
order; what one leaves unsaid is as in the other recipe's stage of the same name. A table of another `kind` is replaced
whole.
"""

from dragoman.recipe.audio import ENCODER_FRAMES_PER_S, AudioConfig, FbankConfig, LogMelConfig, WaveformConfig
from dragoman.recipe.bases import BasesConfig, EncoderBaseConfig, LlmBaseConfig, TatoebaConfig
from dragoman.recipe.files import dump_recipe, load_recipe, names, parse_recipe, read_stored_recipe
from dragoman.recipe.model import (
    AdapterConfig,
    EncoderConfig,
    LlmConfig,
    Lora,
    MlpConfig,
    PromptConfig,
    QFormerConfig,
    Quantisation,
    SmtTranscript,
    StackedConfig,
    TranscriptBy,
    TranslateFrom,
    VocabularyConfig,
)
from dragoman.recipe.recipe import Recipe
from dragoman.recipe.stages import AugmentConfig, DataSource, Schedule, Stage

__all__ = [
    "ENCODER_FRAMES_PER_S",
    "AdapterConfig",
    "AudioConfig",
    "AugmentConfig",
    "BasesConfig",
    "DataSource",
    "EncoderBaseConfig",
    "EncoderConfig",
    "FbankConfig",
    "LlmBaseConfig",
    "LlmConfig",
    "LogMelConfig",
    "Lora",
    "MlpConfig",
    "PromptConfig",
    "QFormerConfig",
    "Quantisation",
    "Recipe",
    "Schedule",
    "SmtTranscript",
    "StackedConfig",
    "Stage",
    "TatoebaConfig",
    "TranscriptBy",
    "TranslateFrom",
    "VocabularyConfig",
    "WaveformConfig",
    "dump_recipe",
    "load_recipe",
    "names",
    "parse_recipe",
    "read_stored_recipe",
]
