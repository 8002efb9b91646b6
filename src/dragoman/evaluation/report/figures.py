"""The figures of a paper, by matplotlib: matrix (MCAT's Figure 5), bars (4 and 6), scatters (LLM-SRT's Figure 3)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dragoman.errors import needs_extra
from dragoman.evaluation.report.matrix import Matrix, by_source, by_target, families, in_order, pearson, shared
from dragoman.evaluation.runs import ScoredRun, lower_is_better, text_run

with needs_extra("A report", "evaluate"):
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

COLOURS = "viridis"  # perceptually uniform, and read by people who do not tell red from green
_INK, _FAINT, _BAR = "#1a1d21", "#9aa1a9", "#3b6fb6"
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "svg.hashsalt": "dragoman",  # the same figure is the same file
    "svg.fonttype": "none",
}
_SHOWN_VALUES = 15  # a cell holds its number up to this many languages


@dataclass(frozen=True, slots=True)
class Scatter:
    """Directions as points: `across` and `up` label the axes; `same` says that both measure one thing."""

    metric: str
    kind: str
    points: Mapping[str, tuple[float, float]]
    across: str
    up: str
    same: bool = False


def draw(runs: Sequence[ScoredRun], folder: Path, on_progress: Callable[[int, int], None] | None = None) -> list[str]:
    """Write the figures of every metric of quality as PNG and SVG; returns their names.

    `on_progress` hears (figures done, total).
    """
    plans = list(_plans(runs))
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(_STYLE):
        for done, (name, make) in enumerate(plans, 1):
            figure = make()
            figure.savefig(folder / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
            figure.savefig(folder / f"{name}.png", bbox_inches="tight", dpi=200, metadata={"Software": None})
            if on_progress:
                on_progress(done, len(plans))
    return [name for name, _ in plans]


def matrix(values: Matrix, label: str, *, lower: bool = False) -> Figure:
    """Sources down, targets across, both by family, with the families at the edge. The diagonal stays empty."""
    rows, columns = in_order(d.split("-")[0] for d in values), in_order(d.split("-")[1] for d in values)
    size = 0.16 if len(columns) > _SHOWN_VALUES else 0.5
    figure = Figure(figsize=(max(3.5, size * len(columns) + 2.0), max(2.6, size * len(rows) + 1.2)))
    axes = figure.add_subplot()
    grid = np.array([[values.get(f"{source}-{target}", np.nan) for target in columns] for source in rows])
    image = axes.imshow(grid, cmap=COLOURS + ("_r" if lower else ""), interpolation="nearest")
    axes.spines[:].set_visible(False)
    font = 5.5 if len(columns) > _SHOWN_VALUES else 9
    axes.set_xticks(range(len(columns)), columns, rotation=90 if len(columns) > _SHOWN_VALUES else 0, fontsize=font)
    axes.set_yticks(range(len(rows)), rows, fontsize=font)
    axes.tick_params(length=0, pad=2)
    axes.xaxis.tick_top()
    axes.set_title("target", fontsize=9, color=_INK)
    axes.set_ylabel("source")
    if len(columns) > _SHOWN_VALUES:
        _family_lines(axes, rows, columns)
    else:
        _cell_values(axes, grid, image)
    figure.colorbar(image, ax=axes, shrink=0.6, pad=0.09 if len(rows) > _SHOWN_VALUES else 0.04, label=label)
    return figure


def bars(groups: Mapping[str, Matrix], label: str) -> Figure:
    """One panel per group, language to value, from the smallest to the largest."""
    most = max(len(values) for values in groups.values())
    few = most <= _SHOWN_VALUES
    shape = (1, len(groups)) if few else (len(groups), 1)
    figure = Figure(
        figsize=(2.6 * len(groups), 2.2) if few else (0.15 * most + 1, 2.1 * len(groups)), layout="constrained"
    )
    panels = figure.subplots(*shape, sharey=True, squeeze=False).flat
    for axes, (title, values) in zip(panels, groups.items(), strict=True):
        codes = sorted(values, key=lambda code: values[code])
        axes.bar(range(len(codes)), [values[code] for code in codes], color=_BAR, width=0.72)
        axes.set_xticks(range(len(codes)), codes, rotation=0 if few else 90, fontsize=8 if few else 6.5)
        axes.set_xlim(-0.7, len(codes) - 0.3)
        axes.tick_params(axis="x", length=0)
        axes.set_title(title, loc="left", fontsize=9, color=_INK)
    for axes in figure.axes[:1] if few else figure.axes:
        axes.set_ylabel(label)
    return figure


def scatter(plot: Scatter) -> Figure:
    """Named points with their correlation; the names are written while there are few."""
    points = plot.points
    figure = Figure(figsize=(3.6, 3.4), layout="constrained")
    axes = figure.add_subplot()
    xs, ys = zip(*points.values(), strict=True)
    axes.scatter(xs, ys, s=14, color=_BAR, alpha=0.85 if len(points) <= 60 else 0.4, linewidths=0)
    if plot.same:
        limits = min(*xs, *ys), max(*xs, *ys)
        axes.plot(limits, limits, color=_FAINT, linewidth=0.8, linestyle="--", zorder=0)
    if len(points) <= _SHOWN_VALUES:
        _name_points(figure, axes, points)
    axes.set(xlabel=plot.across, ylabel=plot.up)
    r = pearson(points.values())
    if r is not None:
        axes.set_title(f"r = {r:.2f}, n = {len(points)}", loc="left", fontsize=9, color=_INK)
    return figure


def scatters(run: ScoredRun, runs: Sequence[ScoredRun]) -> Iterator[Scatter]:
    """What the run allows: text against speech when its `--text` run is among `runs`, errors against each metric."""
    text = text_run(run, runs)
    errors = {} if run.reads_text else run.errors()
    for metric in run.quality_metrics:
        values = run.values(metric)
        if text and (points := shared(text.values(metric), values)):
            yield Scatter(metric, "text-speech", points, f"{metric} from text", f"{metric} from speech", same=True)
        if points := {d: (errors[s], v) for d, v in values.items() if (s := d.split("-")[0]) in errors}:
            yield Scatter(metric, "errors", points, "WER or CER of the source, %", metric)


def _plans(runs: Sequence[ScoredRun]) -> Iterator[tuple[str, Callable[[], Figure]]]:
    for run in runs:
        for metric in run.quality_metrics:
            values, lower = run.values(metric), lower_is_better(metric)
            name = _file_name(run, metric)
            yield f"{name}-matrix", partial(matrix, values, metric, lower=lower)
            groups = {"mean from each source": by_source(values), "mean into each target": by_target(values)}
            english = {d.split("-")[1]: value for d, value in values.items() if d.startswith("eng-")}
            if english:
                groups["from English"] = english
            yield f"{name}-bars", partial(bars, groups, metric)
        for plot in scatters(run, runs):
            yield _file_name(run, f"{plot.metric}-{plot.kind}"), partial(scatter, plot)


def _file_name(run: ScoredRun, what: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", f"{run.name}-{what}")


def _family_lines(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    """A line where a family ends, its name at the right."""
    for codes, line in ((rows, axes.axhline), (columns, axes.axvline)):
        end = 0
        for members in families(codes).values():
            end += len(members)
            if end < len(codes):
                line(end - 0.5, color="white", linewidth=0.8)
    start = 0
    for family, members in families(rows).items():
        middle = start + (len(members) - 1) / 2
        axes.annotate(family, (len(columns) - 0.2, middle), va="center", fontsize=6, color=_INK, annotation_clip=False)
        start += len(members)


def _name_points(figure: Figure, axes: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    """Names beside their points, on the first side where they cover neither a name nor a point; else to the right."""
    size = figure.dpi / 72  # pixels in a typographic point
    figure.draw_without_rendering()  # lays the axes out, so that places in pixels are known
    places = {name: axes.transData.transform(point) / size for name, point in points.items()}
    taken = [(x - 2, y - 2, x + 2, y + 2) for x, y in places.values()]
    for name, (x, y) in places.items():
        wide, high = 3.7 * len(name), 6.0
        sides = [(4, -2), (-4 - wide, -2), (-wide / 2, 4), (-wide / 2, -4 - high)]
        boxes = [(x + dx, y + dy, x + dx + wide, y + dy + high) for dx, dy in sides]
        free = [i for i, box in enumerate(boxes) if not any(_overlap(box, other) for other in taken)]
        side = free[0] if free else 0
        taken.append(boxes[side])
        axes.annotate(name, points[name], xytext=sides[side], textcoords="offset points", fontsize=6, color=_INK)


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _cell_values(axes: Axes, grid: npt.NDArray[np.float64], image: AxesImage) -> None:
    """The number of every cell that has one, dark on light colours and white on dark ones."""
    light = image.to_rgba(grid)[..., :3] @ (0.299, 0.587, 0.114) > 0.55
    for y, x in np.argwhere(~np.isnan(grid)):
        colour = _INK if light[y, x] else "white"
        axes.text(x, y, f"{grid[y, x]:.1f}", ha="center", va="center", fontsize=8, color=colour)
