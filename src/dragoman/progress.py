"""How far something is: libraries say it, the command line draws it."""

from __future__ import annotations

from typing import Protocol


class OnProgress(Protocol):
    """Called with what is being done, how much of it is done and how much there is (None: not known)."""

    def __call__(self, doing: str, done: int, total: int | None, note: str = "") -> None: ...


def no_progress(doing: str, done: int, total: int | None, note: str = "") -> None:
    """Does nothing."""
