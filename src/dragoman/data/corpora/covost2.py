"""CoVoST-2: Common Voice with translations, 21 languages into English and English into 15.

    ROOT/fr/validated.tsv, ROOT/fr/clips/             a release of Common Voice, any; the corpus was made on 4.0
    TRANSLATIONS/covost_v2.fr_en.tsv                  path, translation, split

A recording is one utterance with all its translations, so English is there once, not fifteen times. As in the authors'
`get_covost_splits.py`: rows are joined on `path` with validated.tsv, the text is that table's `sentence`, and the split
`train_covost` is part of train.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dragoman.data.corpora.common_voice import clip, folders_of
from dragoman.data.corpora.formats.tables import Record, read_tsv
from dragoman.data.corpora.parts import (
    BadRecording,
    Corpus,
    CorpusItem,
    CorpusRow,
    ExcludedRecordings,
    PrepareOptions,
    check_splits,
    into_parts,
    manifest_name,
)
from dragoman.data.corpora.writing import PreparedManifest, prepare_parts
from dragoman.errors import DataError, LanguageError
from dragoman.text.languages import find

CORPUS = Corpus(
    name="covost2",
    title="CoVoST 2 and Massively Multilingual Speech-to-Text Translation",
    citation="Wang, Wu, Pino: CoVoST 2 and Massively Multilingual Speech-to-Text Translation. "
    "Interspeech 2021, https://arxiv.org/abs/2007.10310",
    licence="CC0 1.0",
    homepage="https://github.com/facebookresearch/covost",
    languages=(
        *("ara", "cat", "cmn", "cym", "deu", "eng", "est", "fas", "fra", "ind", "ita"),
        *("jpn", "lav", "mon", "nld", "por", "rus", "slv", "spa", "swe", "tam", "tur"),
    ),
    how="dragoman prepare covost2 --root cv-corpus-4 --translations covost --out data",
)
SPLITS = ("train", "dev", "test")

_FILE = re.compile(r"covost_v2\.([A-Za-z-]+)_([A-Za-z-]+)\.tsv")
_SPLIT_OF = {"train": "train", "train_covost": "train", "dev": "dev", "test": "test"}
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Translated:
    """What the translations say of one recording; `file` and `line` are where it comes first."""

    file: str
    line: int
    split: str
    texts: dict[str, str] = field(default_factory=dict)


def prepare(
    root: Path,
    translations: Path,
    out: Path,
    *,
    directions: Sequence[str] = (),
    splits: Sequence[str] = SPLITS,
    options: PrepareOptions,
) -> list[PreparedManifest]:
    """Prepare these directions ("fra-eng"), all whose table lies in `translations` by default. Raises DataError."""
    check_splits("CoVoST-2", splits, SPLITS)
    tables = _tables(translations, directions)
    sources = folders_of(root, (code for code, _ in tables))
    items: dict[str, list[CorpusItem]] = {f"{code}/{split}": [] for split in splits for code, _ in sources}
    for code, folder in sources:
        of_source = {target: path for (source, target), path in tables.items() if source == code}
        for split, item in _items(folder, code, of_source):
            if split is None or split in splits:
                items[f"{code}/{split or splits[0]}"].append(item)
    manifests = {name: manifest_name(CORPUS.name, name.partition("/")[2]) for name in items}
    parts = (part for name, found in items.items() for part in into_parts(manifests[name], name, found))
    total = sum(map(len, items.values()))
    return prepare_parts(CORPUS, parts, out, total=total, options=options)


def _tables(translations: Path, directions: Iterable[str]) -> dict[tuple[str, str], Path]:
    """(source, target) -> table."""
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(translations.glob("covost_v2.*_*.tsv")):
        match = _FILE.fullmatch(path.name)
        try:
            if match:
                found[find(match[1]).code, find(match[2]).code] = path
        except LanguageError as error:
            _log.warning("%s is left out: %s", path, error)
    wanted = [_direction(name) for name in directions] or list(found)
    missing = [f"{source}-{target}" for source, target in wanted if (source, target) not in found]
    if missing or not wanted:
        what = f"the table of {missing[0]}" if missing else "no covost_v2.*.tsv"
        raise DataError(f"{translations}: {'lacks ' if missing else 'holds '}{what}; fetch and unpack the tables.")
    return {pair: found[pair] for pair in wanted}


def _direction(name: str) -> tuple[str, str]:
    source, dash, target = name.strip().partition("-")
    if not dash:
        raise DataError(f"{name!r} is not a direction; write source and target, such as fra-eng.")
    return find(source).code, find(target).code


def _items(folder: Path, code: str, tables: dict[str, Path]) -> Iterator[tuple[str | None, CorpusItem]]:
    """(split, item) for the recordings of one source; what cannot be used may have no split."""
    wanted: dict[str, _Translated] = {}
    for target, path in tables.items():
        for record in read_tsv(path, ("path", "translation", "split"), escaped=True):
            problem = record if isinstance(record, BadRecording) else _note(wanted, record, target)
            if problem:
                yield None, problem
    sentences: dict[str, str] = {}
    for record in read_tsv(folder / "validated.tsv", ("path", "sentence"), escaped=True):
        if isinstance(record, BadRecording):
            yield None, record
        elif record.values["path"] in wanted:
            sentences[record.values["path"]] = record.values["sentence"].strip()
    for name, translated in wanted.items():
        if name in sentences:
            yield translated.split, clip(folder, name, _row(translated, name, sentences[name], folder.name, code))
        else:
            yield translated.split, ExcludedRecordings(reason=f"not in this release of Common Voice ({folder.name})")


def _note(wanted: dict[str, _Translated], record: Record, target: str) -> BadRecording | ExcludedRecordings | None:
    """Take a line of a table into `wanted`; what is wrong with it otherwise."""
    name, given = record.values["path"], record.values["split"]
    if given not in _SPLIT_OF:
        return ExcludedRecordings(reason=f"in the split {given!r}, which CoVoST-2 does not use")
    text = record.values["translation"].strip()
    if not text:
        return record.bad("there is no translation")
    split = _SPLIT_OF[given]
    known = wanted.setdefault(name, _Translated(record.file, record.line, split))
    if known.split != split:
        return record.bad(f"{name} is in {split}, but in {known.split} in {known.file}:{known.line}")
    if target in known.texts:
        return record.bad(f"{name} is there twice")
    known.texts[target] = text
    return None


def _row(translated: _Translated, name: str, sentence: str, locale: str, code: str) -> CorpusRow:
    return CorpusRow(
        file=translated.file,
        line=translated.line,
        id=f"covost2-{locale}-{PurePosixPath(name).stem}",
        language=code,
        text=sentence,
        translations=translated.texts,
    )
