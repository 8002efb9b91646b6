"""`dragoman translate`: recordings in, transcripts and translations out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dragoman.cli.console import say
from dragoman.cli.flags import flags_given, with_flags
from dragoman.cli.options import (
    BatchedLoadFlags,
    ModelOrSystemsOption,
    SystemOption,
    TranslateFlags,
    for_external_system,
    prepare_device,
    resolve_model,
)
from dragoman.cli.translation.batch_job import BatchJobFlags, translate_manifest
from dragoman.cli.translation.output import OutputFormat, OutputPlan, remark
from dragoman.errors import OutputError

if TYPE_CHECKING:
    from dragoman.cli.translation.resume import FinishedRecordings
    from dragoman.inference.options import TranslateOptions
    from dragoman.inference.recordings import SpeechTranslator
    from dragoman.subtitles.cues import SubtitleOptions


MaxLineWidthOption = Annotated[
    int | None,
    typer.Option(
        "--max_line_width",
        min=1,
        help="Subtitles: columns of a line (a Chinese character takes two); the language's own.",
    ),
]
MaxLineCountOption = Annotated[
    int | None, typer.Option("--max_line_count", min=1, help="Subtitles: lines at once; 2 by default.")
]
MaxCharsPerSecondOption = Annotated[
    float | None,
    typer.Option(
        "--max_chars_per_second",
        min=1,
        help="Characters a second that one can read, which decide how long subtitles stay; the language's own.",
    ),
]
BilingualOption = Annotated[
    bool, typer.Option("--bilingual", help="Also subtitles of both: the translation, and below it what is said.")
]


@dataclass(frozen=True)
class SubtitleFlags:
    """How subtitles look."""

    max_line_width: MaxLineWidthOption = None
    max_line_count: MaxLineCountOption = None
    max_chars_per_second: MaxCharsPerSecondOption = None
    bilingual: BilingualOption = False

    def read(self) -> SubtitleOptions | None:
        """None where no flag is given. Raises OutputError."""
        from dragoman.subtitles.cues import SubtitleOptions

        if self == SubtitleFlags():
            return None
        if self.bilingual and self.max_line_count == 1:
            raise OutputError("--bilingual needs two lines at least; give --max_line_count 2 or more.")
        count = self.max_line_count or SubtitleOptions.max_line_count
        return SubtitleOptions(self.max_line_width, count, self.max_chars_per_second, self.bilingual)


@with_flags
def translate(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUTS", help="Recordings, folders, or - for stdin.")],
    wanted: TranslateFlags,
    subtitles: SubtitleFlags,
    load: BatchedLoadFlags,
    job: BatchJobFlags,
    model: ModelOrSystemsOption = None,
    system: SystemOption = None,
    output_dir: Annotated[Path | None, typer.Option("--output_dir", "-o", help="Where files are written.")] = None,
    output_format: Annotated[OutputFormat | None, typer.Option("--output_format", "-f", help="Which files.")] = None,
    multilingual: Annotated[bool, typer.Option("--multilingual", help="Detect the language of each segment.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a recording.")] = False,
) -> None:
    """Translate recordings and videos of any length into one or several languages.

    Prints; with -o or -f also writes talk.eng.srt (what is said), talk.deu.srt (a translation), talk.json (all), and
    with --bilingual talk.deu+eng.srt. What was written by an earlier run is left as it is.
    """
    from dragoman.cli.files import recordings

    options = wanted.read(multilingual=multilingual)
    others = {"--system": system, "--output_format": output_format, "--multilingual": multilingual, "--json": json}
    job.check([*flags_given(wanted), *flags_given(subtitles), *(flag for flag, value in others.items() if value)])
    if job.engine == "ray":
        raise typer.Exit(2 if translate_manifest(inputs, model, options, load, output_dir, job.workers) else 0)
    if subtitles.bilingual and options.only_transcripts:
        raise OutputError("--bilingual: with --to none there is no translation; name a target, or leave it out.")
    output = OutputPlan.plan(recordings(inputs), output_dir, output_format, json, subtitles.read())
    if system is None:
        translator, identity = _own(model, options, load)
        _check_bilingual(translator, subtitles)
    else:
        translator, identity = _external(system, model, options, load, subtitles)
    if _translate_all(translator, options, output, output.finished(_settings(identity, translator, options, load))):
        raise typer.Exit(2)


def _check_bilingual(translator: SpeechTranslator | type[SpeechTranslator], subtitles: SubtitleFlags) -> None:
    if subtitles.bilingual and not translator.writes_transcripts:
        raise OutputError(f"--bilingual: {translator.name} does not write what is said; leave it out.")


def _own(model: str | None, options: TranslateOptions, load: BatchedLoadFlags) -> tuple[SpeechTranslator, str]:
    """Our own model, and what tells it from others."""
    folder = resolve_model(model, options, load.device, load.threads)
    from dragoman.cli.translation.resume import fingerprint
    from dragoman.inference.translator import Translator

    translator = Translator.from_pretrained(folder, load.read())
    translator.checked(options)
    return translator, fingerprint(folder)


def _external(
    name: str, model: str | None, options: TranslateOptions, load: BatchedLoadFlags, subtitles: SubtitleFlags
) -> tuple[SpeechTranslator, str]:
    """One of SYSTEMS, and what tells it from others. What it cannot do is reported before its weights are read."""
    taken = for_external_system(load.read())
    prepare_device(load.device, load.threads)
    from dragoman.inference.recordings import check_supported, check_writes_transcripts
    from dragoman.systems import find_system

    kind = find_system(name)
    check_supported(kind, options)
    if options.only_transcripts:
        check_writes_transcripts(kind)
    _check_bilingual(kind, subtitles)
    system = kind.from_pretrained(model, **taken)
    system.checked(options)
    return system, f"{name}: {system.identity}"


def _settings(
    identity: str, translator: SpeechTranslator, options: TranslateOptions, load: BatchedLoadFlags
) -> dict[str, object]:
    """All that decides what is written of a recording."""
    from dragoman.version import __version__

    held = {name: value for name, value in asdict(load.read()).items() if name not in ("batch_size", "device")}
    wanted = {**asdict(options), "vad_parameters": asdict(translator.vad_options(options))}
    return {"model": identity, "version": __version__, "wanted": wanted, "held": held}


def _translate_all(
    translator: SpeechTranslator, options: TranslateOptions, output: OutputPlan, finished: FinishedRecordings | None
) -> int:
    """Translate file after file; returns how many could not be read, each of which was reported."""
    from dragoman.cli.translation.progress import RecordingsSummary, progress_over

    todo = [path for path in output.stems if finished is None or not finished.holds(path)]
    if before := len(output.stems) - len(todo):
        say(f"{before} of {len(output.stems)} were translated before and are left as they are.")
    summary = RecordingsSummary()
    outcomes = translator.translate_each(todo, options)
    confident = False
    with progress_over(todo) as progress:
        for path in todo:
            progress.start(path)
            outcome = next(outcomes)
            if outcome.error:
                output.fail(path, outcome.error)
            else:
                with progress.paused():
                    output.give(path, outcome.get(), finished)
                    remark(path, outcome.get(), options.to or (), multilingual=options.multilingual)
                confident |= any(segment.confidence for segment in outcome.get().segments)
            summary.add(path, outcome)
            progress.done(path)
    if confident and translator.calibration is None:
        say(f"{translator.name}: not calibrated: confidence is given, doubtful text not marked (docs/translating.md).")
    if len(output.stems) > 1:
        summary.show()
    return summary.failed
