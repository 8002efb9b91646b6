"""Systems side by side: the folders of `dragoman evaluate`, anyone's hypotheses, published tables in CSV.

A folder holds hypotheses.jsonl, run.json, which says what the system is and how fast it was here, and scores.json.
`Run` is its hypotheses, to be compared; `ScoredRun` its scores, to be reported.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dragoman.errors import DataError
from dragoman.evaluation.metrics import Score
from dragoman.evaluation.readers import InputSpec, read
from dragoman.evaluation.score import ALL, score
from dragoman.files import atomic_file
from dragoman.parallel import cores
from dragoman.records import Hypothesis, read_hypotheses
from dragoman.text.csv_rows import csv_rows
from dragoman.text.languages import is_code

HYPOTHESES = "hypotheses.jsonl"
_RUN_STATS = "run.json"

# How metrics that a published table names in any case are written, and those of which less is better.
_NAMES = {name.lower(): name for name in ("BLEU", "spBLEU", "chrF", "chrF++", "COMET", "WER", "CER")}
_LOWER = ("WER", "CER", "empty", "truncated", "hallucinated", "off-target", "mixing", "repetition")
# What tells how a system behaves rather than how well it translates.
_BEHAVIOUR = frozenset({"empty", "truncated", "off-target", "mixing", "repetition", "length"})
NEUTRAL = frozenset({"length"})
"""Metrics of which neither end is the good one: 100 is."""
_TEXT = "text"  # how `dragoman evaluate --text` names itself in the request


class RunStats(BaseModel):
    """What it took. An interrupted run is timed from where it went on, so the seconds are those of `hypotheses`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    model: str
    parameters: int = Field(gt=0)
    """Of every part that worked, the frozen ones included."""
    hypotheses: int = Field(gt=0)
    """Written in these seconds, by one process."""
    seconds: float = Field(gt=0.0, allow_inf_nan=False)
    """From the first recording read to the last hypothesis written, without loading the model."""
    hardware: str

    @property
    def speed(self) -> float:
        """Hypotheses per second."""
        return self.hypotheses / self.seconds


@dataclass(frozen=True)
class Run:
    """A system's hypotheses under the name the user gave them, and what is known of it."""

    name: str
    hypotheses: list[Hypothesis]
    stats: RunStats | None = None


def read_run(path: Path) -> Run:
    """A folder that `dragoman evaluate` wrote, or a file in any format that brings its references and languages.
    Raises DataError, ManifestError."""
    if not path.is_dir():
        return Run(str(path), read(InputSpec(path)).rows)
    written = path / HYPOTHESES
    if not written.exists():
        unfinished = any(path.glob(f"{HYPOTHESES}.part*"))
        raise DataError(
            f"{path}: {'is not finished; start its `dragoman evaluate` again' if unfinished else 'is not a run'}:"
            f" there is no {HYPOTHESES}."
        )
    return Run(str(path), read_hypotheses(written), _read_run_stats(path / _RUN_STATS))


def write_run_stats(folder: Path, stats: RunStats) -> None:
    """Beside the hypotheses. Raises OutputError."""
    with atomic_file(folder / _RUN_STATS) as file:
        file.write(stats.model_dump_json(indent=1) + "\n")


def _read_run_stats(path: Path) -> RunStats | None:
    if not path.exists():
        return None
    try:
        return RunStats.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "file"
        raise DataError(f"{path}: {field}: {first['msg']}; fix it, or delete it.") from error


@dataclass(frozen=True)
class ScoredRun:
    """One system's scores, by metric and direction; without the summary rows."""

    name: str
    system: str = ""
    """What `dragoman evaluate` says of model and options; empty for a published table."""
    scores: dict[str, dict[str, Score]] = field(default_factory=dict)
    hypotheses: Path | None = None

    @property
    def model(self) -> str:
        """The system without the way it was run: a run and its `--text` run have the same."""
        return self.system.partition(", ")[0]

    @property
    def reads_text(self) -> bool:
        """Whether the LLM was given the reference transcripts instead of speech."""
        return _TEXT in self.system.split(", ")[1:]

    @property
    def directions(self) -> list[str]:
        """Those that any metric of translations knows, like `eng-deu`, sorted."""
        return sorted({d for scores in self.scores.values() for d in scores if "-" in d})

    @property
    def translation_metrics(self) -> list[str]:
        """Measures of translations, in the order of the file; counts are none."""
        return [
            metric
            for metric, scores in self.scores.items()
            if any("-" in d and score.signature != "count" for d, score in scores.items())
        ]

    @property
    def quality_metrics(self) -> list[str]:
        """Of the translation metrics those that tell how good the translations are."""
        return [metric for metric in self.translation_metrics if metric not in _BEHAVIOUR]

    def values(self, metric: str) -> dict[str, float]:
        """Direction to value, translations only."""
        return {d: score.value for d, score in self.scores.get(metric, {}).items() if "-" in d}

    def errors(self) -> dict[str, float]:
        """Source language to error rate in percent: CER where the language is scored by characters, else WER."""
        return {code: score.value for metric in ("WER", "CER") for code, score in self.scores.get(metric, {}).items()}

    def signatures(self) -> list[str]:
        """Every signature once."""
        rows = (score.signature for scores in self.scores.values() for score in scores.values())
        return [signature for signature in dict.fromkeys(rows) if signature != "count"]


