"""What is in the manifests, in numbers, and what was found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dragoman.data.check.columns import Numbers, RowColumns
from dragoman.data.check.rules import EXAMPLES, RULES, RuleFindings

_BARS = 15
_ROWS_AT_ONCE = 100_000
_WIDTHS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One of those that were read. Hours count the clips whose duration is known."""

    path: Path
    is_held_out: bool
    utterances: int = 0
    hours: float = 0.0


@dataclass(frozen=True, slots=True)
class LanguageShare:
    """What is spoken in a language, in all manifests together."""

    code: str
    utterances: int
    hours: float
    texts: int
    """Transcripts that differ."""
    targets: int
    """Languages that it can be translated into."""


@dataclass(frozen=True, slots=True)
class Report:
    manifests: tuple[Manifest, ...]
    languages: tuple[LanguageShare, ...]
    directions: dict[str, int]
    """`deu-eng` -> utterances with a translation of their own or by the others of their `sentence` in the manifest."""
    unknown_durations: int
    durations: tuple[tuple[float, int], ...]
    """A histogram: (end of the bar in s, clips); each begins where the one before ends. The last may be wider."""
    found: dict[tuple[str, str], RuleFindings]
    """By kind and, for wrong rows, what is wrong with them."""

    def count(self, severity: str) -> int:
        """How many errors or warnings there are."""
        return sum(found.count for (kind, _), found in self.found.items() if RULES[kind].severity == severity)

    def lines(self) -> Iterator[tuple[str, str, RuleFindings]]:
        """(kind, group, found): errors first, the most frequent first."""
        ranked = sorted(self.found.items(), key=lambda item: (RULES[item[0][0]].severity, -item[1].count, item[0]))
        yield from ((kind, group, found) for (kind, group), found in ranked)

    def to_json(self) -> str:
        """All of it, with at most a hundred examples of each finding."""
        table = {
            "manifests": [asdict(manifest) | {"path": str(manifest.path)} for manifest in self.manifests],
            "languages": [asdict(language) for language in self.languages],
            "directions": self.directions,
            "durations": [{"up_to_s": end, "clips": clips} for end, clips in self.durations],
            "unknown_durations": self.unknown_durations,
            "errors": self.count("error"),
            "warnings": self.count("warning"),
            "findings": [self._line(kind, group, found) for kind, group, found in self.lines()],
        }
        return json.dumps(table, ensure_ascii=False, indent=2) + "\n"

    def _line(self, kind: str, group: str, found: RuleFindings) -> dict[str, Any]:
        examples = [
            {
                "file": str(self.manifests[place.manifest].path),
                "line": place.line,
                "id": place.id,
                "detail": place.detail,
            }
            for place in found.places[:EXAMPLES]
        ]
        head = {"kind": kind, "severity": RULES[kind].severity, "count": found.count, "what": group or RULES[kind].what}
        return head | {"do": RULES[kind].do, "examples": examples}


def summarise(
    columns: RowColumns, paths: Sequence[Path], held_out: Sequence[bool], found: dict[Any, RuleFindings]
) -> Report:
    """Count what the columns hold; rows that are no utterances do not count."""
    manifest, language, duration_s = columns.manifest, columns.language, columns.duration_s
    spoken = language >= 0
    hours = np.nan_to_num(duration_s) / 3600
    manifests = tuple(
        Manifest(path, is_held_out, int((mine := spoken & (manifest == number)).sum()), float(hours[mine].sum()))
        for number, (path, is_held_out) in enumerate(zip(paths, held_out, strict=True))
    )
    counts = _directions(columns)
    languages = tuple(
        LanguageShare(
            code,
            int((mine := language == number).sum()),
            float(hours[mine].sum()),
            len(np.unique(columns.text_key[mine & (columns.text_key > 0)])),
            int((counts[number] > 0).sum()),
        )
        for code, number in sorted(zip(columns.codes, range(len(columns.codes)), strict=True))
        if (language == number).any()
    )
    pairs = sorted(
        (columns.codes[a], columns.codes[b], int(counts[a, b])) for a, b in zip(*np.nonzero(counts), strict=True)
    )
    directions = {f"{source}-{target}": count for source, target, count in pairs}
    known = duration_s[spoken & ~np.isnan(duration_s)]
    return Report(manifests, languages, directions, int(spoken.sum()) - len(known), _histogram(known), found)


def _directions(columns: RowColumns) -> Numbers:
    """(L, L): utterances of each source that have a text in each target, of their own or by their sentence."""
    counts = np.zeros((len(columns.codes),) * 2, np.int64)
    for number in np.unique(columns.manifest):
        rows = np.flatnonzero((columns.manifest == number) & (columns.language >= 0))
        said, sentence = _said(columns, rows)
        for at in range(0, len(rows), _ROWS_AT_ONCE):
            block = rows[at : at + _ROWS_AT_ONCE]
            texts = columns.targets(block) | said[sentence[at : at + _ROWS_AT_ONCE]]
            language = columns.language[block]
            texts[np.arange(len(block)), language] = False
            for source in np.unique(language):
                counts[source] += texts[language == source].sum(axis=0)
    return counts


def _said(columns: RowColumns, rows: Numbers) -> tuple[Numbers, Numbers]:
    """(S, L): whether a manifest's rows (R,) say a sentence in a language; and the sentence of each row (R,)."""
    keys, sentence = np.unique(columns.sentence_key[rows], return_inverse=True)
    said = np.zeros((len(keys), len(columns.codes)), np.bool_)
    written = (columns.text_key[rows] > 0) & (columns.sentence_key[rows] > 0)
    said[sentence[written], columns.language[rows][written]] = True
    return said, sentence


def _histogram(durations_s: Numbers) -> tuple[tuple[float, int], ...]:
    """At most `_BARS` bars of one round width that hold 99 of 100 clips; the last one goes on to the longest clip."""
    if not len(durations_s):
        return ()
    most, longest = float(np.quantile(durations_s, 0.99)), float(durations_s.max())
    width = next((width for width in _WIDTHS_S if most <= _BARS * width), _WIDTHS_S[-1])
    bars = np.ceil(durations_s / width - 1e-6).clip(1, _BARS).astype(np.int64) - 1
    counts = np.bincount(bars).tolist()
    ends = [round((at + 1) * width, 1) for at in range(len(counts))]
    return tuple(zip([*ends[:-1], max(ends[-1], round(longest, 1))], counts, strict=True))
