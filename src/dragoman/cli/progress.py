"""Progress bars on stderr. What draws them is imported when there is something to draw."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dragoman.progress import OnProgress

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def progress_bar(doing: str, shown: bool = True) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, when that is a terminal; called with (done, total)."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not (shown and console.is_terminal)) as progress:
        task = progress.add_task(doing, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def progress_bars(shown: bool = True, in_bytes: bool = False) -> Iterator[OnProgress]:
    """A bar on stderr for one thing after the other; where that is not a terminal, a line when each has ended."""
    bars = _Bars(shown, in_bytes)
    try:
        yield bars
    finally:
        bars.stop()


class _Bars:
    def __init__(self, shown: bool, in_bytes: bool) -> None:
        self._shown, self._in_bytes = shown, in_bytes
        self._doing: str | None = None
        self._bar: Progress | None = None

    def __call__(self, doing: str, done: int, total: int | None, note: str = "") -> None:
        if self._shown and doing != self._doing:
            self.stop()
            self._doing, self._bar = doing, _begun(doing, self._in_bytes)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, total=total, note=note)

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._doing = None


def _begun(doing: str, in_bytes: bool) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    texts = TextColumn("{task.description}", markup=False), TextColumn("{task.fields[note]}", markup=False)
    times = TimeElapsedColumn(), TimeRemainingColumn()
    count = DownloadColumn() if in_bytes else MofNCompleteColumn()
    bar = Progress(texts[0], BarColumn(), count, texts[1], *times, console=Console(stderr=True))
    bar.add_task(doing, total=None, note="")
    bar.start()
    return bar
