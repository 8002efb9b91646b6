"""What one row says by itself. Chunks of lines are examined in processes of their own; what comes back is small."""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dragoman.data.check.audio import AudioSpan, hear, tolerance_s
from dragoman.data.check.rules import Finding
from dragoman.data.check.texts import key, problems, spoken_characters, text_key
from dragoman.errors import ManifestError
from dragoman.records import Utterance, parse_utterance
from dragoman.text.csv_rows import encoding_of


@dataclass(frozen=True, slots=True)
class CheckSettings:
    window_s: float
    """The longest clip that the model hears at once."""
    decode: bool
    """Whether the recordings are opened."""
    longest_s: Mapping[str, float]
    """Of a manifest, by its name: the longest clip that training takes."""


@dataclass(frozen=True, slots=True)
class ManifestChunk:
    """Neighbouring lines of a manifest, with their numbers."""

    manifest: int
    path: Path
    is_held_out: bool
    lines: tuple[tuple[int, str], ...]
    settings: CheckSettings


@dataclass(slots=True)
class CheckedRow:
    """What is kept of a line. Keys are hashes; 0 stands for none. Without `language` it is not an utterance."""

    line: int
    id: str | None
    findings: list[Finding] = field(default_factory=list)
    language: str | None = None
    id_key: int = 0
    sentence_key: int = 0
    file_key: int = 0
    audio_key: int = 0
    text_key: int = 0
    """Of the transcript."""
    text_keys: list[tuple[int, bool]] = field(default_factory=list)
    """Of transcript and translations, each with whether the text is long."""
    targets: frozenset[str] = frozenset()
    """The languages of the translations."""
    duration_s: float = math.nan
    rate: float = math.nan
    """Spoken characters a second."""
    is_short: bool = False
    """Too short for its rate to be compared: silence at the edges weighs too much."""
    longer: str = ""
    """What to say of `duration_s` if no other row takes its part of the same recording."""


def examine(chunk: ManifestChunk) -> list[CheckedRow]:
    """Check every line of a chunk by itself."""
    rows: list[CheckedRow] = []
    utterances: list[tuple[CheckedRow, Utterance]] = []
    for number, line in chunk.lines:
        row = CheckedRow(number, None)
        rows.append(row)
        try:
            utterance = parse_utterance(chunk.path, number, line)
        except ManifestError as error:
            row.id = _id_of(line)
            row.findings.append(Finding("row", str(error).removeprefix(f"{chunk.path}:{number}: ").rstrip(".")))
        else:
            _read_texts(row, utterance)
            utterances.append((row, utterance))
    _read_audio(chunk, utterances)
    for row, utterance in utterances:
        _measure(row, utterance, chunk)
    return rows


def _id_of(line: str) -> str | None:
    """The id of a row that is wrong otherwise."""
    try:
        value = json.loads(line)["id"]
    except (ValueError, KeyError, TypeError):
        return None
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if isinstance(value, str) else None


def _read_texts(row: CheckedRow, utterance: Utterance) -> None:
    row.id, row.id_key = utterance.id, key(utterance.id)
    row.language = utterance.language
    row.sentence_key = key(utterance.sentence) if utterance.sentence else 0
    texts = {"text": (utterance.language, utterance.text)}
    texts |= {f"translations.{code}": (code, text) for code, text in utterance.translations.items()}
    empty = [where for where, (_, text) in texts.items() if not text.strip()]
    if len(empty) == len(texts):
        row.findings.append(Finding("no-text"))
    elif empty:
        row.findings.append(Finding("empty-text", ", ".join(empty)))
    seen: dict[str, Finding] = {}
    for where, (code, text) in texts.items():
        for finding in problems(where, text, code):
            seen.setdefault(finding.kind, finding)
        if (found := text_key(text, code))[0]:
            row.text_keys.append(found)
    row.findings += seen.values()
    row.text_key = text_key(utterance.text, utterance.language)[0]
    written = (code for code, text in utterance.translations.items() if text.strip())
    row.targets = frozenset(code for code in written if code != utterance.language)


def _read_audio(chunk: ManifestChunk, utterances: list[tuple[CheckedRow, Utterance]]) -> None:
    by_file: dict[Path, list[tuple[CheckedRow, Utterance]]] = defaultdict(list)
    for row, utterance in utterances:
        if not utterance.audio:  # text alone
            continue
        path = Path(os.path.abspath(chunk.path.parent / utterance.audio))
        row.file_key = key(str(path))
        by_file[path].append((row, utterance))
    for path, members in by_file.items():
        if chunk.settings.decode:
            for (row, utterance), stretch in zip(members, hear(path, [one for _, one in members]), strict=True):
                _take(row, utterance, stretch)
        else:
            for row, utterance in members:
                row.audio_key = key(str(path), repr(utterance.start_s), repr(utterance.duration_s))
                row.duration_s = math.nan if utterance.duration_s is None else utterance.duration_s


def _take(row: CheckedRow, utterance: Utterance, stretch: AudioSpan) -> None:
    row.findings += stretch.findings
    row.audio_key = stretch.key
    if stretch.samples:
        row.duration_s = stretch.duration_s
    asked_s = utterance.duration_s
    if asked_s is not None and not utterance.start_s and stretch.after_s > tolerance_s(asked_s):
        whole_s = stretch.duration_s + stretch.after_s
        row.longer = f"duration_s is {asked_s:.2f}, the audio has {whole_s:.2f} s"


def _measure(row: CheckedRow, utterance: Utterance, chunk: ManifestChunk) -> None:
    window_s, longest_s = chunk.settings.window_s, chunk.settings.longest_s.get(chunk.path.stem, math.inf)
    if not chunk.is_held_out and (utterance.duration_s or 0.0) > longest_s:  # training goes by what the manifest says
        row.findings.append(Finding("left-out", f"{utterance.duration_s:.1f} s; the recipe takes {longest_s:g} s"))
    elif row.duration_s > window_s:
        kind = "long" if chunk.is_held_out else "too-long"
        row.findings.append(Finding(kind, f"{row.duration_s:.1f} s; the model hears {window_s:g} s"))
    count = spoken_characters(utterance.text)
    if count and row.duration_s > 0:
        row.rate = count / row.duration_s
        row.is_short = row.duration_s < 1 or count < 8


def chunks(manifest: int, path: Path, is_held_out: bool, settings: CheckSettings, size: int) -> Iterator[ManifestChunk]:
    """Part a manifest into chunks; blank lines are left out. Raises ManifestError when it cannot be read."""
    held: list[tuple[int, str]] = []
    for number, line in numbered_lines(path):
        held.append((number, line))
        if len(held) == size:
            yield ManifestChunk(manifest, path, is_held_out, tuple(held), settings)
            held = []
    if held:
        yield ManifestChunk(manifest, path, is_held_out, tuple(held), settings)


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank. Bytes that are no UTF-8 stay in their line, which is then no row."""
    try:
        if encoding_of(path) != "utf-8-sig":
            raise ManifestError(f"{path}: is in {encoding_of(path).upper()}; save it as JSON lines in UTF-8.")
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as lines:
            yield from ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror}); check the path.") from error
