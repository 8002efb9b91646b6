"""`dragoman live`: speech as it is spoken in, transcript and translations as they come out."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from dragoman.cli.console import say
from dragoman.cli.flags import with_flags
from dragoman.cli.options import LoadFlags, ModelOption, TranslateFlags, resolve_model
from dragoman.cli.translation.audio_input import microphone, piped
from dragoman.cli.translation.live_display import printer
from dragoman.errors import AudioError
from dragoman.text.languages import LANGUAGES

if TYPE_CHECKING:
    from dragoman.inference.streaming import LiveEvent, LiveTranslator

_SEVERAL = 4
"""Of fewer segments nothing is said about most."""


@with_flags
def live(
    wanted: TranslateFlags,
    load: LoadFlags,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[-]", help="-: stdin, raw PCM (s16le, 16 kHz, mono) or a container. Else the microphone."
        ),
    ] = None,
    model: ModelOption = None,
    input_device: Annotated[
        str | None, typer.Option("--input_device", help="A microphone by number or part of its name.")
    ] = None,
    min_chunk_s: Annotated[
        float, typer.Option("--min_chunk_s", help="New speech, in seconds, after which it is decoded anew.")
    ] = 0.7,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object an event.")] = False,
) -> None:
    """Translate speech while it is spoken, into one or several languages.

    In a terminal what may still change is dim; elsewhere a segment is a line, once it has ended. Ctrl-C ends.
    """
    options = wanted.read()
    if source not in (None, "-"):
        raise AudioError(f"{source}: live hears the microphone or, with -, stdin; `dragoman translate` takes files.")
    if source is None:
        blocks = microphone(input_device)
    else:
        blocks = piped(sys.stdin.fileno(), options.audio_track, options.language)
    folder = resolve_model(model, options, load.device, load.threads)
    from dragoman.inference.streaming import LiveTranslator
    from dragoman.inference.translator import Translator

    translator = Translator.from_pretrained(folder, load.read())
    live_translator = LiveTranslator(translator, options, min_chunk_s=min_chunk_s)
    with printer(json) as show, _ended_by_interrupt(live_translator):
        say("listening; Ctrl-C ends.")
        for event in doubts_said(live_translator.follow(blocks()), options.language):
            show(event)


def doubts_said(events: Iterable[LiveEvent], source: str | None) -> Iterator[LiveEvent]:
    """The events; said once, if the language was detected and most of what was said in it is doubted."""
    from dragoman.inference.streaming import FinalSegment

    doubted, count = 0, 0
    for event in events:
        yield event
        if source is not None or not isinstance(event, FinalSegment):
            continue
        count += 1
        doubted += any(event.segment.low_confidence.values())
        if count >= _SEVERAL and 2 * doubted > count:
            taken = LANGUAGES[event.segment.language].name
            say(f"most of this is doubtful ({doubted} of {count}); if it is not {taken}, name it with --language.")
            source = event.segment.language


@contextmanager
def _ended_by_interrupt(live_translator: LiveTranslator) -> Iterator[None]:
    """The first Ctrl-C ends the speech, and what was said is still translated; the second ends at once."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        live_translator.stop()

    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
