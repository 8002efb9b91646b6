"""Anyone's own recordings, from what they have: one row a recording, or a Kaldi folder.

- **CSV, TSV, JSON lines.** The fields are called as in a manifest: `audio`, `language`, `text`, `id`, `sentence`,
  `start_s`, `duration_s`; `text_<language>` is a translation, as is an entry of `translations` in JSON. A manifest is
  such a table. Other names are mapped: `--column text=transcript`.
- **The papers' rows** (LLM-SRT, MCAT): JSON lines with `audio`, `prompt` and `gt`. Their rows for one recording, one
  a direction, become one utterance.
- **NeMo manifests**: JSON lines with `audio_filepath`, `duration`, `offset`, `text`, `source_lang`, `target_lang`,
  `answer`. United likewise.
- **Kaldi folders**: `wav.scp`, `segments`, `text`, `utt2lang`; `text_<language>` is a translation.

Tables come from others: every recording must lie below the root, and no command in them is run.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from dragoman.data.corpora.formats.kaldi import read_kaldi
from dragoman.data.corpora.formats.tables import Record, inside, read_csv, read_json_lines, read_tsv
from dragoman.data.corpora.parts import (
    BadRecording,
    Clip,
    Corpus,
    CorpusItem,
    CorpusRow,
    ExcludedRecordings,
    PrepareOptions,
    into_parts,
    manifest_name,
)
from dragoman.data.corpora.writing import PreparedManifest, prepare_parts
from dragoman.errors import DataError, LanguageError
from dragoman.text.languages import find

CORPUS = Corpus(
    name="table",
    title="Your own recordings",
    citation="Say here whose recordings these are.",
    licence="Say here what their owners allow.",
    homepage="-",
    languages=(),
    how="dragoman prepare table mine.csv --language deu --out data",
)
FIELDS = ("audio", "language", "text", "id", "sentence", "start_s", "duration_s", "translations")

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_TAKEN = ("valid", "skipped")
_TRANSLATION = "text_"
_log = logging.getLogger(__name__)
_TAGS = re.compile(r"<\|([^|<>]+)\|>(?:<\|([^|<>]+)\|>)?$")


@dataclass(frozen=True, slots=True)
class _Meaning:
    """How the rows of one table are to be understood."""

    name: str
    root: Path
    language: str | None
    columns: Mapping[str, str]
    """Our field -> their column, where the two differ."""
    found: set[str] = field(default_factory=set)
    """The columns of rows that are called as ours are."""

    def left_alone(self) -> list[str]:
        """The columns that say nothing to us."""
        known = {*FIELDS, *self.columns.values()}
        return sorted(name for name in self.found - known if not name.startswith(_TRANSLATION))


def prepare(
    source: Path,
    out: Path,
    *,
    name: str | None = None,
    split: str = "train",
    root: Path | None = None,
    language: str | None = None,
    columns: Mapping[str, str] | None = None,
    options: PrepareOptions,
) -> list[PreparedManifest]:
    """Prepare one table as one split of the corpus `name` (the table's own name by default).

    `root` is where relative paths start and below which every recording lies (the table's folder by default);
    `language` is that of rows which name none; `columns` maps our fields to the table's columns. Raises DataError.
    """
    name = name or source.stem
    if name in _TAKEN:
        raise DataError(f"{name}.jsonl is a file of prepare's own; give the corpus another name (--name).")
    if not _NAME.fullmatch(name) or not _NAME.fullmatch(split):
        raise DataError(f"{name!r}, {split!r}: name corpus and split with letters, digits, - and _ (--name, --split).")
    unknown = [field for field in columns or {} if field not in FIELDS and not field.startswith(_TRANSLATION)]
    if unknown:
        fields = f"{', '.join(FIELDS)} and {_TRANSLATION}<language>"
        raise DataError(f"There is no field {unknown[0]!r} to map a column to; the fields are {fields}.")
    manifest = manifest_name(name, split)
    if os.path.abspath(out / f"{manifest}.jsonl") == os.path.abspath(source):
        raise DataError(f"{source}: would be overwritten by its own manifest; choose another --out or --name.")
    folder = source if source.is_dir() else source.parent
    meaning = _Meaning(name, root or folder, find(language).code if language else None, columns or {})
    items = list(_unique(_items(source, meaning)))
    if others := meaning.left_alone():
        use = f"--column text={others[0]} takes one for the transcript, text_deu={others[0]} for a translation"
        _log.warning("%s: columns ignored: %s (%s).", source, ", ".join(others), use)
    parts = into_parts(manifest, split, items)
    return prepare_parts(CORPUS, parts, out, name=name, total=len(items), options=options)


def _items(source: Path, meaning: _Meaning) -> Iterator[CorpusItem]:
    """The recordings of a table; those of one recording that speak of several targets are united."""
    united: dict[tuple[str, float, float | None], Clip] = {}
    for record in _records(source, meaning):
        if not isinstance(record, Record):
            yield record
            continue
        try:
            kind = _kind(record)
            clip = _clip(kind(record, meaning), meaning, record)
            if kind is _plain:
                yield clip
                continue
            key = (str(clip.audio), clip.row.start_s, clip.row.duration_s)
            united[key] = _unite(united[key], clip) if key in united else clip
        except (ValueError, LanguageError) as error:
            yield record.bad(str(error).rstrip("."))
    yield from united.values()


def _unique(items: Iterable[CorpusItem]) -> Iterator[CorpusItem]:
    first: dict[str, Clip] = {}
    for item in items:
        if isinstance(item, Clip) and first.setdefault(item.row.id, item) is not item:
            yield item.row.bad(_twice(item, first[item.row.id]))
            continue
        yield item


def _twice(clip: Clip, first: Clip) -> str:
    """What to do about an id that is there before."""
    said = f"the id {clip.row.id!r} is already on line {first.row.line}"
    if clip.name == first.name:
        return f"{said}, of the same recording; leave one row out, or tell them apart by a column id"
    return f"{said}, of {first.name}, and this is {clip.name}; tell them apart by a column id"


def _unite(first: Clip, second: Clip) -> Clip:
    """Raises ValueError where the two contradict each other."""
    ours, new = first.row, second.row
    if ours.language != new.language or (ours.text and new.text and ours.text != new.text):
        raise ValueError(f"another language or transcript than on line {ours.line}, of the same recording")
    for code, text in new.translations.items():
        if ours.translations.get(code, text) != text:
            raise ValueError(f"another translation into {code} than on line {ours.line} or after it")
    row = replace(ours, text=ours.text or new.text, translations={**ours.translations, **new.translations})
    return replace(first, row=row)


# -------------------------------------------------------------------------------------- what tables look like


def _records(source: Path, meaning: _Meaning) -> Iterator[Record | BadRecording | ExcludedRecordings]:
    needed = [meaning.columns.get("audio", "audio"), *meaning.columns.values()]
    kind = "kaldi" if source.is_dir() else source.suffix.lower()
    if kind == "kaldi":
        return read_kaldi(source)
    if kind == ".csv":
        return read_csv(source, needed)
    if kind == ".tsv":
        return read_tsv(source, needed)
    if kind in (".jsonl", ".json"):
        return read_json_lines(source)
    raise DataError(f"{source}: is neither .csv, .tsv nor .jsonl, nor a Kaldi folder; save it as one of them.")


def _kind(record: Record) -> Callable[[Record, _Meaning], dict[str, Any]]:
    """What brings the values of such a row under our names."""
    if "audio_filepath" in record.values:
        return _from_nemo
    return _from_papers if {"audio", "prompt", "gt"} <= record.values.keys() else _plain


def _plain(record: Record, meaning: _Meaning) -> dict[str, Any]:
    meaning.found.update(record.values)
    mapped = {ours: record.values[theirs] for ours, theirs in meaning.columns.items() if theirs in record.values}
    return record.values | mapped


def _from_nemo(record: Record, meaning: _Meaning) -> dict[str, Any]:
    """As Canary reads it: `answer`, else `text`, is in `target_lang`; beside an answer, `text` is the transcript."""
    given = record.values
    source = _language(_text(given, "source_lang") or _text(given, "lang") or meaning.language)
    target = _language(_text(given, "target_lang") or source)
    answer, text = _text(given, "answer"), _text(given, "text")
    answer = "" if answer == "na" else answer  # Canary's word for none
    values = {"audio": given["audio_filepath"], "language": source}
    values |= {"start_s": given.get("offset"), "duration_s": given.get("duration")}
    if target == source:
        return values | {"text": answer or text}
    return values | {"text": text if answer else "", _TRANSLATION + target: answer or text}


def _from_papers(record: Record, meaning: _Meaning) -> dict[str, Any]:
    """ASR, SMT, SRT or plain translation: recognised by the tags at the end of the prompt and inside the answer."""
    prompt, answer = _text(record.values, "prompt"), _text(record.values, "gt")
    tags = _TAGS.search(prompt)
    if not tags:
        raise ValueError(f"the prompt {prompt!r} does not end with a language's tag, such as <|eng|><|deu|>")
    values = {"audio": record.values["audio"], "language": _language(tags[1])}
    if tags[2] is None:
        return values | {"text": answer}
    transcript, tag, translation = answer.rpartition(tags[0])
    return values | {
        "text": transcript if tag else prompt[: tags.start()],
        _TRANSLATION + _language(tags[2]): translation,
    }


# ------------------------------------------------------------------------------------------------ one row


def _clip(values: Mapping[str, Any], meaning: _Meaning, record: Record) -> Clip:
    """Raises ValueError or LanguageError, in a sentence, for what cannot be understood."""
    audio = _text(values, "audio")
    path = inside(meaning.root, audio)
    start_s = _seconds(values, "start_s") or 0.0
    language = _language(_text(values, "language") or meaning.language)
    sentence = _text(values, "sentence")
    row = CorpusRow(
        file=record.file,
        line=record.line,
        id=f"{meaning.name}-{_text(values, 'id') or _default_id(path, start_s, meaning)}",
        language=language,
        text=_text(values, "text"),
        start_s=start_s,
        duration_s=_seconds(values, "duration_s"),
        sentence=f"{meaning.name}-{sentence}" if sentence else None,
        translations=_translations(values, language),
    )
    return Clip(row, path, audio)


def _default_id(path: Path, start_s: float, meaning: _Meaning) -> str:
    name = path.relative_to(os.path.abspath(meaning.root)).with_suffix("").as_posix()
    return f"{name}-{start_s:.3f}" if start_s else name


def _translations(values: Mapping[str, Any], language: str) -> dict[str, str]:
    given = values.get("translations") or {}
    if not isinstance(given, dict):
        raise ValueError('translations is not an object such as {"deu": "…"}')
    found = {_language(name): _text(given, name) for name in given}
    for name in values:
        if name.startswith(_TRANSLATION) and (code := _target(name.removeprefix(_TRANSLATION))):
            found[code] = _text(values, name)
    return {code: text for code, text in found.items() if text and code != language}


@cache
def _target(name: str) -> str | None:
    try:
        found = find(name)
    except LanguageError:
        _log.warning("The column %s is ignored: %r is not a language.", _TRANSLATION + name, name)
        return None
    if not found.fleurs:  # three letters are easily the code of some language
        _log.warning("The column %s is taken for %s (%s).", _TRANSLATION + name, found.name, found.code)
    return found.code


def _language(name: str | None) -> str:
    if not name:
        raise ValueError("no language is named; give it with --language, or say its column with --column")
    return find(name).code


def _text(values: Mapping[str, Any], field: str) -> str:
    value = values.get(field)
    if value is None:
        return ""
    if not isinstance(value, str | int | float):
        raise ValueError(f"{field} is not a string")
    return str(value).strip()


def _seconds(values: Mapping[str, Any], field: str) -> float | None:
    given = _text(values, field)
    if not given:
        return None
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{field} is {given!r}, not a number of seconds")
    return seconds
