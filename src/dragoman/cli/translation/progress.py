"""How far a run over several recordings is, and how it went. All on stderr."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from dragoman.cli.console import printable, say

if TYPE_CHECKING:
    from dragoman.inference.result import Outcome


@contextmanager
def progress_over(recordings: Sequence[Path]) -> Iterator[RecordingsProgress]:
    """A bar with the time left, when stderr is a terminal."""
    console = Console(stderr=True)
    columns = (BarColumn(), TextColumn("{task.description}", markup=False), TimeRemainingColumn())
    disable = not console.is_terminal
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, disable=disable) as bar:
        yield RecordingsProgress(bar, recordings)


class RecordingsProgress:
    """Recordings count by their size in bytes: a long one is most of the work."""

    def __init__(self, bar: Progress, recordings: Sequence[Path]) -> None:
        self._bar = bar
        self._sizes = {path: path.stat().st_size if path.is_file() else 1 for path in recordings}
        self._numbers = {path: number for number, path in enumerate(recordings, 1)}
        self._task = bar.add_task("", total=sum(self._sizes.values()))

    def start(self, recording: Path) -> None:
        number = f"{self._numbers[recording]}/{len(self._numbers)}"
        self._bar.update(self._task, description=f"{number} {printable(recording.name)}")

    def done(self, recording: Path) -> None:
        self._bar.advance(self._task, self._sizes[recording])

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take the bar away while results are printed on the same terminal."""
        self._bar.stop()
        try:
            yield
        finally:
            self._bar.start()


class RecordingsSummary:
    """A row a recording: what is spoken, for how long, what came of it. How long it took is said of all together: they
    share batches."""

    def __init__(self) -> None:
        self._table = Table("recording", "spoken", "speech", "", box=None, pad_edge=False)
        self._since = time.perf_counter()
        self.translated = self.failed = 0

    def add(self, recording: Path, outcome: Outcome) -> None:
        result = outcome.result
        self.failed += result is None
        self.translated += result is not None
        spoken = "" if result is None else " ".join(result.languages)
        seconds = sum(segment.end_s - segment.start_s for segment in result.segments) if result else 0.0
        state = "failed" if result is None else "translated" if result.segments else "no speech"
        self._table.add_row(printable(recording.name), spoken, _clock(seconds), state)

    def show(self) -> None:
        """The table, and a line that adds up."""
        if self._table.row_count:
            console = Console(stderr=True)
            console.print(self._table, markup=False, highlight=False)
        took = _clock(time.perf_counter() - self._since)
        say(f"{self.translated} translated, {self.failed} failed in {took}")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f}:{rest:04.1f}"
