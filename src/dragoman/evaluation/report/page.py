"""The interactive report as one HTML file: data, style and script inside, nothing fetched from anywhere.

What others wrote (hypotheses, names) enters as JSON that no HTML parser can leave, and the script shows it as text. A
content security policy lets the page's own script and style run, by their digests, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any

from dragoman.errors import needs_extra
from dragoman.evaluation.report.figures import COLOURS, scatters
from dragoman.evaluation.report.matrix import families, in_order, pearson
from dragoman.evaluation.report.samples import SAMPLE, WORST, Marked, Sample, spoken
from dragoman.evaluation.report.tables import Table, comet_bins, named_averages
from dragoman.evaluation.runs import NEUTRAL, ScoredRun, lower_is_better
from dragoman.text.languages import LANGUAGES
from dragoman.version import __version__

with needs_extra("A report", "evaluate"):
    import matplotlib

_SCRIPTS = ("core.js", "matrix.js", "charts.js", "tables.js", "samples.js", "start.js")


def render(
    runs: Sequence[ScoredRun],
    samples: Mapping[str, Sequence[Sample]],
    totals: Mapping[str, int],
    audio: Mapping[str, str],
) -> str:
    """The page. `samples` and `totals` (of hypotheses) go by the name of the run, `audio` by the utterance's id."""
    style, script = _part("style.css"), "\n".join(map(_part, _SCRIPTS))
    policy = f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; media-src data:"
    data = _data(runs, samples, totals, audio)
    return Template(_part("page.html")).substitute(
        title=html.escape(", ".join(run.name for run in runs)),
        policy=html.escape(policy),
        style=style,
        script=script,
        data=_inert(data),
    )


def _data(
    runs: Sequence[ScoredRun],
    samples: Mapping[str, Sequence[Sample]],
    totals: Mapping[str, int],
    audio: Mapping[str, str],
) -> dict[str, Any]:
    metrics = {metric for run in runs for metric in run.scores}
    codes = {code for run in runs for direction in run.directions for code in direction.split("-")}
    codes |= {code for chosen in samples.values() for one in chosen for code in (one.row.source, one.row.target)}
    steps = matplotlib.colormaps[COLOURS].resampled(32)
    return {
        "version": __version__,
        "runs": [_run(run, runs, samples.get(run.name, ()), totals.get(run.name, 0), audio) for run in runs],
        "audio": audio,
        "lower": sorted(filter(lower_is_better, metrics)),
        "neutral": sorted(NEUTRAL),
        "names": {code: LANGUAGES[code].name for code in sorted(codes)},
        "order": in_order(codes),
        "families": list(families(codes).items()),
        "colours": [[round(255 * channel) for channel in steps(i)[:3]] for i in range(32)],
        "averages": _table(named_averages(runs)),
        "bins": _table(comet_bins(runs)),
    }


def _run(
    run: ScoredRun, runs: Sequence[ScoredRun], samples: Sequence[Sample], total: int, audio: Mapping[str, str]
) -> dict[str, Any]:
    scores = {metric: {d: round(s.value, 4) for d, s in found.items()} for metric, found in run.scores.items()}
    return {
        "name": run.name,
        "system": run.system,
        "metrics": list(run.scores),
        "translation": run.translation_metrics,
        "counts": [m for m, found in run.scores.items() if all(s.signature == "count" for s in found.values())],
        "scores": scores,
        "sizes": _sizes(run),
        "directions": len(run.directions),
        "hypotheses": total,
        "signatures": run.signatures(),
        "scatters": _scatters(run, runs),
        "samples": [_sample(sample) for sample in samples],
        "choice": _choice(samples, total, audio),
    }


def _sizes(run: ScoredRun) -> dict[str, int]:
    """Hypotheses of each direction; a metric may be of some of them."""
    sizes: dict[str, int] = {}
    for direction, score in (item for found in run.scores.values() for item in found.items()):
        if "-" in direction and score.count:
            sizes[direction] = max(score.count, sizes.get(direction, 0))
    return sizes


def _scatters(run: ScoredRun, runs: Sequence[ScoredRun]) -> list[dict[str, Any]]:
    return [
        {
            "metric": plot.metric,
            "across": plot.across,
            "up": plot.up,
            "same": plot.same,
            "points": [[d, round(x, 4), round(y, 4)] for d, (x, y) in plot.points.items()],
            "r": pearson(plot.points.values()),
        }
        for plot in scatters(run, runs)
    ]


def _sample(sample: Sample) -> dict[str, Any]:
    row = sample.row
    return {
        "id": row.id,
        "source": row.source,
        "target": row.target,
        "said": _pieces(sample.said),
        "heard": _pieces(sample.heard),
        "unit": "character" if spoken(row).uses_cer else "word",
        "translation": row.translation,
        "reference": row.reference,
        "truncated": row.truncated,
        "errors": sample.errors if sample.errors is None else round(sample.errors, 1),
        "chrf": sample.chrf if sample.chrf is None else round(sample.chrf, 1),
    }


def _pieces(marked: Marked) -> list[Any]:
    return [[text, mark] if mark else text for text, mark in marked]


def _choice(samples: Sequence[Sample], total: int, audio: Mapping[str, str]) -> str:
    """What a reader must know of what is here and what is not."""
    heard = len({sample.row.id for sample in samples} & audio.keys())
    if len(samples) == total:
        words = f"All {total:,} hypotheses are in this page."
    else:
        each = max(1, SAMPLE // len({(sample.row.source, sample.row.target) for sample in samples} or {0}))
        translated = any(sample.chrf is not None for sample in samples)
        lowest = f", the {WORST} with the lowest sentence chrF," if translated else ""
        way = "direction" if translated else "language"
        words = (
            f"{len(samples):,} of {total:,} hypotheses are in this page: the {WORST} with the most errors in the"
            f" transcript{lowest} and {each} of every {way}, spread evenly from its worst to its best. The rest is in"
            " hypotheses.jsonl."
        )
    utterances = len({sample.row.id for sample in samples})
    return words + (f" {heard:,} of their {utterances:,} recordings are in it, worst first." if heard else "")


def _table(table: Table) -> dict[str, Any]:
    """As text, with which columns hold numbers."""
    return {
        "header": table.header,
        "rows": [list(map(table.shown, row)) for row in table.rows],
        "numbers": table.numbers(),
    }


def _inert(data: Any) -> str:
    """JSON inside a script element: with no `<` it can neither end it nor open a comment."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _part(name: str) -> str:
    return (files(__package__) / "page" / name).read_text(encoding="utf-8")
