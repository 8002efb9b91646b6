"""`dragoman translate`: recordings in, transcripts and translations out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dragoman.cli.console import say
from dragoman.cli.options import (
    AudioTrack,
    Batch,
    Beams,
    By,
    Checkpoint,
    Compute,
    Device,
    From,
    Hotwords,
    How,
    Language,
    LeastSilence,
    LeastSpeech,
    MostSpeech,
    Ngrams,
    Other,
    Pad,
    Terms,
    Threads,
    Threshold,
    To,
    Wanted,
    Words,
    checked,
    prepared,
)
from dragoman.cli.translation.output import Format, Output, remark
from dragoman.errors import OutputError

if TYPE_CHECKING:
    from dragoman.cli.translation.resume import Finished
    from dragoman.inference.recordings import SpeechTranslator
    from dragoman.subtitles.cues import SubtitleOptions


Width = Annotated[
    int | None,
    typer.Option(
        "--max_line_width",
        min=1,
        help="Subtitles: columns of a line (a Chinese sign is two); the language's own.",
    ),
]
Count = Annotated[int | None, typer.Option("--max_line_count", min=1, help="Subtitles: lines at once; 2 by default.")]
Speed = Annotated[
    float | None,
    typer.Option(
        "--max_chars_per_second", min=1, help="Subtitles stay for this reading speed, if they can; the language's own."
    ),
]
Bilingual = Annotated[
    bool, typer.Option("--bilingual", help="Also subtitles of both: the translation, and below it what is said.")
]


def translate(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUTS", help="Recordings, folders, or - for stdin.")],
    to: To,
    model: Checkpoint = None,
    system: Other = None,
    language: Language = None,
    audio_track: AudioTrack = None,
    output_dir: Annotated[Path | None, typer.Option("--output_dir", "-o", help="Where files are written.")] = None,
    output_format: Annotated[Format | None, typer.Option("--output_format", "-f", help="Which files.")] = None,
    max_line_width: Width = None,
    max_line_count: Count = None,
    max_chars_per_second: Speed = None,
    bilingual: Bilingual = False,
    beam_size: Beams = None,
    batch_size: Batch = 16,
    device: Device = None,
    compute_type: Compute = "auto",
    threads: Threads = None,
    transcript_by: By = None,
    translate_from: From = None,
    no_repeat_ngram_size: Ngrams = None,
    multilingual: Annotated[bool, typer.Option("--multilingual", help="Tell the language of each segment.")] = False,
    vad_threshold: Threshold = None,
    vad_min_speech_duration_ms: LeastSpeech = None,
    vad_max_speech_duration_s: MostSpeech = None,
    vad_min_silence_duration_ms: LeastSilence = None,
    vad_speech_pad_ms: Pad = None,
    hotwords: Hotwords = None,
    glossary: Terms = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a recording.")] = False,
) -> None:
    """Translate recordings and videos of any length into one or several languages.

    Prints; with -o or -f also writes talk.eng.srt (what is said), talk.deu.srt (a translation), talk.json (all), and
    with --bilingual talk.deu+eng.srt. What was written by an earlier run is left as it is.
    """
    from dragoman.cli.files import recordings

    wanted = Wanted.read(to, language)
    words = Words.read(hotwords, glossary, wanted)
    if bilingual and wanted.only_transcripts:
        raise OutputError("--bilingual: with --to none there is no translation; name a target, or leave it out.")
    subtitles = _subtitles(max_line_width, max_line_count, max_chars_per_second, bilingual)
    output = Output.plan(recordings(inputs), output_dir, output_format, json, subtitles)
    vad = {
        "threshold": vad_threshold,
        "min_speech_duration_ms": vad_min_speech_duration_ms,
        "max_speech_duration_s": vad_max_speech_duration_s,
        "min_silence_duration_ms": vad_min_silence_duration_ms,
        "speech_pad_ms": vad_speech_pad_ms,
    }
    given = {name: value for name, value in vad.items() if value is not None}
    asked = _Asked(wanted, multilingual, words, bilingual, given, audio_track)
    road = (transcript_by, translate_from, no_repeat_ngram_size)
    how = How(beam_size, batch_size, device, compute_type, threads, *road)
    translator, identity = _ours(model, asked, how) if system is None else _other(system, model, asked, how)
    if _translate_all(translator, asked, output, output.finished(_settings(identity, translator, asked, how))):
        raise typer.Exit(2)


@dataclass(frozen=True)
class _Asked:
    """What is wanted of the recordings."""

    wanted: Wanted
    multilingual: bool
    words: Words
    bilingual: bool
    vad: dict[str, float]
    track: int | None

    def check(self, translator: SpeechTranslator | type[SpeechTranslator]) -> None:
        """Raise DragomanError for what it cannot do."""
        from dragoman.inference.recordings import check_able, check_writes

        check_able(translator, self.wanted.source, self.multilingual, bool(self.words.hotwords or self.words.glossary))
        if self.wanted.only_transcripts:
            check_writes(translator)
        if self.bilingual and not translator.writes_speech:
            raise OutputError(f"--bilingual: {translator.name} does not write what is said; leave it out.")


def _ours(model: str | None, asked: _Asked, how: How) -> tuple[SpeechTranslator, str]:
    """Our own model, and what tells it from others."""
    folder = checked(model or "tiny", asked.wanted, how.device, how.threads)
    from dragoman.cli.translation.resume import fingerprint
    from dragoman.inference.translator import Translator

    translator = Translator.from_pretrained(folder, vad_parameters=asked.vad, **how.told())
    asked.check(translator)
    return translator, fingerprint(folder)


def _other(name: str, model: str | None, asked: _Asked, how: How) -> tuple[SpeechTranslator, str]:
    """One of SYSTEMS, and what tells it from others. What it cannot do is told before its weights are read."""
    told = how.told_others()
    prepared(how.device, how.threads)
    from dragoman.systems import find_system

    kind = find_system(name)
    asked.check(kind)
    system = kind.from_pretrained(model, **told)
    system.vad = system.vad.varied(asked.vad, name)
    return system, f"{name}: {system.identity}"


def _settings(identity: str, translator: SpeechTranslator, asked: _Asked, how: How) -> dict[str, object]:
    """All that decides what is written of a recording."""
    from dragoman import __version__

    return {
        "model": identity,
        "version": __version__,
        "wanted": asdict(asked.wanted),
        "beams": how.beam_size,
        "transcript_by": how.transcript_by,
        "translate_from": how.translate_from,
        "compute_type": how.compute_type,
        "no_repeat_ngram_size": how.no_repeat_ngram_size,
        "multilingual": asked.multilingual,
        "vad": asdict(translator.vad),
        "words": asdict(asked.words),
        "track": asked.track,
    }


def _subtitles(
    width: int | None, count: int | None, chars_per_second: float | None, bilingual: bool
) -> SubtitleOptions | None:
    """None where no flag is given. Raises OutputError."""
    from dragoman.subtitles.cues import SubtitleOptions

    if (width, count, chars_per_second, bilingual) == (None, None, None, False):
        return None
    if bilingual and count == 1:
        raise OutputError("--bilingual needs two lines at least; give --max_line_count 2 or more.")
    return SubtitleOptions(width, count or SubtitleOptions.max_line_count, chars_per_second, bilingual)


def _translate_all(translator: SpeechTranslator, asked: _Asked, output: Output, finished: Finished | None) -> int:
    """Translate file after file; returns how many could not be read, each of which was told."""
    from dragoman.cli.translation.progress import Summary, progress_over

    todo = [path for path in output.stems if finished is None or not finished.holds(path)]
    if before := len(output.stems) - len(todo):
        say(f"{before} of {len(output.stems)} were translated before and are left as they are.")
    summary = Summary()
    wanted, words = asked.wanted, asked.words
    outcomes = translator.translate_each(
        todo,
        wanted.to,
        wanted.source,
        multilingual=asked.multilingual,
        hotwords=words.hotwords,
        glossary=words.glossary,
        audio_track=asked.track,
    )
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
                    remark(path, outcome.get(), wanted.to, multilingual=asked.multilingual)
                confident |= any(segment.confidence for segment in outcome.get().segments)
            summary.add(path, outcome)
            progress.done(path)
    if confident and translator.calibration is None:
        say(f"{translator.name}: not calibrated: how sure it is is told, but not what to doubt (docs/translating.md).")
    if len(output.stems) > 1:
        summary.show()
    return summary.failed
