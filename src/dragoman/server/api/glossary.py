"""A glossary as a field: an object of terms and their translations, or a list of objects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from dragoman.errors import LanguageError
from dragoman.inference.decoding.glossary import Glossary, Term
from dragoman.inference.translator import Translator
from dragoman.server.errors_api import ApiError
from dragoman.text.languages import find

_MOST_TERMS = 10_000


class GlossaryTerm(BaseModel):
    """What is said and what is to be written; in or from a language alone, where one is named."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)
    term: str = Field(min_length=1)
    translation: str = Field(min_length=1)
    source: str | None = None
    target: str | None = None


def _listed(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError('is JSON: {"cat": "Kater"}, or [{"term": "cat", "translation": "Kater"}]') from None
    if isinstance(value, dict):
        return [{"term": term, "translation": translation} for term, translation in value.items()]
    return value


GlossaryTerms = Annotated[list[GlossaryTerm], BeforeValidator(_listed), Field(max_length=_MOST_TERMS)]


def checked_glossary(
    terms: Sequence[GlossaryTerm],
    targets: Sequence[str] | None,
    translator: Translator,
    named: Sequence[str] | None = (),
) -> Glossary | None:
    """None where there are no terms. Raises ApiError where the terms contradict each other, name a language that there
    is not, where nothing is translated, or the model takes none. `named`: the targets before that which is spoken was
    left out of them."""
    if not terms:
        return None
    if not translator.supports_phrases:
        raise _refused(f"{translator.name} takes none; leave it out")
    if targets is not None and not targets:
        instead = "name another language than what is spoken" if named else "name a target_language"
        raise _refused(f"it is for translations; {instead}")
    found: dict[tuple[str, str | None, str | None], str] = {}
    for one in terms:
        key = (" ".join(one.term.split()), _code(one.source), _code(one.target))
        translation = " ".join(one.translation.split())
        if found.setdefault(key, translation) != translation:
            raise _refused(f"{one.term!r} has two translations; keep one")
    return Glossary(tuple(Term(term, text, source, target) for (term, source, target), text in found.items()))


def _code(name: str | None) -> str | None:
    try:
        return find(name).code if name else None
    except LanguageError as error:
        raise _refused(str(error).removesuffix(".")) from None


def _refused(why: str) -> ApiError:
    return ApiError(400, f"glossary: {why}.", "glossary", "invalid_value")
