"""A trace of a few steps, to be opened in Perfetto (https://ui.perfetto.dev) or chrome://tracing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.profiler import profile, schedule

SKIPPED, RECORDED = 3, 3
"""The first steps are slower than the others: memory is asked for, kernels are chosen."""
_log = logging.getLogger(__name__)


@contextmanager
def profiled(folder: Path, rank: int, *, active: bool) -> Iterator[Callable[[], None]]:
    """What is to be called after each step; writes `folder/trace-RANK.json` of three steps from the fourth on."""
    if not active:
        yield lambda: None
        return
    path = folder / f"trace-{rank}.json"
    folder.mkdir(parents=True, exist_ok=True)
    plan = schedule(wait=SKIPPED - 1, warmup=1, active=RECORDED, repeat=1)
    with profile(
        schedule=plan, on_trace_ready=lambda done: done.export_chrome_trace(str(path)), record_shapes=True
    ) as profiler:
        yield profiler.step
    if not path.is_file():
        _log.warning("%s is not written: a profile takes %d steps of a stage.", path, SKIPPED + RECORDED)
