"""The child process that decodes a recording: hostile files meet FFmpeg here, with little memory, little time and
nothing to write to.

    python -c "…main()" WANTED, the recording on standard input -> frames on standard output

A frame is one letter, four bytes of length and this many bytes: A samples (float32), M marks the end of an excerpt,
D damage, E an error (JSON), Z the end. No torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

RECORDING = "/dev/stdin"
"""Opened anew, where Linux gives a position of its own."""
HEADER = struct.Struct("<cI")
_MEMORY = 1 << 30
_OPEN_FILES = 64
_BLOCK_S = 5.0


def main() -> None:
    """Do what the first argument says, and tell the parent of any failure."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a terminal and systemd tell all; the server lets requests end
        signal.signal(number, signal.SIG_IGN)
    wanted: dict[str, Any] = json.loads(sys.argv[1])
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    _confine(wanted["cpu_s"])
    try:
        _decode(wanted, out)
    except BrokenPipeError:  # nobody listens any more
        os._exit(0)
    except MemoryError:
        _error(out, "AudioError", "The recording takes too much memory to decode; convert it to WAV.")
    except Exception as error:
        _error(out, type(error).__name__, str(error))
    os._exit(0)


def _confine(cpu_s: float) -> None:
    """Memory, time, files; none can be written, and no program called gets more rights."""
    for limit, value in (
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_CPU, round(cpu_s)),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):  # a lower one holds already
            # a second between them: the first says by its signal that time is up
            resource.setrlimit(limit, (value, value + 1 if limit == resource.RLIMIT_CPU else value))
    if sys.platform == "linux":
        import ctypes

        no_new_privileges = 38
        ctypes.CDLL(None).prctl(no_new_privileges, 1, 0, 0, 0)


def _decode(wanted: dict[str, Any], out: BinaryIO) -> None:
    from dragoman.data.audio import excerpts, stream_audio

    chosen = {"track": wanted["track"], "language": wanted["language"]}
    if wanted["places"]:
        for excerpt in excerpts(RECORDING, wanted["places"], wanted["seconds"], **chosen):
            _send(out, b"A", excerpt.tobytes())
            _send(out, b"M")
    else:
        blocks = stream_audio(RECORDING, _BLOCK_S, **chosen, on_damage=_told(out))
        for block in _after(blocks, wanted["skip"]):
            _send(out, b"A", block.tobytes())
    _send(out, b"Z")


def _after(blocks: Iterator[Any], skip: int) -> Iterator[Any]:
    """Without this many samples, which an earlier child gave."""
    for block in blocks:
        if skip < len(block):
            yield block[skip:]
        skip = max(0, skip - len(block))


def _told(out: BinaryIO) -> Callable[[str], None]:
    return lambda message: _send(out, b"D", _plain(message).encode())


def _error(out: BinaryIO, kind: str, message: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        _send(out, b"E", json.dumps({"kind": kind, "message": _plain(message)}).encode())


def _plain(message: str) -> str:
    return message.replace(RECORDING, "The recording")


def _send(out: BinaryIO, kind: bytes, payload: bytes = b"") -> None:
    rest = memoryview(HEADER.pack(kind, len(payload)) + payload)
    while rest:
        rest = rest[out.write(rest) or 0 :]
