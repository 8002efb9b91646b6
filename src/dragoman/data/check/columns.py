"""All rows of all manifests as columns of numbers, about 100 bytes a row, so that millions fit; hashes stand for texts.

N: rows, in the order of the manifests and their lines.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from dragoman.data.check.rows import CheckedRow

Numbers = npt.NDArray[Any]


class KeyIndex:
    """Hashes and the rows that they come from; a row may have several."""

    def __init__(self) -> None:
        self._keys = array("Q")
        self._rows = array("I")

    def add(self, key: int, row: int) -> None:
        if key:
            self._keys.append(key)
            self._rows.append(row)

    def shared(self, among: Numbers, differs_in: Numbers) -> Iterator[Numbers]:
        """The rows of each key that rows with several values of `differs_in` (N,) share; only rows where `among` (N,)
        is true count."""
        rows, keys = _view(self._rows, np.uint32), _view(self._keys, np.uint64)
        rows, keys = rows[among[rows]], keys[among[rows]]
        order = np.lexsort((rows, keys))
        rows, keys = rows[order], keys[order]
        starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.zeros(0, int)
        if not len(starts):
            return
        values = differs_in[rows]
        several = np.minimum.reduceat(values, starts) != np.maximum.reduceat(values, starts)
        stops = np.append(starts[1:], len(rows))
        for start, stop in zip(starts[several], stops[several], strict=True):
            yield np.unique(rows[start:stop]).astype(np.int64)

    def repeats(self, manifest: Numbers) -> Iterator[tuple[int, int]]:
        """(row, earlier row) for each row whose key an earlier row of its manifest has."""
        rows, keys = _view(self._rows, np.uint32), _view(self._keys, np.uint64)
        order = np.lexsort((rows, manifest[rows], keys))
        rows, keys = rows[order], keys[order]
        owner = manifest[rows]
        again = (keys[1:] == keys[:-1]) & (owner[1:] == owner[:-1])
        for at in np.flatnonzero(again):
            yield int(rows[at + 1]), int(rows[at])


class RowColumns:
    """Grown row by row; the arrays are read when all are in."""

    def __init__(self) -> None:
        self._manifest = array("H")
        self._line = array("Q")
        self._language = array("h")
        self._duration_s = array("d")
        self._rate = array("d")
        self._is_short = array("b")
        self._text_key = array("Q")
        self._sentence_key = array("Q")
        self._targets = array("I")
        self._sets: dict[frozenset[str], int] = {}
        self._met: dict[str, int] = {}
        self.ids, self.files, self.audio, self.sentences = KeyIndex(), KeyIndex(), KeyIndex(), KeyIndex()
        self.long_texts, self.short_texts = KeyIndex(), KeyIndex()
        self.longer: dict[int, str] = {}
        """Rows whose recording goes on, if no other row takes the rest."""

    def __len__(self) -> int:
        return len(self._line)

    def add(self, row: CheckedRow, manifest: int) -> None:
        number = len(self)
        self._manifest.append(manifest)
        self._line.append(row.line)
        self._language.append(-1 if row.language is None else self._number(row.language))
        self._duration_s.append(row.duration_s)
        self._rate.append(row.rate)
        self._is_short.append(row.is_short)
        self._text_key.append(row.text_key)
        self._sentence_key.append(row.sentence_key)
        self._targets.append(self._sets.setdefault(row.targets, len(self._sets)))
        for code in row.targets:
            self._number(code)
        for keys, key in (
            (self.ids, row.id_key), (self.files, row.file_key), (self.audio, row.audio_key),
            (self.sentences, row.sentence_key),
        ):  # fmt: skip
            keys.add(key, number)
        for key, is_long in row.text_keys:
            (self.long_texts if is_long else self.short_texts).add(key, number)
        if row.longer:
            self.longer[number] = row.longer

    def _number(self, code: str) -> int:
        return self._met.setdefault(code, len(self._met))

    @property
    def codes(self) -> tuple[str, ...]:
        """The languages, by whose places they are numbered."""
        return tuple(self._met)

    @property
    def manifest(self) -> Numbers:
        return _view(self._manifest, np.uint16)

    @property
    def line(self) -> Numbers:
        return _view(self._line, np.uint64)

    @property
    def language(self) -> Numbers:
        """The number of the language; -1 where the row is not an utterance."""
        return _view(self._language, np.int16)

    @property
    def duration_s(self) -> Numbers:
        return _view(self._duration_s, np.float64)

    @property
    def rate(self) -> Numbers:
        return _view(self._rate, np.float64)

    @property
    def is_short(self) -> Numbers:
        return _view(self._is_short, np.bool_)

    @property
    def text_key(self) -> Numbers:
        return _view(self._text_key, np.uint64)

    @property
    def sentence_key(self) -> Numbers:
        return _view(self._sentence_key, np.uint64)

    def targets(self, rows: Numbers) -> Numbers:
        """(R, L) booleans for rows (R,): the languages of the translations that they bring themselves."""
        sets = np.array([[code in targets for code in self.codes] for targets in self._sets], np.bool_)
        return sets.reshape(len(self._sets), len(self.codes))[_view(self._targets, np.uint32)[rows]]


def _view(values: array[Any], kind: Any) -> Numbers:
    """The values themselves, not a copy; nothing can be added while it is looked at."""
    return np.frombuffer(values, kind) if values else np.zeros(0, kind)
