"""One pass over a manifest: every row checked as `read_manifest` does, its numbers kept, its texts not.

Its languages are numbered in the order of their codes, so that a set of them is as wide as the manifest needs.
"""

from __future__ import annotations

import gc
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from hashlib import sha256
from operator import or_
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from dragoman.data.arrays import Array
from dragoman.data.shards import MARK
from dragoman.errors import ManifestError
from dragoman.progress import OnProgress, no_progress
from dragoman.records import Utterance, parse_utterance
from dragoman.text.languages import is_code

Bits = NDArray[np.uint64]

NO_AUDIO = -2
"""The shard of a row that is text alone."""
FORMAT = "4"
"""An index made by another version is made anew."""
_BLOCK = 1 << 18  # its rows stay in the processor's cache
_BOM = b"\xef\xbb\xbf"
_SHOWN = 64 << 20  # bytes from which on indexing takes long enough to be reported
_LONGEST_TEXT = 2**16 - 1
_LIMITS = ("ge", "gt", "min_length")


def _row_type() -> type[Any]:
    """`Utterance` for msgspec, which reads it four times as fast as pydantic. What it refuses, pydantic judges."""
    fields = []
    for name, field in Utterance.model_fields.items():
        limits = {key: getattr(limit, key) for limit in field.metadata for key in _LIMITS if hasattr(limit, key)}
        kinds = get_args(field.annotation) if NoneType in get_args(field.annotation) else (field.annotation,)
        kind = reduce(or_, (kind if kind is NoneType else Annotated[kind, msgspec.Meta(**limits)] for kind in kinds))
        fields.append(
            (name, kind) if field.is_required() else (name, kind, field.get_default(call_default_factory=True))
        )
    fields.sort(key=len)  # those without a default first
    return msgspec.defstruct("Row", fields, forbid_unknown_fields=True, gc=False)


_decoded = msgspec.json.Decoder(_row_type()).decode
_checked = Utterance.__pydantic_validator__.validate_json  # model_validate_json, without its third of overhead


def index_rows(manifest: Path, on_progress: OnProgress = no_progress) -> tuple[dict[str, Array], dict[str, str]]:
    """The columns that `ManifestIndex` describes, and what is stored about them.

    Raises ManifestError naming file, line and field for a wrong row, a repeated id or an unknown language.
    """
    before = stamp_of(os.stat(manifest))
    columns = IndexBuilder(manifest)
    digest = sha256()
    with _no_garbage_collection():
        for block in _blocks(manifest, on_progress):
            digest.update(block)
            columns.add(block)
    if stamp_of(os.stat(manifest)) != before:
        raise ManifestError(f"{manifest}: was changed while it was read; try again when it is complete.")
    arrays, codes = columns.finished()
    return arrays, {"format": FORMAT, "stamp": before, "digest": digest.hexdigest(), "languages": " ".join(codes)}


def shared_recordings(manifest: Path, on_progress: OnProgress = no_progress) -> NDArray[np.bool_]:
    """(N,) the rows that share their recording with another. Raises ManifestError."""
    names = array("q")
    for block in _blocks(manifest, on_progress):
        rows = _rows([line for line in block.removeprefix(_BOM).splitlines() if not line.isspace()])
        names.extend([hash(row.audio) for row in rows])
    hashes = np.frombuffer(names, np.int64)
    _, number, count = np.unique(hashes, return_inverse=True, return_counts=True)
    return np.asarray(count[number] > 1)


def digest_of(manifest: Path, on_progress: OnProgress = no_progress) -> str:
    """SHA-256 of the content."""
    digest = sha256()
    for block in _blocks(manifest, on_progress):
        digest.update(block)
    return digest.hexdigest()


def stamp_of(stat: os.stat_result) -> str:
    """Size and time of change: while they stay, the content is taken to have stayed."""
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _blocks(manifest: Path, on_progress: OnProgress) -> Iterator[bytes]:
    """The file in blocks of whole lines; where that takes long, `on_progress` hears it in bytes."""
    try:
        size = manifest.stat().st_size
        with open(manifest, "rb") as file:
            while block := file.read(_BLOCK):
                block += file.readline()
                yield block
                if size >= _SHOWN:
                    on_progress(f"reading {manifest.name}", file.tell(), size)
    except OSError as error:
        raise ManifestError(f"{manifest}: cannot be read ({error.strerror}); check the path.") from error


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Nothing here makes cycles, and looking for them costs a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _LanguageNumbers(dict[str, int]):
    """The languages met so far, numbered as they came."""

    def __missing__(self, code: str) -> int:
        if not is_code(code):
            raise KeyError(code)
        self[code] = len(self)
        return self[code]


