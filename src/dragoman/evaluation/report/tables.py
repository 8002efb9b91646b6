"""The tables of a report, each as CSV, LaTeX (booktabs) and Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dragoman.evaluation.report.matrix import averages, bins, by_source, by_target, in_order
from dragoman.evaluation.runs import ScoredRun
from dragoman.text.languages import LANGUAGES

Cell = str | int | float | None
_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
_LATEX |= {"^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}


@dataclass(frozen=True, slots=True)
class Table:
    """Text, counts, and values that CSV holds in full and the others show with `digits`; None is an empty cell."""

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    digits: int = 2

    def csv(self) -> str:
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([self.header, *self.rows])
        return out.getvalue()

    def latex(self) -> str:
        """A tabular for the package booktabs; text to the left, numbers to the right."""
        lines = [self._line(row, _latex, " & ", "", r" \\") for row in (self.header, *self.rows)]
        body = "\n".join(lines[1:])
        columns = "".join("r" if number else "l" for number in self.numbers())
        opening = f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n"
        return f"{opening}{lines[0]}\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"

    def markdown(self) -> str:
        rule = "|" + "".join("---:|" if number else "---|" for number in self.numbers())
        lines = [self._line(row, _markdown, " | ", "| ", " |") for row in (self.header, *self.rows)]
        return "\n".join([lines[0], rule, *lines[1:]]) + "\n"

    def numbers(self) -> list[bool]:
        """Which columns hold any number."""
        return [any(isinstance(row[i], int | float) for row in self.rows) for i in range(len(self.header))]

    def _line(self, row: Sequence[Cell], escape: Callable[[str], str], between: str, before: str, after: str) -> str:
        return before + between.join(escape(self.shown(cell)) for cell in row) + after

    def shown(self, cell: Cell) -> str:
        """A cell as LaTeX, Markdown and the page write it, not yet escaped."""
        return f"{cell:.{self.digits}f}" if isinstance(cell, float) else "" if cell is None else str(cell)


def tables(runs: Sequence[ScoredRun]) -> dict[str, Table]:
    """By file name; those that would be empty are left out."""
    made = {
        "scores": _scores(runs),
        "directions": directions(runs),
        "languages": _languages(runs),
        "averages": named_averages(runs),
        "comet-bins": comet_bins(runs),
    }
    return {name: table for name, table in made.items() if table.rows}


def directions(runs: Sequence[ScoredRun]) -> Table:
    """A row per direction in the order of families, a column per run and metric of translations."""
    columns = [(run, metric) for run in runs for metric in run.translation_metrics]
    header = ["source", "target", *(_column(run, metric, runs) for run, metric in columns)]
    values = [run.values(metric) for run, metric in columns]
    codes = in_order({code for run in runs for d in run.directions for code in d.split("-")})
    known = {d for run in runs for d in run.directions}
    names = [f"{s}-{t}" for s in codes for t in codes if f"{s}-{t}" in known]
    return Table(header, [[*name.split("-"), *(v.get(name) for v in values)] for name in names])


def named_averages(runs: Sequence[ScoredRun]) -> Table:
    """A row per run and metric, a column per set that any of them covers."""
    found = [(run, metric, averages(run.values(metric))) for run in runs for metric in run.quality_metrics]
    sets = list(dict.fromkeys(name for *_, means in found for name in means))
    rows = [[run.name, metric, *(means.get(name) for name in sets)] for run, metric, means in found if means]
    return Table(["run", "metric", *sets], rows)


def comet_bins(runs: Sequence[ScoredRun]) -> Table:
    """MCAT's Table VIII: how many directions in which range of COMET."""
    found = [(run, bins(run.values("COMET"))) for run in runs if run.values("COMET")]
    return Table(["run", *bins({})], [[run.name, *counts.values()] for run, counts in found])


def _scores(runs: Sequence[ScoredRun]) -> Table:
    rows = [
        [run.name, score.metric, score.direction, score.value, score.count or None, score.signature]
        for run in runs
        for scores in run.scores.values()
        for score in scores.values()
    ]
    return Table(["run", "metric", "direction", "value", "hypotheses", "signature"], rows)


def _languages(runs: Sequence[ScoredRun]) -> Table:
    rows: list[list[Cell]] = []
    for run in runs:
        errors = run.errors()
        if not run.translation_metrics:
            rows += [
                [run.name, None, code, LANGUAGES[code].name, errors[code], None, None] for code in in_order(errors)
            ]
        for metric in run.translation_metrics:
            sources, targets = by_source(run.values(metric)), by_target(run.values(metric))
            for code in in_order({*sources, *targets}):
                means = sources.get(code), targets.get(code)
                rows.append([run.name, metric, code, LANGUAGES[code].name, errors.get(code), *means])
    return Table(["run", "metric", "code", "language", "WER or CER", "mean from it", "mean into it"], rows)


def _column(run: ScoredRun, metric: str, runs: Sequence[ScoredRun]) -> str:
    return metric if len(runs) == 1 else f"{run.name} {metric}"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _markdown(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
