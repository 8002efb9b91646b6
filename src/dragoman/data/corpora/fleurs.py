"""FLEURS: 102 languages read aloud, sentence by sentence the same; configurations and columns as in its loading script.

Two layouts, as on the hub (google/fleurs):

    data/de_de/{train,dev,test}.tsv            no header; id, file name, raw transcription, transcription,
                                               transcription in letters, number of samples, gender
    data/de_de/audio/{train,dev,test}.tar.gz   train/1000….wav
    de_de/**/*.parquet                         as converted; train, validation, test in folder or file name

`id` is the number of the FLORES sentence, shared by all languages: it becomes `sentence`, so that utterances are
translations of one another. A sentence was read by up to three people of a language.
"""

from __future__ import annotations

import gzip
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from dragoman.data.corpora.formats.tables import Record, count_lines, is_plain_member, read_tsv
from dragoman.data.corpora.parts import (
    BadRecording,
    Clip,
    Corpus,
    CorpusItem,
    CorpusPart,
    CorpusRow,
    ExcludedRecordings,
    PrepareOptions,
    check_splits,
    digest,
    manifest_name,
)
from dragoman.data.corpora.writing import PreparedManifest, prepare_parts
from dragoman.errors import DataError, needs_extra
from dragoman.text.languages import LANGUAGES, SETS

CORPUS = Corpus(
    name="fleurs",
    title="FLEURS: Few-shot Learning Evaluation of Universal Representations of Speech",
    citation="Conneau et al.: FLEURS: Few-shot Learning Evaluation of Universal Representations of Speech. "
    "IEEE SLT 2022, https://arxiv.org/abs/2205.12446",
    licence="CC BY 4.0",
    homepage="https://huggingface.co/datasets/google/fleurs",
    languages=SETS["fleurs-102"],
    how="dragoman prepare fleurs --languages mcat-28 --out data",
)
SPLITS = ("train", "dev", "test")
COLUMNS = ("id", "file_name", "raw_transcription", "transcription", "letters", "num_samples", "gender")

_PARQUET_SPLITS = {"train": ("train",), "dev": ("validation", "dev"), "test": ("test",)}
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})")
_CLIPS_AT_ONCE = 16
_BROKEN = (tarfile.TarError, zlib.error, EOFError, OSError)


def prepare(
    root: Path | None,
    languages: Sequence[str],
    out: Path,
    *,
    splits: Sequence[str] = SPLITS,
    options: PrepareOptions,
) -> list[PreparedManifest]:
    """Prepare these languages (ISO 639-3) and splits; fetched from the hub without a root. Raises DataError."""
    check_splits("FLEURS", splits, SPLITS)
    if lacking := [code for code in languages if code not in CORPUS.languages]:
        raise DataError(f"FLEURS has no {LANGUAGES[lacking[0]].name} ({lacking[0]}); leave it out.")
    root = root or download(languages, splits)
    parts = [part for split in splits for code in languages for part in parts_of(root, code, split)]
    total = sum(part.size for part in parts)
    return prepare_parts(CORPUS, parts, out, total=total, options=options)


