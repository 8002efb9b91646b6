"""A path, bytes or a pipe -> an open container, which can reach nothing but this one file."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.container import InputContainer

from dragoman.data.shards import file_of, open_audio
from dragoman.errors import AudioError
from dragoman.files import not_readable

MediaSource = str | Path | bytes
"""A file, `shards/000.tar#clip.flac`, `-` for standard input; or a file's content."""

STDIN = "-"
UNREADABLE = (av.FFmpegError, OSError, ValueError)
"""What PyAV raises for data that it cannot make sense of."""

_FORMATS = (  # FFmpeg's names; formats that merely list other files are not among them
    "3gp,aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dts,eac3,flac,flv,gsm,ircam,latm,loas,matroska,mov,mp3,mpc,"
    "mpc8,mpeg,mpegts,mxf,nistsphere,nut,ogg,oma,rm,tak,truehd,tta,voc,w64,wav,webm,wv"
)
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "none", "threads": "1"}


class MediaFile:
    """A file as PyAV reads it. Where it cannot seek to it answers -1: FFmpeg understands, while PyAV would print an
    exception. What the system does not let us read is kept in `failure`: it is not the data's fault."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name_in_messages = name
        self.failure: OSError | None = None
        self._file = file

    def read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            self.failure = error
            raise

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return -1

    def tell(self) -> int:
        return self._file.tell()

    @property
    def is_empty(self) -> bool:
        return self._file.seek(0, os.SEEK_END) == 0

    def check(self) -> None:
        """Raise FileAccessError if the system failed us."""
        if self.failure is not None:
            raise not_readable(self.name_in_messages, self.failure) from self.failure


@contextlib.contextmanager
def opened_file(source: MediaSource) -> Iterator[MediaFile]:
    """Open the file ourselves, once, so that FFmpeg never opens one; what comes from a pipe is kept in a temporary
    file, since much of it cannot be read without seeking. Raises AudioError."""
    name = name_of(source)
    try:
        file = _opened(source)
        if not file.seekable():
            with file:
                file = _spooled(file)
    except (OSError, ValueError) as error:
        raise not_readable(name, error, None if isinstance(source, bytes) else source) from error
    with file:
        yield MediaFile(file, name)


@contextlib.contextmanager
def opened_container(file: MediaFile | Any, name: str, **options: str) -> Iterator[InputContainer]:
    """FFmpeg's view of a file, from its start. Raises AudioError."""
    try:
        container = av.open(file, "r", options={**_OPTIONS, **options}, metadata_errors="replace")
    except UNREADABLE as error:
        if isinstance(file, MediaFile):
            file.check()
            if file.is_empty:
                raise AudioError(f"{name}: is empty; get the file again.") from error
        message = f"{name}: is not a media file that can be read; check it, or convert it to WAV."
        raise AudioError(message) from error
    with container:
        yield container


def _opened(source: MediaSource) -> BinaryIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if os.fspath(source) != STDIN:
        return open_audio(source)
    if sys.stdin is not None and sys.stdin.isatty():
        raise AudioError("Standard input is a terminal; send a recording, as in `dragoman translate - < talk.mp3`.")
    return open(os.dup(0), "rb")


def _spooled(pipe: BinaryIO) -> BinaryIO:
    file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        shutil.copyfileobj(pipe, file, 1 << 20)
        file.seek(0)
    except OSError as error:
        file.close()
        error.filename = tempfile.gettempdir()
        raise
    return file


def can_be_read_again(source: MediaSource) -> bool:
    """Whether it can be opened twice; a second opening of a pipe would wait for ever."""
    return isinstance(source, bytes) or (os.fspath(source) != STDIN and os.path.isfile(file_of(source)))


def name_of(source: MediaSource) -> str:
    """How a message calls the source; undecodable bytes of a file name are replaced, to be printable."""
    if isinstance(source, bytes):
        return "audio given as bytes"
    if os.fspath(source) == STDIN:
        return "standard input"
    return os.fsencode(source).decode("utf-8", "replace")