class IndexBuilder:
    """The numbers of the rows so far."""

    def __init__(self, manifest: Path) -> None:
        self.manifest = manifest
        self.position = self.lines = 0
        self.shards: dict[str, int] = {}
        self.met = _LanguageNumbers()
        self.written_sets: dict[frozenset[str], int] = {frozenset(): 0}
        self.offset, self.ids, self.sentence = array("q"), array("q"), array("q")
        self.language, self.letters, self.longest = array("H"), array("H"), array("H")
        self.duration_s = array("d")
        self.written, self.shard = array("i"), array("i")

    def add(self, block: bytes) -> None:
        """The rows of a block of whole lines."""
        if self.position == 0 and block.startswith(_BOM):
            self.position, block = len(_BOM), block[len(_BOM) :]
        lines = block.splitlines(keepends=True)
        filled = np.array([not line.isspace() for line in lines], np.bool_)
        try:
            rows = _rows([line for line in lines if not line.isspace()])
            self.language.extend([self.met[row.language] for row in rows])
            self.written.extend([self._written_set(row.translations) if row.translations else 0 for row in rows])
        except (ValidationError, KeyError):
            self._explain(lines)
            raise  # not reached: a line that is wrong among others is wrong alone
        ends = self.position + np.cumsum(np.fromiter(map(len, lines), np.int64, len(lines)))
        starts = np.concatenate([[self.position], ends[:-1]])[filled]
        self.offset.frombytes(starts.tobytes())
        self.ids.extend([hash(row.id) for row in rows])
        self.sentence.extend([0 if row.sentence is None else hash(row.sentence) or 1 for row in rows])
        self.letters.frombytes(_lengths([len(row.text) for row in rows]))
        self.longest.frombytes(_lengths([max(map(len, row.translations.values()), default=0) for row in rows]))
        self.duration_s.extend([np.nan if row.duration_s is None else row.duration_s for row in rows])
        self.shard.extend([self._shard(row.audio) for row in rows])
        self.position, self.lines = self.position + len(block), self.lines + len(lines)

    def _written_set(self, translations: dict[str, str]) -> int:
        if not translations.keys() <= self.met.keys():
            for code in translations:
                self.met[code]  # raises KeyError where it is none
        codes = frozenset([code for code, text in translations.items() if text])
        return self.written_sets.setdefault(codes, len(self.written_sets))

    def _shard(self, audio: str) -> int:
        if MARK not in audio:
            return -1 if audio else NO_AUDIO
        return self.shards.setdefault(audio.partition(MARK)[0], len(self.shards))

    def _explain(self, lines: Sequence[bytes]) -> None:
        """Raise what `read_manifest` raises for the first wrong line."""
        for number, line in enumerate(lines, self.lines + 1):
            if line.isspace():
                continue
            try:
                parse_utterance(self.manifest, number, line.decode("utf-8"))
            except UnicodeDecodeError as error:
                raise ManifestError(f"{self.manifest}: is not UTF-8 text; save it as JSON lines in UTF-8.") from error

    def finished(self) -> tuple[dict[str, Array], tuple[str, ...]]:
        """The columns as arrays, with the rows that share a sentence joined, and the languages, by whose places they
        are numbered. Raises ManifestError for a repeated id."""
        self.offset.append(self.position)
        self._check_ids(np.frombuffer(self.ids, np.int64))
        codes = tuple(sorted(self.met))
        numbers = numbered(codes)
        language = np.array([numbers[code] for code in self.met], smallest(len(codes)))[
            np.frombuffer(self.language, np.uint16)
        ]
        letters = np.frombuffer(self.letters, np.uint16)
        arrays = {
            "offset": np.frombuffer(self.offset, np.int64),
            "language": language,
            "letters": letters,
            "longest": np.frombuffer(self.longest, np.uint16),
            "duration_s": np.frombuffer(self.duration_s, np.float64),
            "written": np.frombuffer(self.written, np.int32),
            "shard": np.frombuffer(self.shard, np.int32),
            "written_sets": np.stack([bit_set(written, numbers) for written in self.written_sets]),
            **joined(np.frombuffer(self.sentence, np.int64), language, letters > 0, words_for(len(codes))),
        }
        return arrays, codes

    def _check_ids(self, hashes: NDArray[np.int64]) -> None:
        """Equal hashes are looked at: only equal ids are an error."""
        order = np.argsort(hashes, kind="stable")
        again = hashes[order[1:]] == hashes[order[:-1]]
        if not again.any():
            return
        seen: dict[str, int] = {}
        for row in np.unique(np.concatenate([order[1:][again], order[:-1][again]])).tolist():
            number, name = self._line_and_id(row)
            if name in seen:
                raise ManifestError(
                    f"{self.manifest}:{number}: id: {name!r} is already on line {seen[name]}; rename one."
                )
            seen[name] = number

    def _line_and_id(self, row: int) -> tuple[int, str]:
        with open(self.manifest, "rb") as file:
            before = file.read(self.offset[row])
            line = file.read(self.offset[row + 1] - self.offset[row])
        return len(before.splitlines()) + 1, Utterance.model_validate_json(line).id