def download(languages: Sequence[str], splits: Sequence[str]) -> Path:
    """Fetch them into the hub's cache, which goes on where it stopped; returns the root. Raises DataError."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    folders = [f"data/{LANGUAGES[code].fleurs}" for code in languages]
    wanted = [f"{folder}/{name}" for folder in folders for s in splits for name in (f"{s}.tsv", f"audio/{s}.tar.gz")]
    try:
        return Path(snapshot_download("google/fleurs", repo_type="dataset", allow_patterns=wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise DataError(
            "FLEURS cannot be fetched from the Hugging Face hub: check the network, or name a copy of it with --root."
        ) from error


def parts_of(root: Path, code: str, split: str) -> list[CorpusPart]:
    """The parts of one language and split, whichever layout it has. Raises DataError when there is none."""
    config = LANGUAGES[code].fleurs
    assert config, code
    manifest = manifest_name(CORPUS.name, split)
    for base in (root / "data" / config, root / config, root / "parquet-data" / config):
        table, archive = base / f"{split}.tsv", base / "audio" / f"{split}.tar.gz"
        if table.is_file():
            if not archive.is_file():
                raise DataError(f"{archive}: is missing beside {table.name}; fetch it again.")
            mark = digest(table.read_bytes(), archive.stat().st_size, code, split)
            return [
                CorpusPart(
                    manifest, f"{code}/{split}", partial(read_tar, table, archive, code), count_lines(table), mark
                )
            ]
        if files := _parquet_files(base, split):
            return [part for file in files for part in _parquet_parts(file, base, manifest, code, split)]
    raise DataError(f"{root}: holds neither data/{config}/{split}.tsv nor {config}/…{split}….parquet; check --root.")


def _row(record: Record, code: str, name: str) -> CorpusRow | BadRecording:
    number = str(record.values["id"]).strip()
    if not number.isdecimal():
        return record.bad(f"the sentence id {number!r} is not a number")
    return CorpusRow(
        file=record.file,
        line=record.line,
        id=f"fleurs-{code}-{PurePosixPath(name).stem}",
        language=code,
        text=str(record.values["raw_transcription"] or "").strip(),
        sentence=f"fleurs-{int(number)}",
    )


# -------------------------------------------------------------------------------------- table and archive


def read_tar(table: Path, archive: Path, code: str) -> Iterator[CorpusItem]:
    """The recordings of an archive, read once from front to back, each with its row; then what is missing."""
    rows: dict[str, CorpusRow] = {}
    for record in read_tsv(table, COLUMNS, COLUMNS):
        row = record if isinstance(record, BadRecording) else _row(record, code, record.values["file_name"])
        if isinstance(row, BadRecording):
            yield row
        elif isinstance(record, Record) and (name := record.values["file_name"]) in rows:
            yield row.bad(f"{name} is already on line {rows[name].line}")
        elif isinstance(record, Record):
            rows[record.values["file_name"]] = row
    waiting = dict(rows)
    yield from _members(archive, rows, waiting)
    yield from (row.bad(f"{name} is not in {archive}") for name, row in waiting.items())


def _members(archive: Path, rows: dict[str, CorpusRow], waiting: dict[str, CorpusRow]) -> Iterator[CorpusItem]:
    """Members are recognised by their last name, as in the hub's own loader, and never unpacked by it."""
    heard = 0
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as members:
            for member in members:
                name = PurePosixPath(member.name).name
                if member.isdir():
                    continue
                if not member.isfile() or not is_plain_member(member.name):
                    yield BadRecording(
                        file=str(archive), reason=f"the member {member.name!r} is a link or points outside"
                    )
                elif name in waiting:
                    file = members.extractfile(member)
                    content = file.read() if file else b""  # may fail: the row waits on
                    yield Clip(waiting.pop(name), content, name)
                    heard += 1
                else:
                    yield ExcludedRecordings(
                        reason="twice in its archive" if name in rows else "in an archive, but in no table"
                    )
            while stream.read(1 << 20):  # to the end, where gzip keeps its checksum
                pass
    except _BROKEN as error:
        reason = f"is cut off or damaged after {heard} recordings ({error}); fetch it again"
        yield BadRecording(file=str(archive), reason=reason)


# ------------------------------------------------------------------------------------------------ parquet


def _parquet_files(base: Path, split: str) -> list[Path]:
    """The files of a split, all of them. Raises DataError when one of the numbered ones is missing."""
    word = re.compile(rf"(?<![a-z])({'|'.join(_PARQUET_SPLITS[split])})(?![a-z])")
    files = [path for path in sorted(base.rglob("*.parquet")) if word.search(path.relative_to(base).as_posix())]
    totals = {int(match[2]) for path in files if (match := _SHARD.search(path.name))}
    if totals and len(files) != max(totals):
        raise DataError(f"{base}: holds {len(files)} of {max(totals)} parquet files of {split}; fetch the others.")
    return files


def _parquet_parts(file: Path, base: Path, manifest: str, code: str, split: str) -> Iterator[CorpusPart]:
    parquet = _opened(file)
    name = f"{code}/{split}-{digest(file.relative_to(base).as_posix())}"
    first = 1
    for group in range(parquet.metadata.num_row_groups):
        size = parquet.metadata.row_group(group).num_rows
        mark = digest(file.stat().st_size, group, first, code, split)
        yield CorpusPart(manifest, f"{name}-{group:04d}", partial(read_parquet, file, group, first, code), size, mark)
        first += size


def read_parquet(file: Path, group: int, first: int, code: str) -> Iterator[CorpusItem]:
    """The recordings of one row group; `first` is the number of its first row in the file, from 1."""
    parquet = _opened(file)
    columns = ["id", "audio", "raw_transcription"]
    try:
        batches = parquet.iter_batches(_CLIPS_AT_ONCE, row_groups=[group], columns=columns)
        values = (row for batch in batches for row in batch.to_pylist())
        for line, row in enumerate(values, first):
            yield _parquet_item(Record(str(file), line, row), code)
    except (OSError, ValueError) as error:
        yield BadRecording(file=str(file), reason=f"is damaged ({str(error).splitlines()[0]}); fetch it again")


def _parquet_item(record: Record, code: str) -> CorpusItem:
    given = record.values["audio"]
    audio: dict[str, Any] = given if isinstance(given, dict) else {}
    name = audio.get("path") or f"{Path(record.file).stem}-{record.line}.wav"
    row = _row(record, code, name)
    if isinstance(row, BadRecording):
        return row
    content = audio.get("bytes")
    return Clip(row, content, name) if content else row.bad("there is no recording")


def _opened(file: Path) -> Any:
    """A parquet file that has the columns we need. Raises DataError."""
    with needs_extra("FLEURS as parquet files", "train"):
        from pyarrow import parquet

    try:
        opened = parquet.ParquetFile(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: is not a readable parquet file; fetch it again.") from error
    for name in ("id", "audio", "raw_transcription"):
        if name not in opened.schema_arrow.names:
            found = ", ".join(opened.schema_arrow.names)
            raise DataError(f"{file}: the column {name!r} is missing; it holds {found}.")
    return opened
