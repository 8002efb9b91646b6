"""Base models: where an encoder or an LLM that a recipe names lies, fetched and trimmed first if need be."""

from __future__ import annotations

from pathlib import Path

from dragoman.errors import ModelError
from dragoman.model.bases.catalogue import FETCHABLE_BASES
from dragoman.model.bases.fetch import fetch_base
from dragoman.model.bases.location import BaseLocation
from dragoman.recipe import EncoderConfig, LlmConfig, Recipe

VOCABULARY = "vocabulary.json"
"""The pieces that a trimmed LLM keeps, in the folder of the model."""


def find_llm(settings: LlmConfig, folder: Path | None) -> BaseLocation:
    """`folder` is the model's, which holds the LLM itself or the list of its pieces. Raises ModelError."""
    if settings.name == "base":
        return BaseLocation(_inside(folder, "llm"), _inside(folder, "tokenizer"), own=True)
    if settings.vocabulary is None:
        return _named(settings)
    from dragoman.model.bases.vocabulary import trimmed_llm

    if folder is None or not (folder / VOCABULARY).is_file():
        raise ModelError(f"{folder}/{VOCABULARY} is missing, which lists the pieces that are kept of {settings.name}.")
    trimmed = trimmed_llm(_identity(settings), folder / VOCABULARY, lambda: _named(settings))
    return BaseLocation(trimmed, trimmed, own=True)


def find_encoder(settings: EncoderConfig, folder: Path | None) -> BaseLocation:
    """As `find_llm`; an encoder has no tokenizer of its own here."""
    if settings.name == "base":
        place = _inside(folder, "encoder")
        return BaseLocation(place, place, own=True)
    return _named(settings)


def fetched_bases(recipe: Recipe) -> list[str]:
    """The names of the bases of a recipe that `fetch_base` knows."""
    return [part.name for part in (recipe.encoder, recipe.llm) if _is_fetched(part)]


def _named(settings: EncoderConfig | LlmConfig) -> BaseLocation:
    if not _is_fetched(settings):
        return BaseLocation(settings.name, settings.name, settings.revision)
    folder = fetch_base(settings.name)
    return BaseLocation(folder, folder)


def _identity(settings: LlmConfig) -> str:
    """Tells the weights of an LLM from others; those of a folder by when they were written."""
    if _is_fetched(settings):
        return f"{settings.name} {[file.sha256 for file in FETCHABLE_BASES[settings.name].files]}"
    if not Path(settings.name).is_dir():
        return f"{settings.name} {settings.revision}"
    stats = [(path.name, path.stat()) for path in sorted(Path(settings.name).iterdir())]
    return f"{[(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]}"


def _is_fetched(settings: EncoderConfig | LlmConfig) -> bool:
    return settings.name in FETCHABLE_BASES and not Path(settings.name).is_dir()


def _inside(folder: Path | None, part: str) -> Path:
    if folder is None or not (folder / part).is_dir():
        raise ModelError(f"{folder}/{part} is missing; make it with `dragoman bases`.")
    return folder / part
