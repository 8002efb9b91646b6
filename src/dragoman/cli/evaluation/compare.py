"""`dragoman compare`: is a system better than another, or was it the choice of utterances?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dragoman.cli.console import printable
from dragoman.cli.evaluation.evaluate import MetricsOption, WorkersOption
from dragoman.cli.progress import progress_bar

if TYPE_CHECKING:
    from rich.table import Table

    from dragoman.evaluation.compare import Comparison, Tally
    from dragoman.evaluation.runs import Run


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more: run folders, or files of hypotheses.")],
    metric: MetricsOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, with signatures and in full precision.")] = False,
    workers: WorkersOption = None,
) -> None:
    """Compare runs with the first: every direction and their mean, tested for significance."""
    from dragoman.evaluation.compare import compare, tallies, to_json
    from dragoman.evaluation.runs import read_run
    from dragoman.parallel import cores

    read = [read_run(path) for path in runs]
    with progress_bar("testing") as progress:
        comparisons = compare(read, metric or (), workers or cores(), progress)
    if json:
        typer.echo(to_json(read, comparisons), nl=False)
    else:
        _print(read, comparisons, tallies(comparisons))


def _print(runs: Sequence[Run], comparisons: Sequence[Comparison], counted: Sequence[Tally]) -> None:
    from rich.console import Console

    from dragoman.evaluation.significance import ALPHA, signatures

    console = Console(width=None if sys.stdout.isatty() else 160, markup=False, highlight=False)
    for run in runs[1:]:
        console.print(_comparisons(run, runs[0], [one for one in comparisons if one.system == run.name]))
        for tally in counted:
            if tally.system == run.name:
                console.print(_sentence(tally), soft_wrap=True)
    if any(run.stats for run in runs):
        console.print(_systems(runs, comparisons))
    console.print(f"* p < {ALPHA} by both tests; by chance, at most one direction in twenty is marked.", soft_wrap=True)
    used = dict.fromkeys(one.signature for one in comparisons if one.direction != "all")
    for line in [*signatures().values(), *used]:
        console.print(line, soft_wrap=True)  # whole, to be copied


def _comparisons(run: Run, baseline: Run, comparisons: Sequence[Comparison]) -> Table:
    from rich.table import Table
    from rich.text import Text

    grid = Table(title=Text(f"{printable(run.name)} against {printable(baseline.name)}"), title_justify="left")
    for heading in ("metric", "direction"):
        grid.add_column(heading)
    for heading in ("count", "baseline", "system", "difference", "p (bs)", "p (ar)"):
        grid.add_column(heading, justify="right")
    grid.add_column("system is")
    for one in comparisons:
        values = (f"{x:.2f}" for x in (one.baseline_value, one.value))
        grid.add_row(
            one.metric,
            one.direction,
            str(one.count),
            *values,
            f"{one.value - one.baseline_value:+.2f}",
            f"{one.p_bootstrap:.4f}",
            f"{one.p_randomisation:.4f}",
            one.verdict + (" *" if one.significant else ""),
            end_section=one.direction == "all",
        )
    return grid


def _sentence(tally: Tally) -> str:
    return (
        f"{tally.metric}: better in {tally.better} of {tally.directions}"
        f" ({tally.better_significantly} significantly), worse in {tally.worse}"
        f" ({tally.worse_significantly} significantly), equal in {tally.equal}"
    )


def _systems(runs: Sequence[Run], comparisons: Sequence[Comparison]) -> Table:
    """Quality against size and speed."""
    from rich.table import Table
    from rich.text import Text

    means: dict[tuple[str, str], float] = {}
    for one in comparisons:
        if one.direction == "all":
            means[one.baseline, one.metric], means[one.system, one.metric] = one.baseline_value, one.value
    metrics = list(dict.fromkeys(metric for _, metric in means))
    grid = Table("run", "model")
    for heading in (*metrics, "parameters", "hypotheses/s"):
        grid.add_column(heading, justify="right")
    grid.add_column("hardware")
    for run in runs:
        known = run.stats
        size, speed = (f"{known.parameters / 1e6:.1f} M", f"{known.speed:.1f}") if known else ("", "")
        values = (f"{means[run.name, m]:.2f}" if (run.name, m) in means else "" for m in metrics)
        model, hardware = (Text(printable(x)) for x in ((known.model, known.hardware) if known else ("", "")))
        grid.add_row(Text(printable(run.name)), model, *values, size, speed, hardware)
    return grid
