"""Many clips by many workers: a manifest cut into shards, each translated by one of Ray Data's actors, which holds one
model, and written as one parquet file.

A shard's file has its name only when it is complete: the same job started again goes on with the shards that have none.
A worker that dies is started anew by Ray, and its shard with it. `request.json` says what the folder is of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dragoman.errors import AudioError, DataError, needs_extra
from dragoman.files import atomic_file, read_record, written
from dragoman.records import Hypothesis, Utterance, to_json_line

with needs_extra("A batch job", "ray"):
    import pyarrow as pa
    import pyarrow.parquet as pq
    import ray
    from ray.data import ActorPoolStrategy

TranslateBatch = Callable[[Sequence[Utterance], Sequence[str]], list[Hypothesis]]
REQUEST = "request.json"
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "source", "target", "transcript", "translation", "raw")),
        ("truncated", pa.bool_()),
        ("error", pa.string()),
    ]
)
"""Of a shard's file; `error` says why a clip has no text, and is null where it has."""


@dataclass(frozen=True)
class BatchJob:
    """`load` makes what translates, in each worker; `identity` tells it from others. `batch_size` utterances are
    translated at once, `shard_size` are in a file."""

    manifest: Path
    utterances: Sequence[Utterance]
    targets: tuple[str, ...]
    out: Path
    load: Callable[[], TranslateBatch]
    identity: str
    shard_size: int = 256
    batch_size: int = 16


@dataclass(frozen=True)
class JobSummary:
    """In utterances: asked for, kept from an earlier run, and those that could not be read."""

    total: int
    kept: int
    failed: int


def run(job: BatchJob, workers: int, gpus: float, on_progress: Callable[[int, int], None]) -> JobSummary:
    """Translate what is not translated yet, by this many workers with this many GPUs each, on the Ray cluster that
    RAY_ADDRESS names or on this machine. `on_progress` hears (utterances done, all). Raises DataError where the folder
    is another job's."""
    _claim(job)
    shards = list(_shards(job))
    todo = [shard for shard in shards if not _file(job.out, shard["shard"]).exists()]
    total, kept = len(job.utterances), len(job.utterances) - sum(len(shard["lines"]) for shard in todo)
    on_progress(kept, total)
    failed = 0
    if todo:
        if not ray.is_initialized():
            ray.init(include_dashboard=False, log_to_driver=False)
        ray.data.DataContext.get_current().enable_progress_bars = False
        done = kept
        results = ray.data.from_items(todo, override_num_blocks=len(todo)).map_batches(
            ShardWorker,
            fn_constructor_args=(job.load, job.targets, job.out, job.batch_size),
            batch_size=1,
            compute=ActorPoolStrategy(size=min(workers, len(todo))),
            num_gpus=gpus or None,
            max_restarts=-1,
            max_task_retries=-1,
        )
        for row in results.iter_rows():
            done += row["utterances"]
            failed += row["failed"]
            on_progress(done, total)
    return JobSummary(total, kept, failed)


class ShardWorker:
    """An actor: one model, shard after shard."""

    def __init__(
        self, load: Callable[[], TranslateBatch], targets: tuple[str, ...], out: Path, batch_size: int
    ) -> None:
        self.translate, self.targets, self.out, self.batch_size = load(), targets, out, batch_size

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[int]]:
        """Shards -> how many utterances each had, and how many could not be read."""
        counts = [self._shard(int(n), lines) for n, lines in zip(batch["shard"], batch["lines"], strict=True)]
        return {"utterances": [total for total, _ in counts], "failed": [failed for _, failed in counts]}

    def _shard(self, number: int, lines: Sequence[str]) -> tuple[int, int]:
        utterances = [Utterance.model_validate_json(str(line)) for line in lines]
        rows: list[dict[str, Any]] = []
        for start in range(0, len(utterances), self.batch_size):
            rows += self._rows(utterances[start : start + self.batch_size])
        _write(rows, _file(self.out, number))
        return len(utterances), len({row["id"] for row in rows if row["error"]})

    def _rows(self, utterances: Sequence[Utterance]) -> list[dict[str, Any]]:
        """One that cannot be read does not stop the others: they are then translated one by one."""
        try:
            return [_row(hypothesis) for hypothesis in self.translate(utterances, self.targets)]
        except AudioError as error:
            if len(utterances) > 1:
                return [row for utterance in utterances for row in self._rows([utterance])]
            only = utterances[0]
            row = dict.fromkeys(SCHEMA.names, "")
            return [{**row, "id": only.id, "source": only.language, "truncated": False, "error": str(error)}]


def _row(hypothesis: Hypothesis) -> dict[str, Any]:
    return {**{name: getattr(hypothesis, name) for name in SCHEMA.names if name != "error"}, "error": None}


def _write(rows: Sequence[dict[str, Any]], path: Path) -> None:
    unfinished = path.with_suffix(".part")
    with written(path):
        pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA), unfinished)
        unfinished.rename(path)


def _file(out: Path, shard: int) -> Path:
    return out / f"hypotheses-{shard:06d}.parquet"


def _shards(job: BatchJob) -> Iterator[dict[str, Any]]:
    for number, start in enumerate(range(0, len(job.utterances), job.shard_size)):
        lines = [to_json_line(row) for row in job.utterances[start : start + job.shard_size]]
        yield {"shard": number, "lines": lines}


def _claim(job: BatchJob) -> None:
    """A folder is one job's: what shards hold follows from this."""
    request = {
        "manifest": hashlib.sha256(job.manifest.read_bytes()).hexdigest(),
        "targets": list(job.targets),
        "shard_size": job.shard_size,
        "identity": job.identity,
    }
    stored = job.out / REQUEST
    if stored.is_file():
        before = read_record(stored)
        if odd := [key for key, value in request.items() if before.get(key) != value]:
            raise DataError(
                f"{job.out} was begun with another {odd[0].replace('_', ' ')}; choose another --output_dir."
            )
        return
    job.out.mkdir(parents=True, exist_ok=True)
    with atomic_file(stored) as file:
        json.dump(request, file, indent=2)
