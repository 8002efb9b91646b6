"""Kaldi's data folders (https://kaldi-asr.org/doc/data_prep.html), as rows of a table.

wav.scp     recording, file            segments    utterance, recording, start, end (s; -1: to the end)
text        utterance, transcript      utt2lang    utterance, language
text_deu    utterance, translation     utt2spk     is not needed: a manifest knows no speakers
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dragoman.data.corpora.formats.tables import Record, read_lines
from dragoman.data.corpora.parts import BadRecording, ExcludedRecordings
from dragoman.errors import DataError

_BLANKS = re.compile(r"[ \t]+")
_OFFSET = re.compile(r"\.ark:\d+$")


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line `key value`."""

    file: str
    line: int
    value: str

    def bad(self, reason: str) -> BadRecording:
        return BadRecording(file=self.file, line=self.line, reason=reason)


def read_kaldi(folder: Path) -> Iterator[Record | BadRecording | ExcludedRecordings]:
    """A record for every utterance of `text`, with the fields of a table. Raises DataError for a missing file."""
    tables: dict[str, dict[str, _Entry]] = {}
    others = [name for name in ("segments", "utt2lang") if (folder / name).is_file()]
    translations = [path.name for path in sorted(folder.glob("text_*")) if path.is_file()]
    for name in ("wav.scp", "text", *others, *translations):
        tables[name] = {}
        yield from _read(folder / name, tables[name])
    for utterance, entry in tables["text"].items():
        yield _record(utterance, entry, tables, ("utt2lang", *translations))
    spoken = tables.get("segments", tables["wav.scp"])
    yield from (
        ExcludedRecordings(reason="without a transcript") for utterance in spoken if utterance not in tables["text"]
    )


def _read(path: Path, entries: dict[str, _Entry]) -> Iterator[BadRecording]:
    if not path.is_file():
        raise DataError(f"{path}: is missing; a Kaldi folder needs wav.scp and text.")
    for item in read_lines(path):
        if isinstance(item, BadRecording):
            yield item
            continue
        number, line = item
        key, *value = _BLANKS.split(line.strip(), 1)
        entry = _Entry(str(path), number, "".join(value))
        if key in entries:
            yield entry.bad(f"{key} is already on line {entries[key].line}")
        else:
            entries[key] = entry


def _record(
    utterance: str, entry: _Entry, tables: Mapping[str, Mapping[str, _Entry]], more: tuple[str, ...]
) -> Record | BadRecording:
    values: dict[str, Any] = {"id": utterance, "text": entry.value}
    recording = utterance
    if "segments" in tables:
        segment = tables["segments"].get(utterance)
        if segment is None:
            return entry.bad(f"{utterance} has no line in segments")
        try:
            recording, start, end = segment.value.split()
            values["start_s"] = float(start)
            values["duration_s"] = None if float(end) == -1 else float(end) - float(start)
        except ValueError:
            return segment.bad(f"{segment.value!r} is not recording, start and end in seconds")
    wav = tables["wav.scp"].get(recording)
    if wav is None:
        return entry.bad(f"{recording} has no line in wav.scp")
    if wav.value.endswith("|") or wav.value == "-":
        return wav.bad("is a command, and commands in data are never run; run it yourself and name the file it makes")
    if _OFFSET.search(wav.value):
        return wav.bad("points into an archive (.ark); name an audio file")
    values["audio"] = wav.value
    for name in more:
        if found := tables.get(name, {}).get(utterance):
            values["language" if name == "utt2lang" else name] = found.value
    return Record(entry.file, entry.line, values)
