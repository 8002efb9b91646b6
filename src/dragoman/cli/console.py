"""What a person reads: results on stdout, everything else on stderr, nothing that could steer a terminal."""

from __future__ import annotations

import logging
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

# Marks that turn the direction of writing, and line ends that are not control characters.
_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029")


def printable(text: str | os.PathLike[str]) -> str:
    """One line for a terminal: control characters, turns of direction and bytes that are not UTF-8 are escaped."""
    return "".join(map(_shown, os.fspath(text)))


def say(text: str) -> None:
    """One line on stderr."""
    print(f"dragoman: {printable(text)}", file=sys.stderr, flush=True)


def show(text: str) -> None:
    """One line on stdout."""
    with _named():
        print(printable(text), flush=True)


def show_json(text: str) -> None:
    """JSON on stdout, in UTF-8 whatever the terminal's encoding."""
    with _named():
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()


@contextmanager
def _named() -> Iterator[None]:
    """An error of stdout says so."""
    try:
        yield
    except OSError as error:
        error.filename = "standard output"
        raise


def log_to_stderr() -> None:
    """Warnings of the package become lines like ours; streams take any character; other libraries are quiet."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    logger = logging.getLogger("dragoman")
    if not logger.handlers:
        logger.addHandler(_Lines())


def silence_libraries() -> None:
    """Silence the progress bars, notes and deprecations of libraries: they speak of what the user did not name."""
    import warnings

    import transformers

    warnings.filterwarnings("ignore", module=r"(transformers|peft|accelerate|torch)\b")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # a line for each layer and token, of casts


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def _shown(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    if unicodedata.category(character) in ("Cc", "Cs") or character in _TURNS:
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character
