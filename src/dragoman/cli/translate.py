"""`dragoman translate`: recordings in, transcripts and translations out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dragoman.cli.console import hush, printable, say, show, show_json
from dragoman.errors import LanguageError, OutputError
from dragoman.languages import LANGUAGES, expand, find

if TYPE_CHECKING:
    from rich.progress import Progress

    from dragoman.inference.cues import SubtitleOptions
    from dragoman.inference.result import Result
    from dragoman.inference.translator import Translator
    from dragoman.recipe import Recipe


class Format(StrEnum):
    """What can be written; the names are Whisper's."""

    txt = "txt"
    vtt = "vtt"
    srt = "srt"
    tsv = "tsv"
    json = "json"
    all = "all"


Model = Annotated[str, typer.Option(help="A model folder, a built-in model, or a name on the Hugging Face hub.")]
To = Annotated[list[str], typer.Option("--to", help="Target: de, deu or German; several with commas; or all.")]
Beams = Annotated[int | None, typer.Option("--beam_size", min=1, help="1 is greedy; the model's own by default.")]
Batch = Annotated[int, typer.Option("--batch_size", min=1, help="Stretches of speech decoded at once.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, …; cuda by default where there is one.")]
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
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; all by default.")]


def translate(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUTS", help="Recordings, or folders of them.")],
    to: To,
    model: Model = "tiny",
    language: Annotated[str | None, typer.Option(help="What is spoken; told from the speech by default.")] = None,
    output_dir: Annotated[Path | None, typer.Option("--output_dir", "-o", help="Where files are written.")] = None,
    output_format: Annotated[Format | None, typer.Option("--output_format", "-f", help="Which files.")] = None,
    max_line_width: Width = None,
    max_line_count: Count = None,
    max_chars_per_second: Speed = None,
    bilingual: Bilingual = False,
    beam_size: Beams = None,
    batch_size: Batch = 16,
    device: Device = None,
    threads: Threads = None,
    multilingual: Annotated[bool, typer.Option("--multilingual", help="Tell the language of each segment.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a recording.")] = False,
) -> None:
    """Translate recordings and videos of any length into one or several languages.

    Prints; with -o or -f also writes talk.eng.srt (what is said), talk.deu.srt (a translation), talk.json (all), and
    with --bilingual talk.deu+eng.srt.
    """
    from dragoman.cli.files import recordings

    wanted = Wanted.read(to, language)
    subtitles = _subtitles(max_line_width, max_line_count, max_chars_per_second, bilingual)
    output = Output.plan(recordings(inputs), output_dir, output_format, json, subtitles)
    folder = checked(model, wanted, device, threads)
    from dragoman.inference.translator import Translator

    translator = Translator.from_pretrained(folder, device=device, beam_size=beam_size, batch_size=batch_size)
    failed = _translate_all(translator, wanted, multilingual, output)
    if failed or len(output.stems) > 1:
        say(f"{len(output.stems) - failed} translated, {failed} failed")
    if failed:
        raise typer.Exit(2)


@dataclass(frozen=True)
class Wanted:
    """The languages asked for; they are known, but not yet compared with a model's."""

    to: tuple[str, ...]
    source: str | None

    @classmethod
    def read(cls, to: Sequence[str], language: str | None) -> Wanted:
        """Check what can be checked without a model. Raises LanguageError."""
        source = None if language is None else find(language).code
        names = [name.strip() for part in to for name in part.split(",")]
        if "all" in (name.lower() for name in names):
            return cls(("all",), source)
        codes = expand(names)
        if not codes:
            raise LanguageError("No target language is given; name at least one, as in --to deu.")
        if source in codes:
            raise LanguageError(f"Source and target are both {source!r}; name a target that differs from the speech.")
        return cls(codes, source)

    def check(self, recipe: Recipe) -> None:
        """Raise LanguageError for what the model does not speak."""
        source = None if self.source is None else recipe.known_source(self.source)
        recipe.known_targets(self.to, source)


