"""Common Voice, any release: sentences read aloud by volunteers, for ASR.

    ROOT/de/{train,dev,test,validated,other,invalidated}.tsv    columns by name; they differ between releases
    ROOT/de/clips/common_voice_de_17298952.mp3

`clip_durations.tsv` is not read: durations are those of the decoded samples. Beside train, dev and test there are
supersets of them. What shares a clip, a sentence or a speaker with dev or test is left out of those, so that any of
them can be trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from dragoman.data.corpora.formats.tables import Record, count_lines, inside, read_tsv
from dragoman.data.corpora.parts import (
    BadRecording,
    Clip,
    Corpus,
    CorpusItem,
    CorpusPart,
    CorpusRow,
    ExcludedRecordings,
    PrepareOptions,
    into_parts,
    manifest_name,
)
from dragoman.data.corpora.writing import PreparedManifest, prepare_parts
from dragoman.errors import DataError
from dragoman.text.languages import LANGUAGES

# Common Voice's names where they are not the ISO 639-1 code. Chinese of Taiwan (zh-TW) stays out: another script.
_LOCALES: dict[str, tuple[str, ...]] = {
    "cmn": ("zh-CN",),
    "gle": ("ga-IE",),
    "hye": ("hy-AM",),
    "nan": ("nan-tw",),
    "nno": ("nn-NO",),
    "nob": ("nb-NO",),
    "npi": ("ne-NP",),
    "pan": ("pa-IN",),
    "roh": ("rm-sursilv", "rm-vallader"),
    "swe": ("sv-SE",),
    "yue": ("yue", "zh-HK"),
}
CORPUS = Corpus(
    name="common_voice",
    title="Common Voice: A Massively-Multilingual Speech Corpus",
    citation="Ardila et al.: Common Voice: A Massively-Multilingual Speech Corpus. "
    "LREC 2020, https://aclanthology.org/2020.lrec-1.520",
    licence="CC0 1.0 (do not try to find out who the speakers are)",
    homepage="https://commonvoice.mozilla.org/datasets",
    languages=(),
    how="dragoman prepare common_voice --root cv-corpus-19.0-2024-09-13 --languages deu,fra --out data",
)
SPLITS = ("train", "dev", "test")
SUPERSETS = ("validated", "other", "invalidated")


def prepare(
    root: Path,
    languages: Sequence[str],
    out: Path,
    *,
    splits: Sequence[str] = SPLITS,
    options: PrepareOptions,
) -> list[PreparedManifest]:
    """Prepare these languages (ISO 639-3) and tables of a release. Raises DataError."""
    wrong = [split for split in splits if split not in SPLITS + SUPERSETS]
    if wrong:
        raise DataError(f"Common Voice has no table {wrong[0]!r}; it has {', '.join(SPLITS + SUPERSETS)}.")
    folders = folders_of(root, languages)
    total = sum(max(count_lines(folder / f"{split}.tsv") - 1, 0) for _, folder in folders for split in splits)
    parts = (part for split in splits for code, folder in folders for part in _parts(folder, code, split))
    return prepare_parts(CORPUS, parts, out, total=total, options=options)


def folders_of(root: Path, languages: Iterable[str]) -> list[tuple[str, Path]]:
    """The folders of languages in a release; one of each, except where it has several names. Raises DataError."""
    languages = dict.fromkeys(languages)
    names = {code: _LOCALES.get(code) or tuple(filter(None, (LANGUAGES[code].iso1, code))) for code in languages}
    found = [(code, root / name) for code in languages for name in names[code] if (root / name).is_dir()]
    there = {code for code, _ in found}
    if missing := [f"{' or '.join(names[code])} for {code}" for code in languages if code not in there]:
        rest = f", as in --languages {','.join(code for code in languages if code in there)}" if there else ""
        raise DataError(f"{root}: has no folder {', '.join(missing)}; fetch these languages or leave them out{rest}.")
    return found


def clip(folder: Path, name: str, row: CorpusRow) -> Clip | BadRecording:
    """The recording that a table of a release names."""
    try:
        return Clip(row, inside(folder / "clips", name), name)
    except ValueError as error:
        return row.bad(str(error).partition(";")[0])


def _parts(folder: Path, code: str, split: str) -> Iterator[CorpusPart]:
    name = f"{code}/{folder.name}-{split}"
    yield from into_parts(manifest_name(CORPUS.name, split), name, _clips(folder, code, split))


def _clips(folder: Path, code: str, split: str) -> Iterator[CorpusItem]:
    held_out = _HeldOut(folder) if split in SUPERSETS else None
    seen: dict[str, int] = {}
    for record in read_tsv(folder / f"{split}.tsv", ("path", "sentence"), escaped=True):
        if isinstance(record, BadRecording):
            yield record
        elif held_out and record in held_out:
            yield ExcludedRecordings(reason="of a clip, sentence or speaker of dev or test")
        elif (name := record.values["path"]) in seen:
            yield record.bad(f"{name} is already on line {seen[name]}")
        else:
            seen[name] = record.line
            yield clip(folder, name, _row(record, folder.name, code))


def _row(record: Record, locale: str, code: str) -> CorpusRow:
    return CorpusRow(
        file=record.file,
        line=record.line,
        id=f"common_voice-{locale}-{PurePosixPath(record.values['path']).stem}",
        language=code,
        text=record.values["sentence"].strip(),
    )


class _HeldOut:
    """What training must not hear: the clips, sentences and speakers of dev and test."""

    columns = ("path", "sentence", "client_id")

    def __init__(self, folder: Path) -> None:
        self._known: dict[str, set[str]] = {name: set() for name in self.columns}
        for split in ("dev", "test"):
            for record in read_tsv(folder / f"{split}.tsv", self.columns, escaped=True):
                if isinstance(record, Record):
                    for name in self.columns:
                        self._known[name].add(record.values[name])

    def __contains__(self, record: Record) -> bool:
        return any(record.values.get(name) in known for name, known in self._known.items())