def lower_is_better(metric: str) -> bool:
    """Whether a small value is a good one."""
    return metric.startswith(_LOWER)


def read_runs(paths: Sequence[Path]) -> list[ScoredRun]:
    """Run folders, files of hypotheses and published tables (`.csv`), under names that tell them apart.

    Raises DataError for what is none of these, or is named twice.
    """
    absolute = [path.resolve() for path in paths]
    for path in absolute:
        if absolute.count(path) > 1:
            raise DataError(f"{path} is named twice; name each run once.")
    return [_read(path, name) for path, name in zip(absolute, _names(absolute), strict=True)]


def _read(path: Path, name: str) -> ScoredRun:
    if path.suffix == ".csv":
        return read_table(path, name)
    return read_and_score(path, name) if path.is_file() else read_scored_run(path, name)


def read_and_score(path: Path, name: str) -> ScoredRun:
    """A file in any format that brings its references and languages, scored here by the default metrics. Raises what
    `read` and `score` raise."""
    found = read(InputSpec(path))
    return ScoredRun(
        name, scores=_grouped(score(found.rows, counts=found.counts, workers=cores()), path), hypotheses=path
    )


def read_scored_run(folder: Path, name: str) -> ScoredRun:
    """A folder with scores.json, and hypotheses.jsonl where there are samples to show. Raises DataError."""
    path = folder / "scores.json"
    try:
        rows = TypeAdapter(list[Score]).validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); name a folder that `dragoman evaluate` wrote."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: {where}: {first['msg']}; score the hypotheses again.") from error
    hypotheses = folder / HYPOTHESES
    return ScoredRun(name, _system(hypotheses), _grouped(rows, path), hypotheses if hypotheses.is_file() else None)


def read_table(path: Path, name: str) -> ScoredRun:
    """A published table: a row per direction (`afr_amh` or `afr-amh` in the column `iso3` or `direction`), a column per
    metric; `idx` is passed over. Raises DataError naming file, line and column."""
    table = csv_rows(path)
    _, names = next(table, (1, list[str]()))
    key = next((column for column in names if column in ("iso3", "direction")), None)
    if key is None:
        raise DataError(f"{path}: has no column 'direction' (or 'iso3'); a published table needs one.")
    rows: list[Score] = []
    for line, cells in table:
        if len(cells) != len(names):
            raise DataError(f"{path}:{line}: has {len(cells)} columns, not {len(names)}; fix it.")
        rows += _published(path, line, dict(zip(names, cells, strict=True)), key)
    return ScoredRun(name, scores=_grouped(rows, path))


def text_run(run: ScoredRun, runs: Iterable[ScoredRun]) -> ScoredRun | None:
    """The `--text` run of the same model, the ceiling of a run that hears."""
    if run.reads_text or not run.system:
        return None
    return next((other for other in runs if other.reads_text and other.model == run.model), None)


def _published(path: Path, line: int, row: dict[str, str], key: str) -> list[Score]:
    direction = (row[key] or "").replace("_", "-")
    codes = direction.split("-")
    if len(codes) != 2 or not all(map(is_code, codes)):
        raise DataError(f"{path}:{line}: {key}: {row[key]!r} is not a direction like eng-deu; fix it.")
    scores = []
    for column, text in row.items():
        if column in (key, "idx"):
            continue
        try:
            value = float(text)
        except (TypeError, ValueError):
            raise DataError(f"{path}:{line}: {column}: {text!r} is not a number; fix it.") from None
        metric = _NAMES.get(column.lower(), column)
        scores.append(Score(metric=metric, direction=direction, value=value, count=0, signature=f"{metric}|published"))
    return scores


def _grouped(rows: Sequence[Score], path: Path) -> dict[str, dict[str, Score]]:
    grouped: dict[str, dict[str, Score]] = {}
    for row in rows:
        if not math.isfinite(row.value):
            raise DataError(f"{path}: {row.metric} of {row.direction} is not a number ({row.value}); score it again.")
        scores = grouped.setdefault(row.metric, {})
        if row.direction in scores:
            raise DataError(f"{path}: {row.metric} of {row.direction} is there twice; remove one.")
        scores[row.direction] = row
    kept = {metric: {d: s for d, s in scores.items() if d != ALL} for metric, scores in grouped.items()}
    if not any(kept.values()):
        raise DataError(f"{path}: holds no scores; evaluate something first.")
    return kept


def _system(hypotheses: Path) -> str:
    """What the request beside the hypotheses says; files from elsewhere have none."""
    try:
        request = json.loads(hypotheses.with_name(hypotheses.name + ".request.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(request.get("system", "")) if isinstance(request, dict) else ""


def _names(paths: Sequence[Path]) -> list[str]:
    """The last part of each path, with as many folders before it as it takes to tell them apart."""
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.with_suffix("").parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
