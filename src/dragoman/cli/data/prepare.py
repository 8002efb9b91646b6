"""`dragoman prepare`: corpora into manifests and speech. An interrupted run goes on where it stopped."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dragoman.cli.console import say, show
from dragoman.cli.flags import with_flags
from dragoman.cli.progress import progress_bars
from dragoman.errors import DataError, RecipeError
from dragoman.progress import OnProgress

if TYPE_CHECKING:
    from dragoman.data.corpora.parts import PrepareOptions
    from dragoman.data.corpora.voices import SynthesisConfig
    from dragoman.data.corpora.writing import PreparedManifest

app = typer.Typer(help="Make training data out of a corpus.", no_args_is_help=True, rich_markup_mode=None)


class AudioStorage(StrEnum):
    """How recordings are stored."""

    flac = "flac"
    original = "original"


OutOption = Annotated[Path, typer.Option(help="Where manifests and audio are written; several corpora may share it.")]
LanguagesOption = Annotated[list[str], typer.Option(help="Languages and sets of them, with commas, such as mcat-28.")]
SplitsOption = Annotated[str, typer.Option(help="Which of its tables, with commas.")]
AudioStorageOption = Annotated[
    AudioStorage, typer.Option(help="16 kHz FLAC, or the files as they are: named in place, copied from archives.")
]
SkipBadOption = Annotated[
    bool, typer.Option("--skip_bad", help="List recordings that cannot be used in skipped.jsonl and go on.")
]
WorkersOption = Annotated[int | None, typer.Option(min=1, help="Processes; one a core by default.")]


@dataclass(frozen=True)
class PrepareFlags:
    """PrepareOptions, flag by flag."""

    audio: AudioStorageOption = AudioStorage.flac
    skip_bad: SkipBadOption = False
    workers: WorkersOption = None

    def read(self, on_progress: OnProgress) -> PrepareOptions:
        from dragoman.data.corpora.parts import PrepareOptions

        return PrepareOptions(self.audio.value, self.skip_bad, self.workers or os.cpu_count() or 1, on_progress)


@dataclass(frozen=True)
class SynthesisFlags:
    """SynthesisConfig, flag by flag."""

    engine: Annotated[str, typer.Option(help="Who speaks: pico, kokoro or espeak.")]
    languages: Annotated[list[str], typer.Option(help="What is spoken, with commas, such as eng,deu.")]
    targets: Annotated[
        list[str] | None, typer.Option(help="The languages of the texts and translations; as --languages by default.")
    ] = None
    clips: Annotated[int, typer.Option(min=0, help="Training clips of each language.")] = 1000
    valid_clips: Annotated[int, typer.Option("--valid_clips", min=0, help="Validation clips of each language.")] = 50
    joined: Annotated[float, typer.Option(min=0, max=1, help="Share of clips that join several sentences.")] = 0.4
    valid_sentences: Annotated[
        int, typer.Option("--valid_sentences", min=0, help="Sentences held out of training.")
    ] = 400
    per_shard: Annotated[
        int, typer.Option("--per_shard", min=1, help="Clips of a shard; an interrupted run loses one shard at most.")
    ] = 100
    seed: Annotated[int, typer.Option(min=0, help="Chooses sentences, voices, rooms and backgrounds.")] = 1

    def read(self) -> SynthesisConfig:
        from dragoman.data.corpora.voices import SynthesisConfig
        from dragoman.text.languages import expand

        return SynthesisConfig(
            engine=self.engine,
            languages=tuple(expand(self.languages)),
            targets=tuple(expand(self.targets or self.languages)),
            clips=self.clips,
            valid_clips=self.valid_clips,
            joined=self.joined,
            valid_sentences=self.valid_sentences,
            clips_per_shard=self.per_shard,
            seed=self.seed,
        )


@app.callback()
def _corpora() -> None:
    """Make training data out of a corpus."""


@app.command("fleurs")
@with_flags
def fleurs(
    languages: LanguagesOption,
    out: OutOption,
    flags: PrepareFlags,
    root: Annotated[Path | None, typer.Option(help="A copy of google/fleurs; fetched from the hub by default.")] = None,
    splits: SplitsOption = "train,dev,test",
) -> None:
    """FLEURS: the same sentences read aloud in 102 languages."""
    from dragoman.data.corpora.fleurs import prepare
    from dragoman.text.languages import expand

    with progress_bars() as progress:
        options = flags.read(progress)
        prepared = prepare(root, expand(languages), out, splits=_listed(splits), options=options)
    _print_prepared(prepared)


@app.command("covost2")
@with_flags
def covost2(
    root: Annotated[Path, typer.Option(help="A release of Common Voice: folders such as fr, each with clips.")],
    translations: Annotated[Path, typer.Option(help="The folder of covost_v2.fr_en.tsv and the like.")],
    out: OutOption,
    flags: PrepareFlags,
    directions: Annotated[str, typer.Option(help="Such as fra-eng,eng-deu; all that are there by default.")] = "",
    splits: SplitsOption = "train,dev,test",
) -> None:
    """CoVoST-2: Common Voice with translations, into English and out of it."""
    from dragoman.data.corpora.covost2 import prepare

    with progress_bars() as progress:
        prepared = prepare(
            root,
            translations,
            out,
            directions=_listed(directions),
            splits=_listed(splits),
            options=flags.read(progress),
        )
    _print_prepared(prepared)


@app.command("common_voice")
@with_flags
def common_voice(
    root: Annotated[Path, typer.Option(help="A release: folders such as de, each with its tables and clips.")],
    languages: LanguagesOption,
    out: OutOption,
    flags: PrepareFlags,
    splits: SplitsOption = "train,dev,test",
) -> None:
    """Common Voice: sentences read aloud by volunteers, any release."""
    from dragoman.data.corpora.common_voice import prepare
    from dragoman.text.languages import expand

    with progress_bars() as progress:
        options = flags.read(progress)
        prepared = prepare(root, expand(languages), out, splits=_listed(splits), options=options)
    _print_prepared(prepared)


@app.command("table")
@with_flags
def table(
    source: Annotated[Path, typer.Argument(metavar="TABLE", help="A .csv, .tsv or .jsonl file, or a Kaldi folder.")],
    out: OutOption,
    flags: PrepareFlags,
    name: Annotated[str | None, typer.Option(help="What the corpus is called; as the table by default.")] = None,
    split: Annotated[str, typer.Option(help="train, valid, test or another one.")] = "train",
    root: Annotated[Path | None, typer.Option(help="The folder of the recordings; the table's by default.")] = None,
    language: Annotated[str | None, typer.Option(help="The language of rows that name none.")] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="FIELD=COLUMN, such as text=transcript or text_deu=German.")
    ] = None,
) -> None:
    """Your own recordings: CSV, TSV, JSON lines (NeMo's and the papers' too), a Kaldi folder."""
    from dragoman.data.corpora.table import prepare

    with progress_bars() as progress:
        prepared = prepare(
            source,
            out,
            name=name,
            split=split,
            root=root,
            language=language,
            columns=_mapped(column or []),
            options=flags.read(progress),
        )
    _print_prepared(prepared)


@app.command("tatoeba")
def tatoeba(
    root: Annotated[Path, typer.Option(help="The corpus: train.multi.jsonl.gz and what lies beside it.")],
    noise: Annotated[Path, typer.Option(help="Backgrounds and room responses.")],
    out: Annotated[Path, typer.Option(help="Where texts, speech and manifests are written.")],
    recipe: Annotated[str, typer.Option(help="The recipe whose [bases.corpus] decides the data.")] = "tiny",
    workers: WorkersOption = None,
) -> None:
    """Everyday sentences, spoken by espeak-ng. An interrupted run goes on where it stopped."""
    from dragoman.data.corpora.tatoeba import prepare
    from dragoman.recipe import load_recipe

    chosen = load_recipe(recipe)
    if chosen.bases is None:
        raise RecipeError(f"The recipe {chosen.name!r} has no [bases.corpus] table: it is trained on other data.")
    with progress_bars() as progress:
        prepare(root, noise, out, chosen.bases.corpus, workers or os.cpu_count() or 1, progress)


@app.command("voices")
@with_flags
def voices(
    root: Annotated[Path, typer.Option(help="Tatoeba: train.multi.jsonl.gz and what lies beside it.")],
    out: Annotated[Path, typer.Option(help="Where speech and manifests are written; engines may share it.")],
    flags: SynthesisFlags,
    noise: Annotated[
        Path | None, typer.Option(help="Backgrounds and room responses; without them speech stays clean.")
    ] = None,
    workers: WorkersOption = None,
) -> None:
    """Everyday sentences, spoken by an engine, singly and joined. An interrupted run goes on where it stopped."""
    from dragoman.data.corpora.voices import prepare

    with progress_bars() as progress:
        manifests = prepare(root, noise, out, flags.read(), workers or os.cpu_count() or 1, progress)
    for manifest in manifests:
        show(str(manifest))


@app.command("joined")
def joined(
    manifests: Annotated[list[Path], typer.Argument(metavar="MANIFEST", help="Manifests of short clips.")],
    out: Annotated[Path, typer.Option(help="Where the joined clips and the manifest of all are written.")],
    name: Annotated[str, typer.Option(help="What the manifest is called.")] = "joined",
    languages: Annotated[list[str] | None, typer.Option(help="Which to take; all by default.")] = None,
    noise: Annotated[Path | None, typer.Option(help="Backgrounds and room responses for the joined clips.")] = None,
    rounds: Annotated[int, typer.Option(min=0, help="How many joined clips each clip goes into.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Chooses where clips are joined.")] = 1,
    workers: WorkersOption = None,
) -> None:
    """Clips of other manifests, as they are and joined to 8 to 20 s. An interrupted run goes on where it stopped."""
    from dragoman.data.corpora.joined import JoinConfig, prepare
    from dragoman.text.languages import expand

    joining = JoinConfig(name=name, languages=tuple(expand(languages or [])), rounds=rounds, seed=seed)
    with progress_bars() as progress:
        manifest = prepare(manifests, noise, out, joining, workers or os.cpu_count() or 1, progress)
    show(str(manifest))


@app.command("sentences")
def sentences(
    root: Annotated[Path, typer.Option(help="Tatoeba: train.multi.jsonl.gz and what lies beside it.")],
    languages: Annotated[list[str], typer.Option(help="English and others, with commas, such as eng,deu,fra.")],
    out: Annotated[Path, typer.Option(help="Where text.jsonl and text.valid.jsonl are written.")],
    all_licences: Annotated[
        bool, typer.Option("--all_licences", help="Also translations whose packaging states another licence, or none.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Chooses what is held out and what is joined.")] = 1,
) -> None:
    """Everyday sentences as text alone, for stages that teach the LLM to translate before it hears anything."""
    from dragoman.data.corpora.sentences import prepare
    from dragoman.text.languages import expand

    counts = prepare(root, out, expand(languages), licensed_only=not all_licences, seed=seed)
    for name, count in counts.items():
        say(f"{out / name}.jsonl: {count} rows.")
        show(str(out / f"{name}.jsonl"))


def _print_prepared(prepared: Iterable[PreparedManifest]) -> None:
    """The manifests on stdout, what they hold on stderr."""
    for manifest in prepared:
        skipped = f", {manifest.skipped} skipped (see skipped.jsonl)" if manifest.skipped else ""
        say(f"{manifest.path}: {manifest.utterances} utterances, {manifest.hours:.2f} hours{skipped}.")
        show(str(manifest.path))


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _mapped(pairs: Iterable[str]) -> dict[str, str]:
    columns = dict(pair.partition("=")[::2] for pair in pairs)
    for field, column in columns.items():
        if not field or not column:
            raise DataError(f"--column {field or '='}: write FIELD=COLUMN, such as text=transcript.")
    return columns
