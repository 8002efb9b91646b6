"""Events of live translation on stdout: a terminal, lines, or JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dragoman.cli.console import printable, show, show_json

if TYPE_CHECKING:
    from rich.text import Text as RichText

    from dragoman.inference.result import Segment
    from dragoman.inference.streaming import LiveEvent, PartialSegment

ShowEvent = Callable[["LiveEvent"], None]


def printer(json: bool) -> AbstractContextManager[ShowEvent]:
    """What shows an event."""
    if json:
        return _json()
    return _terminal() if sys.stdout.isatty() else _lines()


@contextmanager
def _json() -> Iterator[ShowEvent]:
    from dragoman.subtitles.writers import to_json

    yield lambda event: show_json(to_json(to_dict(event)))


@contextmanager
def _lines() -> Iterator[ShowEvent]:
    from dragoman.inference.streaming import FinalSegment

    def one(event: LiveEvent) -> None:
        if isinstance(event, FinalSegment) and (lines := _final(event.segment)):
            show(" | ".join(lines))

    yield one


@contextmanager
def _terminal() -> Iterator[ShowEvent]:
    """The open segment at the bottom, rewritten in place; those that have ended scroll away above it."""
    from rich.console import Console
    from rich.live import Live as Region
    from rich.text import Text as RichText

    from dragoman.inference.streaming import FinalSegment

    console = Console()
    both = sys.stderr.isatty()  # else what is said there goes where it was sent, and rewrites nothing here
    with Region(console=console, transient=True, auto_refresh=False, redirect_stderr=both) as region:

        def one(event: LiveEvent) -> None:
            if isinstance(event, FinalSegment):
                region.update(RichText(""), refresh=True)
                console.print(*_final(event.segment), sep="\n", markup=False, highlight=False, emoji=False)
            else:
                region.update(_open(event), refresh=True)

        yield one


def _open(update: PartialSegment) -> RichText:
    """A line a text: what is stable plain, what may change dim."""
    from rich.text import Text as RichText

    shown = RichText()
    for code, text in {update.language: update.transcript, **update.translations}.items():
        if str(text):
            shown.append(f"{code}: {printable(text.stable)}").append(f"{printable(text.tentative)}\n", style="dim")
    shown.rstrip()
    return shown


def _final(segment: Segment) -> list[str]:
    texts = {segment.language: segment.transcript, **segment.translations}
    return [printable(f"{code}: {text}") for code, text in texts.items() if text]


def to_dict(event: LiveEvent) -> dict[str, Any]:
    """The event as JSON has it; a final one holds the segment as `dragoman translate` writes it."""
    from dragoman.inference.streaming import FinalSegment
    from dragoman.subtitles.writers import segment_to_dict

    if isinstance(event, FinalSegment):
        return {"type": "final", "number": event.number, **segment_to_dict(event.segment)}
    update = asdict(event)
    times = {name: round(update[name], 3) for name in ("start_s", "end_s")}
    return {"type": "update", **update, **times}
