"""Terms and how they are to be translated. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dragoman.errors import DataError, LanguageError
from dragoman.inference.decoding.phrases import folded, occurrences
from dragoman.text.csv_rows import csv_rows
from dragoman.text.languages import find

_COLUMNS = ("term", "translation", "source", "target")


@dataclass(frozen=True)
class Term:
    """What is said and what is to be written; only from or into a language (ISO 639-3) where one is named."""

    term: str
    translation: str
    source: str | None = None
    target: str | None = None


@dataclass(frozen=True)
class Glossary:
    terms: tuple[Term, ...]

    @classmethod
    def read(cls, path: str | Path) -> Glossary:
        """A CSV file with the columns term and translation, and if wanted source and target (a language by code or
        name; empty: any). Separated by commas, semicolons or tabs. Raises DataError, which names file and line."""
        terms = dict(_rows(Path(path)))
        if not terms:
            raise DataError(f"{path}: the glossary holds no term; give lines like: cat,Kater.")
        return cls(tuple(Term(*key[:1], translation, *key[1:]) for key, translation in terms.items()))

    def terms_for(self, source: str, target: str, transcript: str) -> tuple[str, ...]:
        """The translations of the terms that are said, case aside, as words of their own. Of terms one in another the
        longer counts, of the same term's entries the one that names the languages."""
        text, found = folded(transcript), []
        for term in sorted(self.terms, key=lambda term: (-len(term.term), term.source is None, term.target is None)):
            if term.source not in (None, source) or term.target not in (None, target):
                continue
            phrase = folded(term.term)
            places = list(occurrences(phrase, text, source))
            for at in places:
                text = text[:at] + "\0" * len(phrase) + text[at + len(phrase) :]
            if places:
                found.append(term.translation)
        return tuple(dict.fromkeys(found))


def _rows(path: Path) -> Iterator[tuple[tuple[str, str | None, str | None], str]]:
    """((term, source, target), translation) of each row."""
    table = csv_rows(path, _COLUMNS[:2])
    names = [name.strip().lower() for name in next(table, (1, list[str]()))[1]]
    if not {"term", "translation"} <= set(names) <= set(_COLUMNS):
        raise DataError(f"{path}: the first line must name the columns: term,translation and if wanted source,target.")
    seen: dict[tuple[str, str | None, str | None], str] = {}
    for line, row in table:
        where = f"{path}, line {line}"
        if len(row) > len(names):
            raise DataError(f'{where}: has more cells than columns; put a text with a comma in quotes: "a, b".')
        found = dict(zip(names, row, strict=False))
        cells = {name: " ".join(found.get(name, "").split()) for name in _COLUMNS}
        if not any(cells.values()):
            continue
        if not cells["term"] or not cells["translation"]:
            raise DataError(f"{where}: has no {'term' if not cells['term'] else 'translation'}; fill both cells.")
        key = (cells["term"], _language(cells["source"], where), _language(cells["target"], where))
        if seen.setdefault(key, cells["translation"]) != cells["translation"]:
            raise DataError(f"{where}: {cells['term']!r} has another translation further up; keep one.")
        yield key, cells["translation"]


def _language(name: str, where: str) -> str | None:
    try:
        return find(name).code if name else None
    except LanguageError as error:
        raise DataError(f"{where}: {error}") from error
