"""`dragoman check`: what is in manifests, and what is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dragoman.cli.console import say, show_json
from dragoman.cli.files import writable

if TYPE_CHECKING:
    from dragoman.data.check import Report


def check(
    manifests: Annotated[
        list[Path], typer.Argument(help="Manifests that belong together (train, valid, test), or their folder.")
    ],
    recipe: Annotated[
        str | None,
        typer.Option(help="A recipe, whose window (30 s without one) and filters say which clips are too long."),
    ] = None,
    audio: Annotated[bool, typer.Option("--audio/--no_audio", help="Decode every recording, or open none.")] = True,
    skip_bad: Annotated[
        Path | None,
        typer.Option("--skip_bad", help="Write the manifests, without the rows that have errors, into this folder."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one a core by default.")] = None,
) -> None:
    """Say what is in manifests and what is wrong: wrong rows, broken audio, leaks between training and test, texts
    that do not fit their language or their audio. Errors end with exit code 2, unless --skip_bad leaves their rows
    out; warnings do not."""
    paths = _manifests(manifests)
    from dragoman.data.check import check
    from dragoman.data.check.skip import outputs
    from dragoman.parallel import cores
    from dragoman.recipe import load_recipe

    if skip_bad:
        outputs(paths, writable(skip_bad))
    known = load_recipe(recipe) if recipe else None
    window_s = known.audio.window_s if known else 30.0
    longest_s = known.longest_clips() if known else {}
    with _bar(paths) as progress:
        report = check(
            paths,
            window_s=window_s,
            longest_s=longest_s,
            decode=audio,
            workers=workers or cores(),
            on_progress=progress,
        )
    if json:
        show_json(report.to_json())
    else:
        from dragoman.cli.data.check_table import print_report

        print_report(report, audio)
    if skip_bad:
        _skip(report, skip_bad)
    elif errors := report.count("error"):
        say(f"{_many(errors, 'error')}; fix them, or leave their rows out with --skip_bad FOLDER.")
        raise typer.Exit(2)


def _manifests(named: list[Path]) -> list[Path]:
    """The files as named, and the manifests in each folder; a file counts once."""
    from dragoman.data.check import manifests_in

    paths: dict[str, Path] = {}
    for path in named:
        found, others = manifests_in(path) if path.is_dir() else ([path], [])
        paths |= {os.path.realpath(one): one for one in found}
        for other in others:
            say(f"{other}: left out, it holds no utterances.")
    return list(paths.values())


def _skip(report: Report, out: Path) -> None:
    from dragoman.data.check.skip import SKIPPED, skip_bad

    for path, (kept, left_out) in skip_bad(report, out).items():
        say(f"{path}: {_many(kept, 'row')}, {left_out} left out.")
    say(f"{out / SKIPPED}: which rows were left out, and why.")


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


@contextmanager
def _bar(paths: list[Path]) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, when that is a terminal; called with the rows that are done."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("checking", total=_lines(paths) if console.is_terminal else None)
        yield lambda done: progress.update(task, completed=done)


def _lines(paths: list[Path]) -> int:
    total = 0
    for path in paths:
        with open(path, "rb") as file:
            total += sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    return total
