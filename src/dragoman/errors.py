"""What a user can fix. The message is one sentence that says what is wrong and what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)
"""The system's numbers for more open files than it allows: neither the data's fault nor the disk's."""
MORE_FILES = "allow more open files, as by `ulimit -n 65536`"


class DragomanError(Exception):
    """Base of the family; the command line prints the message and exits with code 2."""


class AudioError(DragomanError):
    """A recording that cannot be read."""


class FileAccessError(AudioError):
    """A recording that the system does not hand over: permissions, too many open files, a failing disk. That says
    nothing about the recording, so it is never counted as bad data."""


class AudioTrackError(AudioError):
    """A track that is asked for and that the recording does not have."""


class LanguageError(DragomanError):
    """A language that is unknown, or that the model does not speak."""


class ManifestError(DragomanError):
    """A wrong row in a JSONL file; the message names file, line and field."""


class RecipeError(DragomanError):
    """A recipe that does not say what a recipe must; the message names file and key."""


class ModelError(DragomanError):
    """A model folder that is missing, incomplete or does not fit its recipe."""


class DataError(DragomanError):
    """Training or evaluation data that is missing or does not fit the request."""


class OutputError(DragomanError):
    """A result that cannot be written; the message names the file."""


class MissingExtraError(DragomanError):
    """A package that is not installed because only an extra of Dragoman needs it; the message names the extra."""


def first_line(error: BaseException) -> str:
    """What another library's exception says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def missing_extra(what: str, package: str, extra: str, instead: str = "") -> MissingExtraError:
    """That `what` needs a `package` that comes with an `extra`; `instead`: what can be done without it."""
    return MissingExtraError(f"{what} needs {package}: run `pip install 'dragoman[{extra}]'`{instead}.")


@contextmanager
def needs_extra(what: str, extra: str, instead: str = "") -> Iterator[None]:
    """Around imports of packages that come with an extra. Raises MissingExtraError where one is not installed."""
    try:
        yield
    except ImportError as error:
        raise missing_extra(what, (error.name or "a package").partition(".")[0], extra, instead) from error
