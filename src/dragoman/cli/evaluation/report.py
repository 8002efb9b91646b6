"""`dragoman report`: runs into a page, figures and tables, or into a model card."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from dragoman.cli.options import ModelOption, chosen_model
from dragoman.errors import OutputError


def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of `dragoman evaluate`, hypotheses, published tables (.csv).")
    ],
    out: Annotated[Path | None, typer.Option(help="Where report.html, figures and tables are written.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="What was evaluated, to put its speech into the page.")] = None,
    card: Annotated[bool, typer.Option("--card", help="Print the model card instead, in Markdown.")] = False,
    model: ModelOption = None,
) -> None:
    """Show runs at a glance: one HTML page, figures and tables for a paper. A run and its --text run go together."""
    if card and (out or manifest):
        raise OutputError("--card prints the card alone; leave out --out and --manifest, or --card.")
    if not card and out is None:
        raise OutputError("Name a folder for the report with --out, or ask for the --card.")
    from dragoman.evaluation.runs import read_runs

    found = read_runs(runs)
    if card:
        from dragoman.evaluation.report.model_card import card as written
        from dragoman.model.load import model_folder

        typer.echo(written(found, model_folder(chosen_model(model))), nl=False)
        return
    assert out is not None
    from dragoman.evaluation.report.write import check_folder, write_report
    from dragoman.records import read_manifest

    check_folder(out)
    utterances = read_manifest(manifest) if manifest else []
    with _bar() as progress:
        written_to = write_report(found, out, utterances, progress)
    for path in written_to:
        typer.echo(path)


@contextmanager
def _bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr, when that is a terminal; called with (what is made, done, total)."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("reading", total=None)
        yield lambda what, done, total: progress.update(task, description=what, completed=done, total=total)
