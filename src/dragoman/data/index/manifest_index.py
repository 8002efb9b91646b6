"""A manifest as a memory-mapped index: small columns of numbers for choosing rows, and where each row's line begins.

Texts stay in the manifest. A row is read, checked and made an Utterance when a batch needs it, so memory grows neither
with the manifest nor with the number of processes. The index is made once, with the checks of `read_manifest`, beside
the manifest (`train.jsonl.index`) or, where that folder cannot be written, in the user's cache. It is made anew when
the manifest's content has changed.

N rows, S sentences that several rows share, K sets of written translations, W words of a bit set of languages.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dragoman.data.arrays import read_arrays, write_arrays
from dragoman.data.index.building import FORMAT, Bits, bit_set, digest_of, index_rows, named, numbered, stamp_of
from dragoman.errors import DataError, ManifestError, OutputError
from dragoman.progress import OnProgress, no_progress
from dragoman.records import Utterance, parse_utterance, relative_to_manifest

_CLOCK_TICK_NS = 20_000_000
"""A manifest that was saved just before its index was made could have been saved again with the same time."""


class ManifestIndex:
    """An open index.

    `languages` those that it names, sorted; `offset` (N + 1,) in bytes; `language` (N,) its place among them;
    `duration_s` (N,), NaN where unknown; `letters` (N,) of the text and `longest` (N,) of the row's longest
    translation, at most 65,535; `shard` (N,) the tar file that holds the audio, -1 for a file of its own, NO_AUDIO for
    text alone; `sentence` (N,) or -1; `written` (N,) which of the `written_sets` (K, W); `rows_from` (S + 1,) into
    `sentence_rows`, those of each sentence that have a text; `sentence_sets` (S, W) their languages.
    """

    def __init__(self, manifest: Path, place: Path) -> None:
        self.manifest, self.place = manifest, place
        arrays, self.about = read_arrays(place)
        if self.about["format"] != FORMAT:
            raise ValueError("an index of another version")
        self.digest, self.stamp = self.about["digest"], self.about["stamp"]
        self.languages = tuple(self.about["languages"].split())
        self.numbers = numbered(self.languages)
        # read at positions, never mapped: a manifest that becomes shorter is an error, not the end of the process
        self.file = os.open(manifest, os.O_RDONLY)
        weakref.finalize(self, os.close, self.file)
        self.offset, self.language, self.duration_s = arrays["offset"], arrays["language"], arrays["duration_s"]
        self.letters, self.longest = arrays["letters"], arrays["longest"]
        self.shard, self.sentence = arrays["shard"], arrays["sentence"]
        self.written, self.written_sets = arrays["written"], arrays["written_sets"]
        self.rows_from, self.sentence_rows = arrays["rows_from"], arrays["sentence_rows"]
        self.sentence_sets = arrays["sentence_sets"]

    def __len__(self) -> int:
        return len(self.language)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.manifest, self.place, self.digest)  # another process maps the same file

    def bit_set(self, codes: Iterable[str]) -> Bits:
        """(W,) those of these languages that the manifest holds."""
        return bit_set(codes, self.numbers)

    def named(self, bits: Bits) -> list[str]:
        """The codes of a set of languages (W,), sorted."""
        return named(bits, self.languages)

    def targets(self, rows: NDArray[Any]) -> Bits:
        """(n, W) the languages that each row has a translation in: its own, or a row that says the same sentence."""
        sentence = self.sentence[rows]
        sets: Bits = self.written_sets[self.written[rows]]
        shared = sentence >= 0
        sets[shared] |= self.sentence_sets[sentence[shared]]
        language = self.language[rows].astype(np.int64)
        each = np.arange(len(sets))
        sets[each, language // 64] &= ~(np.uint64(1) << (language % 64).astype(np.uint64))
        return sets

    def most_letters(self, rows: NDArray[Any]) -> NDArray[np.int64]:
        """(n,) of the longest text that belongs to each row: its own, its translations, those of the same sentence."""
        shared = np.zeros(len(self.sentence_sets) + 1, np.int64)  # the last is that of rows without a sentence
        np.maximum.at(shared, self.sentence[self.sentence_rows], self.letters[self.sentence_rows])
        found: NDArray[np.int64] = np.maximum(self.letters[rows], self.longest[rows])
        return np.maximum(found, shared[self.sentence[rows]])

    def target_codes(self, row: int) -> list[str]:
        """The languages that a row has a translation in, sorted."""
        return self.named(self.targets(np.array([row]))[0])

    def utterance(self, row: int, targets: Sequence[str]) -> Utterance:
        """A row with its translations into `targets`, in this order, as far as there are any.

        Raises ManifestError when the manifest is no longer what was indexed.
        """
        own = self.row(row)
        texts = {code: own.translations.get(code) or self._shared(row, own, code) for code in targets}
        texts = {code: text for code, text in texts.items() if text and code != own.language}
        return own.model_copy(update={"translations": texts})

    def row(self, row: int) -> Utterance:
        """A row as it is written, its audio path joined. Raises ManifestError as `utterance` does."""
        return relative_to_manifest(self.manifest, self._read(row))

    def _shared(self, row: int, own: Utterance, code: str) -> str:
        """The text of the first row that says the same sentence in a language."""
        group = int(self.sentence[row])
        if group < 0:
            return ""
        rows = self.sentence_rows[self.rows_from[group] : self.rows_from[group + 1]]
        same = rows[self.language[rows] == self.numbers.get(code, -1)]
        if not len(same):
            return ""
        found = self._read(int(same[0]))
        if found.sentence != own.sentence:  # the index knows sentences by 64 bits
            both = f"{own.sentence!r} and {found.sentence!r}"
            raise DataError(f"{self.manifest}: the sentences {both} have the same hash; rename one.")
        return found.text

    def _read(self, row: int) -> Utterance:
        start, stop = int(self.offset[row]), int(self.offset[row + 1])
        if stamp_of(os.fstat(self.file)) != self.stamp:
            raise changed(self.manifest)
        line = os.pread(self.file, stop - start, start)
        try:
            return Utterance.model_validate_json(line)
        except ValueError:
            return parse_utterance(self.manifest, 1 + self._lines_before(start), line.decode("utf-8", "replace"))

    def _lines_before(self, start: int) -> int:
        with open(self.manifest, "rb") as file:
            return file.read(start).count(b"\n")


def open_index(manifest: Path, on_progress: OnProgress = no_progress) -> ManifestIndex:
    """The index of a manifest, made first if there is none or the content has changed.

    Raises ManifestError naming file, line and field for what `read_manifest` would not take; OutputError.
    """
    try:
        stat = os.stat(manifest)
    except OSError as error:
        raise ManifestError(f"{manifest}: cannot be read ({error.strerror}); check the path.") from error
    digest = None
    for place in _places(manifest):
        try:
            index = ManifestIndex(manifest, place)
        except (OSError, ValueError, KeyError):  # none, of another version, or damaged
            continue
        later = place.stat().st_mtime_ns - stat.st_mtime_ns
        if index.stamp == stamp_of(stat) and later > _CLOCK_TICK_NS:
            return index
        digest = digest or digest_of(manifest, on_progress)
        if index.digest == digest and os.access(place, os.W_OK):  # copied, or saved without a change
            write_arrays(place, read_arrays(place)[0], {**index.about, "stamp": stamp_of(stat)})
            return ManifestIndex(manifest, place)
    beside, cached = _places(manifest)
    place = beside if os.access(beside.parent, os.W_OK) else cached
    columns = index_rows(manifest, on_progress)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_arrays(place, *columns)
    except (OSError, OutputError) as error:
        if place == beside:
            raise
        raise OutputError(
            f"{place.parent}: cannot be written, and neither can the folder of {manifest.name}; name another folder for"
            " caches in XDG_CACHE_HOME."
        ) from error
    return ManifestIndex(manifest, place)


def _places(manifest: Path) -> tuple[Path, Path]:
    """Beside the manifest; in the user's cache, where that folder cannot be written."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dragoman"
    name = blake2b(os.fsencode(manifest.resolve()), digest_size=12).hexdigest()
    return manifest.with_name(manifest.name + ".index"), cache / f"{name}.index"


def _reopened(manifest: Path, place: Path, digest: str) -> ManifestIndex:
    index = ManifestIndex(manifest, place)
    if index.digest != digest:
        raise changed(manifest)
    return index


def changed(manifest: Path) -> ManifestError:
    """What is raised when a manifest is not what it was."""
    return ManifestError(f"{manifest}: was changed while a run uses it; restore it, or start a new run.")
