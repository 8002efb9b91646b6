"""What a run leaves to be read: metrics.jsonl, speed.jsonl, TensorBoard's events."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from dragoman.errors import OutputError, needs_extra
from dragoman.files import atomic_file, written

with needs_extra("Training", "train"):
    from torch.utils.tensorboard import SummaryWriter


class RunLog:
    """Rows are appended to `metrics.jsonl`, how fast they came to `speed.jsonl`; on resume, rows after the restored
    step are removed first, so that the files read as if the run had never stopped. On other ranks than the first it
    does nothing."""

    def __init__(self, folder: Path, *, first_step: int, active: bool) -> None:
        self.active = active
        self.path, self.speed_path = folder / "metrics.jsonl", folder / "speed.jsonl"
        self.events = folder / "tensorboard"
        with written(self.events):
            self.writer = SummaryWriter(str(self.events), purge_step=first_step + 1) if active else None
        if active:
            truncate_rows(self.path, first_step)
            truncate_rows(self.speed_path, first_step)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.writer is not None:
            try:
                with written(self.events):
                    self.writer.close()
            except OutputError:
                if error is None:  # else what stopped the run is said, not what followed from it
                    raise

    def row(self, step: int, values: dict[str, float]) -> None:
        """One row of metrics; numbers are written in full so that runs can be compared to the bit."""
        self._write(self.path, step, values)

    def speed(self, step: int, rates: dict[str, float]) -> None:
        """One row of speed, see `training.monitoring.throughput`."""
        self._write(self.speed_path, step, rates, "speed/")

    def _write(self, path: Path, step: int, values: dict[str, float], prefix: str = "") -> None:
        if not self.active:
            return
        with written(path), open(path, "a", encoding="utf-8") as out:
            out.write(json.dumps({"step": step, **values}) + "\n")
        if self.writer is not None:
            with written(self.events):
                for name, value in values.items():
                    self.writer.add_scalar(prefix + name, value, step)


def truncate_rows(path: Path, last_step: int) -> None:
    """Keep the rows up to `last_step`; a half-written last line goes too, and what is no row."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError, TypeError, KeyError):  # no row of ours
            if json.loads(line)["step"] <= last_step:
                kept.append(line + "\n")
    with atomic_file(path) as out:
        out.writelines(kept)
