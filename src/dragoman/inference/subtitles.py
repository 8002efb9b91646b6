"""A translated recording as files: txt, srt, vtt and tsv, one for the transcript and one a target; json, one for all.

Written here rather than with a library: pysubs2 takes `{…}` for formatting and drops it, leaves `<` and `&` bare in
WebVTT, and cannot count beyond 99 hours. No torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dragoman.files import whole_file

if TYPE_CHECKING:
    from dragoman.inference.result import Result

_ODD = re.compile("[\x7f-\x9f\ud800-\udfff]")
"""Control characters that JSON leaves as they are, and what Python puts for bytes of a file name that are not UTF-8."""


@dataclass(frozen=True, slots=True)
class Cue:
    """One line of a subtitle file, in milliseconds from the start of the recording."""

    start_ms: int
    end_ms: int
    text: str


def cues(result: Result, code: str) -> list[Cue]:
    """The segments in one language, the spoken one or a target; those without text are left out."""
    texts = (s.transcript if code == result.language else s.text(code) for s in result.segments)
    return [
        Cue(round(1000 * segment.start_s), round(1000 * segment.end_s), line)
        for segment, text in zip(result.segments, texts, strict=True)
        if (line := " ".join(text.split()))
    ]


def to_txt(lines: Iterable[Cue]) -> str:
    """One line a segment."""
    return "".join(f"{cue.text}\n" for cue in lines)


def to_srt(lines: Iterable[Cue]) -> str:
    """SubRip; it has no way to write `-->` inside a text, so that becomes an arrow."""
    blocks = (
        f"{number}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n{cue.text.replace('-->', '→')}\n"
        for number, cue in enumerate(lines, 1)
    )
    return "\n".join(blocks)


def to_vtt(lines: Iterable[Cue]) -> str:
    """WebVTT, with `&`, `<` and `>` escaped."""
    blocks = (f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}\n{_escaped(cue.text)}\n" for cue in lines)
    return "\n".join(["WEBVTT\n", *blocks])


def to_tsv(lines: Iterable[Cue]) -> str:
    """Whisper's columns: start and end in milliseconds, text."""
    return "start\tend\ttext\n" + "".join(f"{cue.start_ms}\t{cue.end_ms}\t{cue.text}\n" for cue in lines)


def to_dict(result: Result) -> dict[str, Any]:
    """All that is known of a recording, as JSON has it; times in seconds."""
    return {
        "audio": result.audio,
        "language": result.language,
        "targets": list(result.targets),
        "transcript": result.transcript,
        "translations": result.translations,
        "segments": [
            {
                "start_s": round(segment.start_s, 3),
                "end_s": round(segment.end_s, 3),
                "language": segment.language,
                "transcript": segment.transcript,
                "translations": segment.translations,
                "score": round(segment.score, 4),
                "truncated": list(segment.truncated),
            }
            for segment in result.segments
        ],
    }


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON that any UTF-8 file can hold: bytes of a file name that are not UTF-8 are escaped, and come back."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _ODD.sub(lambda odd: f"\\u{ord(odd[0]):04x}", text) + "\n"


_WRITERS: dict[str, Callable[[Iterable[Cue]], str]] = {"txt": to_txt, "vtt": to_vtt, "srt": to_srt, "tsv": to_tsv}
FORMATS = (*_WRITERS, "json")


def write_outputs(result: Result, folder: Path, stem: str, formats: Iterable[str]) -> list[Path]:
    """Write `<stem>.<code>.<format>` for the transcript and each target, and `<stem>.json`; returns the paths.

    Each file appears complete or not at all and replaces an earlier one. Raises OutputError naming the file.
    """
    written = []
    for path, text in _files(result, folder, stem, formats):
        with whole_file(path) as out:
            out.write(text)
        written.append(path)
    return written


def _files(result: Result, folder: Path, stem: str, formats: Iterable[str]) -> Iterator[tuple[Path, str]]:
    codes = [code for code in (result.language, *result.targets) if code]
    for name in formats:
        if name == "json":
            yield folder / f"{stem}.json", to_json(to_dict(result), indent=1)
            continue
        for code in codes:
            yield folder / f"{stem}.{code}.{name}", _WRITERS[name](cues(result, code))


def _clock(ms: int, mark: str) -> str:
    seconds, ms = divmod(ms, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{mark}{ms:03d}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
