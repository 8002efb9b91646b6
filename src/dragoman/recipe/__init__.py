"""A recipe: all that decides the result of a training run, as strict typed data, and the numbers derived from it.

A recipe is a TOML file. Unknown keys, wrong types and unknown names are errors that name file and key. Nothing of
the machine (devices, paths, micro-batch) is in it. `extends = "name"` takes another recipe, one beside it first,
and overrides its tables key by key (lists and `tasks` are replaced whole). If it names stages, it has these, in its
order; what one leaves unsaid is as in the other recipe's stage of the same name.
"""

from dragoman.recipe.bases import Bases, EncoderBase, LlmBase, TatoebaCorpus
from dragoman.recipe.files import dump_recipe, load_recipe, names, parse_recipe, read_stored_recipe
from dragoman.recipe.model import (
    Adapter,
    Audio,
    Encoder,
    Llm,
    Lora,
    MlpAdapter,
    Prompt,
    QFormerAdapter,
    Quantisation,
    StackedAdapter,
    TranscriptBy,
    TranslateFrom,
    Vocabulary,
)
from dragoman.recipe.stages import Augment, Schedule, Source, Stage
from dragoman.recipe.whole import MEL_FRAMES_PER_S, Recipe

__all__ = [
    "MEL_FRAMES_PER_S",
    "Adapter",
    "Audio",
    "Augment",
    "Bases",
    "Encoder",
    "EncoderBase",
    "Llm",
    "LlmBase",
    "Lora",
    "MlpAdapter",
    "Prompt",
    "QFormerAdapter",
    "Quantisation",
    "Recipe",
    "Schedule",
    "Source",
    "StackedAdapter",
    "Stage",
    "TatoebaCorpus",
    "TranscriptBy",
    "TranslateFrom",
    "Vocabulary",
    "dump_recipe",
    "load_recipe",
    "names",
    "parse_recipe",
    "read_stored_recipe",
]
