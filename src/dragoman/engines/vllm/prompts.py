"""Prompts with the place of the audio in them, as token ids, and what comes back as text."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from dragoman.data.examples import TextEncoder
from dragoman.data.tasks import TASKS, LanguageTags, TaskItem, said
from dragoman.engines.vllm.config import DragomanConfig
from dragoman.errors import LanguageError

_PAIR = re.compile(r"<\|[^|<>]*\|>\s*<\|[^|<>]*\|>")


def with_audio(config: DragomanConfig, text_ids: Sequence[int]) -> list[int]:
    """[what leads][audio][text]: the order of every prompt that hears. One place stands for all of the audio."""
    return [*config.lead_ids, config.audio_token_id, *text_ids]


def without_audio(config: DragomanConfig, text_ids: Sequence[int]) -> list[int]:
    """[what leads][text]."""
    return [*config.lead_ids, *text_ids]


def speech_prompt(config: DragomanConfig, tokenizer: Any, language: str | None, target: str | None) -> list[int]:
    """What an endpoint asks: a transcript, or a translation into `target`, of speech in `language`; both by code or
    name. Raises ValueError, which becomes the answer to a bad request, for what the model cannot do."""
    recipe = config.parsed_recipe()
    if language is None:
        raise ValueError(f"{recipe.name} has to know what is spoken; name the language.")
    try:
        source = recipe.known_source(language)
        code = source if target is None else recipe.known_targets([target], source)[0]
    except LanguageError as error:
        raise ValueError(str(error)) from error
    tasks: Collection[str] = recipe.stages[-1].all_tasks if recipe.stages else TASKS.keys()
    wanted = ("asr",) if target is None else ("st", "srt")
    task = next((name for name in wanted if name in tasks), None)
    if task is None:
        what = "transcribe" if target is None else "translate speech in one go"
        raise ValueError(f"{recipe.name} was not trained to {what}; use `dragoman evaluate --engine vllm`.")
    tags = LanguageTags.from_prompt(recipe.prompt)
    text = TextEncoder(tokenizer, continues_text=bool(recipe.prompt.before_audio))
    return with_audio(config, text.prompt(TASKS[task].prompt(TaskItem(source, code), tags)))


def after_tags(output: str) -> str:
    """Of `transcript<|eng|><|deu|>translation` the translation; all of a text without tags."""
    return said(_PAIR.split(output)[-1]).strip()
