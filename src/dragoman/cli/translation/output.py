"""What becomes of a translated recording: files, lines on stdout, remarks on stderr."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dragoman.cli.console import say, show, show_json
from dragoman.cli.files import stems, writable
from dragoman.cli.translation.resume import FinishedRecordings
from dragoman.errors import AudioError, OutputError
from dragoman.inference.result import NOT_CALIBRATED
from dragoman.text.languages import LANGUAGES

if TYPE_CHECKING:
    from dragoman.inference.result import Result
    from dragoman.subtitles.cues import SubtitleOptions


_SEVERAL = 3
"""Of fewer segments nothing is said about most."""


class OutputFormat(StrEnum):
    """What can be written; the names are Whisper's."""

    txt = "txt"
    vtt = "vtt"
    srt = "srt"
    tsv = "tsv"
    json = "json"
    all = "all"


@dataclass(frozen=True)
class OutputPlan:
    """What to call the results, where and in which formats to write them (nowhere: only print), and how to print."""

    stems: dict[Path, str]
    folder: Path | None
    formats: tuple[str, ...]
    json: bool
    subtitles: SubtitleOptions | None
    """None: nobody said how they look."""

    @classmethod
    def plan(
        cls,
        paths: Sequence[Path],
        folder: Path | None,
        wanted: OutputFormat | None,
        json: bool,
        subtitles: SubtitleOptions | None,
    ) -> OutputPlan:
        """Raises OutputError when the results cannot be written, or it is said how subtitles look but none are."""
        from dragoman.subtitles.writers import FORMATS, SUBTITLES

        written = folder is not None or wanted is not None
        formats = FORMATS if wanted in (None, OutputFormat.all) else (str(wanted),)
        if subtitles is not None and not (written and set(formats) & set(SUBTITLES)):
            raise OutputError(f"No subtitles would be written; add -f {' or -f '.join((*SUBTITLES, 'all'))}.")
        if not written:
            return cls(dict.fromkeys(paths, ""), None, (), json, None)
        return cls(stems(paths), writable(folder or Path()), formats, json, subtitles)

    def give(self, path: Path, result: Result, finished: FinishedRecordings | None) -> None:
        """Write one result, if `finished` tells of a folder, and print it. Raises OutputError."""
        from dragoman.subtitles.writers import outputs, to_dict, to_json

        if finished is not None:
            finished.write(path, self.stems, lambda stem: outputs(result, stem, self.formats, self.subtitles))
        if self.json:
            show_json(to_json(to_dict(result)))
        else:
            _show(result)

    def fail(self, path: Path, error: AudioError) -> None:
        """Say why a recording has no result, in JSON too."""
        from dragoman.subtitles.writers import to_json

        say(str(error))
        if self.json:
            show_json(to_json({"audio": str(path), "error": str(error)}))

    def finished(self, settings: dict[str, Any]) -> FinishedRecordings | None:
        """What was written into the folder before with the same settings; None where nothing is written."""
        if self.folder is None:
            return None
        look = None if self.subtitles is None else asdict(self.subtitles)
        return FinishedRecordings(self.folder, {**settings, "formats": self.formats, "subtitles": look})


def _show(result: Result) -> None:
    show(result.audio)
    if not result.segments:
        show("no speech")
        return
    if result.transcript:
        show(f"{result.language}: {result.transcript}")
    for code, text in result.translations.items():
        show(f"{code}: {text}")


def remark(path: Path, result: Result, targets: Sequence[str], *, multilingual: bool = False) -> None:
    """Say what is not as one would expect."""
    if result.language and result.languages == (result.language,) and result.language in targets:
        name = LANGUAGES[result.language].name
        say(f"{path}: is in {name}, so there is no translation into {name}.")
    if result.language and result.doubts_language:
        likely = f"{result.language_confidence:.0%} likely"
        likely += f" ({NOT_CALIBRATED})" if result.calibration == NOT_CALIBRATED else ""
        name = LANGUAGES[result.language].name
        say(f"{path}: is taken for {name}, {likely}; if it is not, name what is spoken with --language.")
    doubted, count = _doubted(result), len(result.segments)
    if count and doubted == count:
        say(f"{path}: all segments are doubtful ({doubted} of {count} segments); listen before you use it.")
    if not multilingual and count >= _SEVERAL and 2 * doubted > count:
        hint = "if more than one language is spoken, try --multilingual"
        say(f"{path}: most segments are doubtful ({doubted} of {count}); {hint}.")
    for segment in result.segments:
        where = f"{path}: from {segment.start_s:.1f} to {segment.end_s:.1f} s"
        if segment.truncated:
            say(f"{where} the model was stopped before its end: {', '.join(segment.truncated)}.")
        if segment.looped:
            say(f"{where} the model was kept from repeating itself: {', '.join(segment.looped)}.")
        for code, terms in segment.missed.items():
            missed = ", ".join(map(repr, terms))
            say(f"{where} the {LANGUAGES[code].name} translation lacks {missed}, which the glossary asks for.")
    if strays := Counter(code for segment in result.segments for code in segment.off_target):
        counts = ", ".join(f"{LANGUAGES[code].name} {times}" for code, times in strays.items())
        count = len(result.segments)
        say(f"{path}: of {count} translations, these seem to be in another language: {counts} (off_target in JSON).")


def _doubted(result: Result) -> int:
    """How many segments have a text that is rather wrong than right."""
    return sum(any(segment.low_confidence.values()) for segment in result.segments)