def _lengths(letters: list[int]) -> bytes:
    return np.array(letters).clip(0, _LONGEST_TEXT).astype("H").tobytes()


def _rows(lines: Sequence[bytes]) -> list[Any]:
    """Raises ValidationError for a line that is not an Utterance."""
    try:
        return [_decoded(line) for line in lines]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return [_checked(line) for line in lines]


def joined(sentence: NDArray[np.int64], language: Array, has_text: Array, words: int) -> dict[str, Array]:
    """Rows with equal sentence hashes (0: none) as groups, numbered by their first rows; alone, a row has no group.

    `sentence` (N,) group or -1; `sentence_rows` those with a text, by group and row, from `rows_from` (S + 1,) on;
    `sentence_sets` (S, W) the languages of each group, in `words`.
    """
    some = np.flatnonzero(sentence)
    order = some[np.argsort(sentence[some], kind="stable")]
    starts = np.flatnonzero(np.diff(sentence[order], prepend=0)) if len(order) else order
    sizes = np.diff(starts, append=len(order))
    first = order[starts]
    shared = sizes > 1
    number = np.full(len(starts), -1, np.int32)
    number[np.flatnonzero(shared)[np.argsort(first[shared])]] = np.arange(shared.sum())
    group = np.full(len(sentence), -1, np.int32)
    group[order] = np.repeat(number, sizes)
    rows = np.flatnonzero((group >= 0) & has_text)
    rows = rows[np.argsort(group[rows], kind="stable")]
    rows_from = np.concatenate([[0], np.cumsum(np.bincount(group[rows], minlength=shared.sum()))])
    sets = np.zeros((int(shared.sum()), words), np.uint64)
    spoken = language[rows].astype(np.uint64)
    np.bitwise_or.at(sets, (group[rows], (spoken // 64).astype(np.intp)), np.uint64(1) << (spoken % 64))
    return {
        "sentence": group,
        "sentence_rows": rows.astype(np.int32),
        "rows_from": rows_from.astype(np.int64),
        "sentence_sets": sets,
    }


def numbered(codes: Sequence[str]) -> dict[str, int]:
    """Each by its place."""
    return {code: number for number, code in enumerate(codes)}


def words_for(languages: int) -> int:
    """W: how many words of 64 bits hold a set of this many languages."""
    return max(1, -(-languages // 64))


def smallest(languages: int) -> type[np.unsignedinteger[Any]]:
    """The type of a language's number."""
    return np.uint8 if languages <= 256 else np.uint16


def bit_set(codes: Iterable[str], numbers: Mapping[str, int]) -> Bits:
    """(W,) a set of languages; those that have no number are left out."""
    bits = np.zeros(words_for(len(numbers)), np.uint64)
    for code in codes:
        if code in numbers:
            word, bit = divmod(numbers[code], 64)
            bits[word] |= np.uint64(1) << np.uint64(bit)
    return bits


def named(bits: Bits, codes: Sequence[str]) -> list[str]:
    """The codes of a set of languages (W,), in their order."""
    whole = int.from_bytes(bits.astype("<u8").tobytes(), "little")
    return [code for number, code in enumerate(codes) if whole >> number & 1]
