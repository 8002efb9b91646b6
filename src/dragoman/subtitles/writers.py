"""A translated recording as files: srt, vtt, txt and tsv, one for the transcript and one a target; json, one for all.

Subtitles (srt, vtt) hold cues to be read on a screen, see cues.py; txt and tsv hold the segments of speech as they are.
Written here rather than with a library: pysubs2 takes `{…}` for formatting and drops it, leaves `<` and `&` bare in
WebVTT, and cannot count beyond 99 hours. No torch.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dragoman.files import atomic_file
from dragoman.subtitles.cues import Cue, SubtitleOptions, cues, said

if TYPE_CHECKING:
    from dragoman.inference.result import Result, Segment

_ODD = re.compile("[\x7f-\x9f\ud800-\udfff]")
"""Control characters that JSON leaves as they are, and what Python puts for bytes of a file name that are not UTF-8."""


def to_srt(shown: Iterable[Cue]) -> str:
    """SubRip; it has no way to write `-->` inside a text, so that becomes an arrow."""
    blocks = (
        f"{number}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n{cue.text.replace('-->', '→')}\n"
        for number, cue in enumerate(shown, 1)
    )
    return "\n".join(blocks)


def to_vtt(shown: Iterable[Cue]) -> str:
    """WebVTT, with `&`, `<` and `>` escaped."""
    blocks = (f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}\n{_escaped(cue.text)}\n" for cue in shown)
    return "\n".join(["WEBVTT\n", *blocks])


def to_txt(result: Result, code: str) -> str:
    """One line a segment that has a text in the language, the spoken one or a target."""
    return "".join(f"{text}\n" for _, _, text in _rows(result, code))


def to_tsv(result: Result, code: str) -> str:
    """Whisper's columns: start and end in milliseconds, text."""
    return "start\tend\ttext\n" + "".join(f"{start}\t{end}\t{text}\n" for start, end, text in _rows(result, code))


def to_dict(result: Result) -> dict[str, Any]:
    """All that is known of a recording, as JSON has it; times in seconds."""
    return {
        "audio": result.audio,
        "language": result.language,
        "language_confidence": _rounded(result.language_confidence),
        "calibration": result.calibration,
        "targets": list(result.targets),
        "transcript": result.transcript,
        "translations": result.translations,
        "segments": [segment_to_dict(segment) for segment in result.segments],
    }


def segment_to_dict(segment: Segment) -> dict[str, Any]:
    """A segment in `<stem>.json`."""
    return {
        "start_s": round(segment.start_s, 3),
        "end_s": round(segment.end_s, 3),
        "language": segment.language,
        "language_confidence": _rounded(segment.language_confidence),
        "transcript": segment.transcript,
        "translations": segment.translations,
        "score": _rounded(segment.score),
        "confidence": {name: round(value, 4) for name, value in segment.confidence.items()},
        "low_confidence": segment.low_confidence,
        "truncated": list(segment.truncated),
        "looped": list(segment.looped),
        "off_target": list(segment.off_target),
        "missed": {code: list(terms) for code, terms in segment.missed.items()},
    }


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON that any UTF-8 file can hold: bytes of a file name that are not UTF-8 are escaped, and come back."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _ODD.sub(lambda odd: f"\\u{ord(odd[0]):04x}", text) + "\n"


_OF_CUES: dict[str, Callable[[Iterable[Cue]], str]] = {"vtt": to_vtt, "srt": to_srt}
_OF_SEGMENTS: dict[str, Callable[[Result, str], str]] = {"txt": to_txt, "tsv": to_tsv}
SUBTITLES = tuple(_OF_CUES)
FORMATS = ("txt", "vtt", "srt", "tsv", "json")


def write_outputs(
    result: Result, folder: Path, stem: str, formats: Iterable[str], options: SubtitleOptions | None = None
) -> list[Path]:
    """Write `outputs` into a folder; each file appears complete or not at all and replaces an earlier one.

    Args:
        result: A translated recording.
        folder: Where they are written.
        stem: What their names begin with.
        formats: Some of FORMATS.
        options: How subtitles look.

    Returns:
        The paths.

    Raises:
        OutputError: A file cannot be written; the message names it.
    """
    written = []
    for name, text in outputs(result, stem, formats, options).items():
        with atomic_file(folder / name) as out:
            out.write(text)
        written.append(folder / name)
    return written


def outputs(
    result: Result, stem: str, formats: Iterable[str], options: SubtitleOptions | None = None
) -> dict[str, str]:
    """`<stem>.<code>.<format>` for the transcript and each target, `<stem>.json`, and for bilingual subtitles
    `<stem>.<target>+<spoken>.<format>`, each with its content."""
    return {f"{stem}.{name}": text for name, text in _files(result, formats, options or SubtitleOptions())}


def _files(result: Result, formats: Iterable[str], options: SubtitleOptions) -> Iterator[tuple[str, str]]:
    """(what follows the stem, content) of each file."""
    spoken = result.language if result.transcript else None  # some systems do not write it
    languages = [(code,) for code in dict.fromkeys((spoken, *result.targets)) if code]
    shown = functools.cache(lambda codes: cues(result, codes, options))
    pairs = [(code, spoken) for code in result.targets if spoken not in (None, code) and options.bilingual]
    for name in formats:
        if name == "json":
            yield "json", to_json(to_dict(result), indent=1)
        elif name in _OF_SEGMENTS:
            yield from ((f"{code}.{name}", _OF_SEGMENTS[name](result, code)) for (code,) in languages)
        else:
            for codes in (*languages, *pairs):
                yield f"{'+'.join(codes)}.{name}", _OF_CUES[name](shown(codes))


def _rows(result: Result, code: str) -> Iterator[tuple[int, int, str]]:
    for segment in result.segments:
        if line := " ".join(said(result, segment, code).split()):
            yield round(1000 * segment.start_s), round(1000 * segment.end_s), line


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _clock(ms: int, mark: str) -> str:
    seconds, ms = divmod(ms, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{mark}{ms:03d}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