@dataclass(frozen=True)
class Output:
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
        wanted: Format | None,
        json: bool,
        subtitles: SubtitleOptions | None,
    ) -> Output:
        """Raises OutputError when the results cannot be written, two would have the same name, or no subtitles are
        written though it is said how they look."""
        from dragoman.cli.files import stems, writable
        from dragoman.inference.subtitles import FORMATS, SUBTITLES

        written = folder is not None or wanted is not None
        formats = FORMATS if wanted in (None, Format.all) else (str(wanted),)
        if subtitles is not None and not (written and set(formats) & set(SUBTITLES)):
            raise OutputError(f"No subtitles would be written; add -f {' or -f '.join((*SUBTITLES, 'all'))}.")
        if not written:
            return cls(dict.fromkeys(paths, ""), None, (), json, None)
        return cls(stems(paths), writable(folder or Path()), formats, json, subtitles)

    def give(self, path: Path, result: Result) -> None:
        """Write and print one result, and say what is not as one would expect. Raises OutputError."""
        from dragoman.inference.subtitles import to_dict, to_json, write_outputs

        if self.folder is not None:
            write_outputs(result, self.folder, self.stems[path], self.formats, self.subtitles)
        if self.json:
            show_json(to_json(to_dict(result)))
        else:
            _show(result)


def _subtitles(
    width: int | None, count: int | None, chars_per_second: float | None, bilingual: bool
) -> SubtitleOptions | None:
    """None where no flag is given. Raises OutputError."""
    from dragoman.inference.cues import SubtitleOptions

    if (width, count, chars_per_second, bilingual) == (None, None, None, False):
        return None
    if bilingual and count == 1:
        raise OutputError("--bilingual needs two lines at least; give --max_line_count 2 or more.")
    return SubtitleOptions(width, count or SubtitleOptions.max_line_count, chars_per_second, bilingual)


def checked(model: str, wanted: Wanted, device: str | None, threads: int | None) -> Path:
    """The model's folder. The recipe comes first, so that a wrong language is told before the weights are read."""
    from dragoman.cli.machine import check_device, set_threads
    from dragoman.model.hub import BUILT_IN, locate
    from dragoman.recipe import read_stored_recipe

    hush()
    folder = locate(model)
    recipe = read_stored_recipe(folder / "recipe.json")
    wanted.check(recipe)
    if folder.parent == BUILT_IN:
        say(f"{recipe.name}: {recipe.about} Name a model of your own, or one on the Hugging Face hub, with --model.")
    set_threads(threads)
    check_device(device)
    return folder


def _translate_all(translator: Translator, wanted: Wanted, multilingual: bool, output: Output) -> int:
    """Translate file after file; returns how many could not be read, each of which was told."""
    failed = 0
    with _progress(len(output.stems)) as progress:
        bar = progress.task_ids[0]
        outcomes = translator.translate_each(output.stems, wanted.to, wanted.source, multilingual=multilingual)
        for path in output.stems:
            progress.update(bar, description=printable(path.name))
            outcome = next(outcomes)
            if outcome.error:
                say(str(outcome.error))
                failed += 1
            else:
                with _paused(progress):
                    output.give(path, outcome.get())
                    _remark(path, outcome.get(), wanted)
            progress.advance(bar)
    return failed


def _show(result: Result) -> None:
    show(result.audio)
    if not result.segments:
        show("no speech")
        return
    show(f"{result.language}: {result.transcript}")
    for code, text in result.translations.items():
        show(f"{code}: {text}")


def _remark(path: Path, result: Result, wanted: Wanted) -> None:
    if result.language in wanted.to:
        name = LANGUAGES[result.language].name
        say(f"{path}: is in {name}, so there is no translation into {name}.")
    for segment in result.segments:
        if segment.truncated:
            where = f"from {segment.start_s:.1f} to {segment.end_s:.1f} s"
            say(f"{path}: {where} the model was stopped before its end: {', '.join(segment.truncated)}.")


@contextmanager
def _progress(total: int) -> Iterator[Progress]:
    """A bar over the files on stderr, when that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    disable = not console.is_terminal
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, disable=disable) as progress:
        progress.add_task("", total=total)
        yield progress


@contextmanager
def _paused(progress: Progress) -> Iterator[None]:
    """Take the bar away while results are printed on the same terminal."""
    progress.stop()
    try:
        yield
    finally:
        progress.start()
