"""`dragoman translate`: recordings in, transcripts and translations out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dragoman.cli.console import say
from dragoman.cli.options import (
    AudioTrackOption,
    BatchSizeOption,
    BeamSizeOption,
    ComputeTypeOption,
    DeviceOption,
    GlossaryOption,
    HotwordsOption,
    LanguageFlags,
    LanguageOption,
    LoadOptions,
    Ngrams,
    OptionalModelOption,
    PhraseFlags,
    SystemOption,
    ThreadsOption,
    ToOption,
    TranscriptByOption,
    TranslateFromOption,
    VadMaxSpeechOption,
    VadMinSilenceOption,
    VadMinSpeechOption,
    VadSpeechPadOption,
    VadThresholdOption,
    prepare_device,
    resolve_model,
)
from dragoman.cli.translation.batch_job import translate_manifest
from dragoman.cli.translation.output import OutputFormat, OutputPlan, remark
from dragoman.errors import OutputError

if TYPE_CHECKING:
    from dragoman.cli.translation.resume import FinishedRecordings
    from dragoman.inference.recordings import SpeechTranslator
    from dragoman.subtitles.cues import SubtitleOptions


MaxLineWidthOption = Annotated[
    int | None,
    typer.Option(
        "--max_line_width",
        min=1,
        help="Subtitles: columns of a line (a Chinese sign is two); the language's own.",
    ),
]
MaxLineCountOption = Annotated[
    int | None, typer.Option("--max_line_count", min=1, help="Subtitles: lines at once; 2 by default.")
]
MaxCharsPerSecondOption = Annotated[
    float | None,
    typer.Option(
        "--max_chars_per_second", min=1, help="Subtitles stay for this reading speed, if they can; the language's own."
    ),
]
TranslateEngineOption = Annotated[
    Literal["torch", "ray"], typer.Option(help="ray: a manifest (.jsonl) by many workers, into parquet files.")
]
BilingualOption = Annotated[
    bool, typer.Option("--bilingual", help="Also subtitles of both: the translation, and below it what is said.")
]


def translate(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUTS", help="Recordings, folders, or - for stdin.")],
    to: ToOption,
    model: OptionalModelOption = None,
    system: SystemOption = None,
    language: LanguageOption = None,
    audio_track: AudioTrackOption = None,
    output_dir: Annotated[Path | None, typer.Option("--output_dir", "-o", help="Where files are written.")] = None,
    output_format: Annotated[OutputFormat | None, typer.Option("--output_format", "-f", help="Which files.")] = None,
    max_line_width: MaxLineWidthOption = None,
    max_line_count: MaxLineCountOption = None,
    max_chars_per_second: MaxCharsPerSecondOption = None,
    bilingual: BilingualOption = False,
    beam_size: BeamSizeOption = None,
    batch_size: BatchSizeOption = 16,
    device: DeviceOption = None,
    compute_type: ComputeTypeOption = "auto",
    threads: ThreadsOption = None,
    transcript_by: TranscriptByOption = None,
    translate_from: TranslateFromOption = None,
    no_repeat_ngram_size: Ngrams = None,
    multilingual: Annotated[bool, typer.Option("--multilingual", help="Tell the language of each segment.")] = False,
    vad_threshold: VadThresholdOption = None,
    vad_min_speech_duration_ms: VadMinSpeechOption = None,
    vad_max_speech_duration_s: VadMaxSpeechOption = None,
    vad_min_silence_duration_ms: VadMinSilenceOption = None,
    vad_speech_pad_ms: VadSpeechPadOption = None,
    hotwords: HotwordsOption = None,
    glossary: GlossaryOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a recording.")] = False,
    engine: TranslateEngineOption = "torch",
    workers: Annotated[int | None, typer.Option(min=1, help="Ray's actors, one model each; all GPUs, or 1.")] = None,
) -> None:
    """Translate recordings and videos of any length into one or several languages.

    Prints; with -o or -f also writes talk.eng.srt (what is said), talk.deu.srt (a translation), talk.json (all), and
    with --bilingual talk.deu+eng.srt. What was written by an earlier run is left as it is.
    """
    from dragoman.cli.files import recordings

    languages = LanguageFlags.read(to, language)
    road = (transcript_by, translate_from, no_repeat_ngram_size)
    phrases = PhraseFlags.read(hotwords, glossary, languages)
    load = LoadOptions(beam_size, batch_size, device, compute_type, threads, *road)
    if engine == "ray":
        raise typer.Exit(2 if translate_manifest(inputs, model, languages, load, output_dir, workers) else 0)
    subtitles = _subtitles(max_line_width, max_line_count, max_chars_per_second, bilingual, languages)
    output = OutputPlan.plan(recordings(inputs), output_dir, output_format, json, subtitles)
    vad = _given(
        threshold=vad_threshold,
        min_speech_duration_ms=vad_min_speech_duration_ms,
        max_speech_duration_s=vad_max_speech_duration_s,
        min_silence_duration_ms=vad_min_silence_duration_ms,
        speech_pad_ms=vad_speech_pad_ms,
    )
    flags = _TranslateFlags(languages, multilingual, phrases, bilingual, vad, audio_track)
    translator, identity = _own(model, flags, load) if system is None else _external(system, model, flags, load)
    if _translate_all(translator, flags, output, output.finished(_settings(identity, translator, flags, load))):
        raise typer.Exit(2)


@dataclass(frozen=True)
class _TranslateFlags:
    """What is wanted of the recordings."""

    languages: LanguageFlags
    multilingual: bool
    phrases: PhraseFlags
    bilingual: bool
    vad: dict[str, float]
    track: int | None

    def check(self, translator: SpeechTranslator | type[SpeechTranslator]) -> None:
        """Raise DragomanError for what it cannot do."""
        from dragoman.inference.recordings import check_supported, check_writes_transcripts

        check_supported(
            translator, self.languages.source, self.multilingual, bool(self.phrases.hotwords or self.phrases.glossary)
        )
        if self.languages.only_transcripts:
            check_writes_transcripts(translator)
        if self.bilingual and not translator.writes_transcripts:
            raise OutputError(f"--bilingual: {translator.name} does not write what is said; leave it out.")


def _own(model: str | None, flags: _TranslateFlags, load: LoadOptions) -> tuple[SpeechTranslator, str]:
    """Our own model, and what tells it from others."""
    folder = resolve_model(model or "tiny", flags.languages, load.device, load.threads)
    from dragoman.cli.translation.resume import fingerprint
    from dragoman.inference.translator import Translator

    translator = Translator.from_pretrained(folder, vad_parameters=flags.vad, **load.for_own_model())
    flags.check(translator)
    return translator, fingerprint(folder)


def _external(name: str, model: str | None, flags: _TranslateFlags, load: LoadOptions) -> tuple[SpeechTranslator, str]:
    """One of SYSTEMS, and what tells it from others. What it cannot do is reported before its weights are read."""
    for_own_model = load.for_external_system()
    prepare_device(load.device, load.threads)
    from dragoman.systems import find_system

    kind = find_system(name)
    flags.check(kind)
    system = kind.from_pretrained(model, **for_own_model)
    system.vad = system.vad.varied(flags.vad, name)
    return system, f"{name}: {system.identity}"


def _settings(
    identity: str, translator: SpeechTranslator, flags: _TranslateFlags, load: LoadOptions
) -> dict[str, object]:
    """All that decides what is written of a recording."""
    from dragoman import __version__

    return {
        "model": identity,
        "version": __version__,
        "wanted": asdict(flags.languages),
        "beams": load.beam_size,
        "transcript_by": load.transcript_by,
        "translate_from": load.translate_from,
        "compute_type": load.compute_type,
        "no_repeat_ngram_size": load.no_repeat_ngram_size,
        "multilingual": flags.multilingual,
        "vad": asdict(translator.vad),
        "words": asdict(flags.phrases),
        "track": flags.track,
    }


def _given(**values: float | None) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def _subtitles(
    width: int | None, count: int | None, chars_per_second: float | None, bilingual: bool, languages: LanguageFlags
) -> SubtitleOptions | None:
    """None where no flag is given. Raises OutputError."""
    from dragoman.subtitles.cues import SubtitleOptions

    if bilingual and languages.only_transcripts:
        raise OutputError("--bilingual: with --to none there is no translation; name a target, or leave it out.")
    if (width, count, chars_per_second, bilingual) == (None, None, None, False):
        return None
    if bilingual and count == 1:
        raise OutputError("--bilingual needs two lines at least; give --max_line_count 2 or more.")
    return SubtitleOptions(width, count or SubtitleOptions.max_line_count, chars_per_second, bilingual)


def _translate_all(
    translator: SpeechTranslator, flags: _TranslateFlags, output: OutputPlan, finished: FinishedRecordings | None
) -> int:
    """Translate file after file; returns how many could not be read, each of which was reported."""
    from dragoman.cli.translation.progress import RecordingsSummary, progress_over

    todo = [path for path in output.stems if finished is None or not finished.holds(path)]
    if before := len(output.stems) - len(todo):
        say(f"{before} of {len(output.stems)} were translated before and are left as they are.")
    summary = RecordingsSummary()
    languages, phrases = flags.languages, flags.phrases
    outcomes = translator.translate_each(
        todo,
        languages.to,
        languages.source,
        multilingual=flags.multilingual,
        hotwords=phrases.hotwords,
        glossary=phrases.glossary,
        audio_track=flags.track,
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
                    remark(path, outcome.get(), languages.to, multilingual=flags.multilingual)
                confident |= any(segment.confidence for segment in outcome.get().segments)
            summary.add(path, outcome)
            progress.done(path)
    if confident and translator.calibration is None:
        say(f"{translator.name}: not calibrated: confidence is given, doubtful text not marked (docs/translating.md).")
    if len(output.stems) > 1:
        summary.show()
    return summary.failed
