"""The report folder: report.html, figures/ and tables/, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from dragoman.errors import DataError, OutputError
from dragoman.evaluation.readers import InputSpec, read
from dragoman.evaluation.report import figures
from dragoman.evaluation.report.audio import embed
from dragoman.evaluation.report.page import render
from dragoman.evaluation.report.samples import Sample, choose
from dragoman.evaluation.report.tables import tables
from dragoman.evaluation.runs import ScoredRun
from dragoman.files import atomic_folder
from dragoman.records import Utterance

PAGE, FIGURES, TABLES = "report.html", "figures", "tables"
OnReportProgress = Callable[[str, int, int], None]
"""Hears (what is being made, done, total)."""


def write_report(
    runs: Sequence[ScoredRun],
    out: Path,
    utterances: Sequence[Utterance] = (),
    on_progress: OnReportProgress | None = None,
) -> list[Path]:
    """Write the report of the runs to the folder `out`, in the place of an earlier report only.

    Args:
        runs: What is shown, in this order.
        out: The folder.
        utterances: Those of the manifest, for the speech of the samples.
        on_progress: Called with (what is being done, done, total).

    Returns:
        What was written, the page first.

    Raises:
        DataError: The manifest holds none of the runs' utterances.
        OutputError: `out` holds something else.
    """
    check_folder(out)
    hear = on_progress or _no_progress
    rows = {run.name: read(InputSpec(run.hypotheses)).rows for run in runs if run.hypotheses}
    samples = {name: choose(found, partial(hear, f"samples of {name}")) for name, found in rows.items()}
    audio = _sound(samples, utterances, hear)
    page = render(runs, samples, {name: len(found) for name, found in rows.items()}, audio)
    with atomic_folder(out.resolve()) as folder:
        (folder / PAGE).write_text(page, encoding="utf-8", newline="\n")
        figures.draw(runs, folder / FIGURES, partial(hear, "figures"))
        (folder / TABLES).mkdir()
        for name, table in tables(runs).items():
            for ending, text in (("csv", table.csv()), ("tex", table.latex())):
                (folder / TABLES / f"{name}.{ending}").write_text(text, encoding="utf-8", newline="\n")
    return [out / PAGE, out / FIGURES, out / TABLES]


def check_folder(out: Path) -> None:
    """Raise OutputError when writing a report to `out` would remove what is not a report."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; name a folder for the report.")
    strangers = {path.name for path in out.iterdir()} - {PAGE, FIGURES, TABLES} if out.exists() else set()
    if strangers:
        raise OutputError(
            f"{out} holds {sorted(strangers)[0]!r}, which is not part of a report; choose another folder."
        )


def _sound(samples: dict[str, list[Sample]], utterances: Sequence[Utterance], hear: OnReportProgress) -> dict[str, str]:
    if not utterances:
        return {}
    wanted = [sample.row.id for found in samples.values() for sample in found]
    known = {utterance.id: utterance for utterance in utterances}
    if not known.keys() & set(wanted):
        raise DataError("The manifest holds none of the utterances of these runs; name the one they were made from.")
    return embed(wanted, known, partial(hear, "speech"))


def _no_progress(what: str, done: int, total: int) -> None:
    """Does nothing."""
