"""A job that lost a worker, and one that was begun before, write what one process writes."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from toy import write_corpus

from dragoman import Translator
from dragoman.errors import DataError
from dragoman.records import Hypothesis, Utterance, read_manifest

pytest.importorskip("ray", reason="Ray is not installed here: pip install 'dragoman[ray]'")
from dragoman.engines.ray_jobs import BatchJob, JobSummary, run

pytestmark = pytest.mark.slow
TARGETS = ("deu", "eng", "fra")


@dataclass(frozen=True)
class DyingOnce:
    """A model whose first worker is killed at its second call; each worker leaves its number in `folder`."""

    model: Path
    folder: Path

    def __call__(self) -> Any:
        translator = Translator.from_pretrained(self.model, device="cpu")
        calls = 0

        def translate(utterances: Sequence[Utterance], targets: Sequence[str]) -> list[Hypothesis]:
            nonlocal calls
            calls += 1
            (self.folder / f"worker-{os.getpid()}").touch()
            if calls == 2 and not (self.folder / "killed").exists():
                (self.folder / "killed").write_text(str(os.getpid()))
                os.kill(os.getpid(), signal.SIGKILL)
            return translator(utterances, targets)

        return translate


def rows(out: Path) -> list[dict[str, Any]]:
    found = [row for path in sorted(out.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    return sorted(found, key=lambda row: (row["id"], row["target"]))


def test_two_workers_one_killed(random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    write_corpus(tmp_path / "data")
    utterances = read_manifest(tmp_path / "data" / "train.jsonl")
    (tmp_path / "data" / "eng1.flac").write_bytes(b"no recording")
    (tmp_path / "workers").mkdir()
    job = BatchJob(
        manifest=tmp_path / "data" / "train.jsonl",
        utterances=utterances,
        targets=TARGETS,
        out=tmp_path / "out",
        load=DyingOnce(random_model, tmp_path / "workers"),
        identity="random",
        shard_size=2,
        batch_size=2,
    )
    told: list[tuple[int, int]] = []
    assert run(job, 2, 0.0, lambda *done: told.append(done)) == JobSummary(12, 0, 1)
    assert told[0] == (0, 12) and told[-1] == (12, 12)
    killed = (tmp_path / "workers" / "killed").read_text()
    workers = {path.name.removeprefix("worker-") for path in (tmp_path / "workers").glob("worker-*")}
    assert killed in workers and len(workers) >= 2  # another one went on

    heard = [utterance for utterance in utterances if utterance.id != "eng1"]
    ours = Translator.from_pretrained(random_model, device="cpu")(heard, TARGETS)
    found = rows(job.out)
    texts = [(row["id"], row["target"], row["transcript"], row["translation"]) for row in found if not row["error"]]
    assert texts == sorted((row.id, row.target, row.transcript, row.translation) for row in ours)
    (bad,) = [row for row in found if row["error"]]
    assert bad["id"] == "eng1" and "eng1.flac" in bad["error"]

    (job.out / "hypotheses-000003.parquet").unlink()
    again = replace(job, load=DyingOnce(random_model, tmp_path / "workers"))
    assert run(again, 1, 0.0, lambda *done: None) == JobSummary(12, 10, 0)
    assert rows(job.out) == found
    with pytest.raises(DataError, match="begun with another targets"):
        run(replace(job, targets=("eng",)), 1, 0.0, lambda *done: None)
