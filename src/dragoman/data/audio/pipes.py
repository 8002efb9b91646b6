"""Sound on standard input while it is made: raw PCM, or any container that can be read without seeking.

Raw PCM has no mark to know it by, so what begins like a container is read as one, and what cannot be 16 bit PCM is
refused: text would be invented from its bytes.
"""

from __future__ import annotations

import io
import logging
import os
import tempfile
from collections.abc import Iterator

import numpy as np

from dragoman.data.audio.decoding import Frames
from dragoman.data.audio.opening import opened_container
from dragoman.data.audio.raw_pcm import OTHER, SLOW, TWO_CHANNELS, RawJudge, is_pcm
from dragoman.data.audio.reading import decoded_audio, in_blocks, log_damage
from dragoman.data.audio.resampling import SAMPLE_RATE, Waveform
from dragoman.data.audio.tracks import choose_tracks, report_track, tracks_of
from dragoman.errors import AudioError

NAME = "standard input"
RAW = "ffmpeg -i talk.mp4 -f s16le -ac 1 -ar 16000 - | dragoman live - --to deu"

_BLOCK_S = 0.1
_HEAD = 4096
"""Bytes by which the format is known: an eighth of a second of PCM."""
_MARKS = (
    *(b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b"caff", b".snd", b"NIST_1A", b"Creative Voice File"),
    *(b"OggS", b"fLaC", b"ID3", b"\x1aE\xdf\xa3", b"FLV\x01", b"#!AMR", b"\x30\x26\xb2\x75", b"\x00\x00\x01\xba"),
    *(b"\x64\xa3\x01\x00", b"\x64\xa3\x02\x00", b"\x64\xa3\x03\x00", b"\x64\xa3\x04\x00"),  # IRCAM
    *(b"\x00\x01\xa3\x64", b"\x00\x02\xa3\x64", b"\x00\x03\xa3\x64", b"\x00\x04\xa3\x64"),
    *(b"MAC ", b"wvpk", b"TTA", b"MPCK", b"MP+", b".RMF", b"tBaK", b"nut/multimedia container", b"\x06\x0e\x2b\x34"),
)
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"moof", b"sidx")
_SYNC_WORDS = (b"\x0b\x77", b"\x7f\xfe\x80\x01", b"\x56\xe0", b"\x56\xe1", b"\xf8\x72\x6f\xba")
"""AC-3, DTS, LOAS, TrueHD; MPEG audio and ADTS begin with eleven ones. PCM may begin so too: FFmpeg has to agree."""
_WORDS = 8
_OTHER_FILES = (
    *(b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"PK\x03\x04", b"%PDF", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf"),
    *(b"Rar!", b"\x28\xb5\x2f\xfd", b"\x7fELF", b"SQLite format 3"),
)
"""Pictures, archives, documents, programs."""
_TAKEN = (
    "%s: taken for raw PCM: 16 bit, mono, 16 kHz. Anything else would be misheard; say the rate with a container,"
    " as `ffmpeg -f s16le -ar 44100 -ac 2 -i - -f wav -` does."
)
_FAULTS = {
    OTHER: "Standard input is neither 16 bit PCM (little-endian, mono, 16 kHz) nor a format that is known; send it so:"
    f" `{RAW}`.",
    TWO_CHANNELS: f"Standard input is raw PCM of two channels; send one, at 16 kHz: `{RAW}`.",
    SLOW: "Standard input sounds slowed down, as raw PCM of 44.1 or 48 kHz does where 16 kHz is expected; send it in a"
    " container: `ffmpeg -f s16le -ar 48000 -ac 1 -i - -f wav - | dragoman live - --to deu`.",
}
_log = logging.getLogger("dragoman.data.audio")


def live_audio(descriptor: int, *, track: int | None = None, language: str | None = None) -> Iterator[Waveform]:
    """Blocks (N,) at 16 kHz as they come from a file descriptor; of a container, the track as in `load_audio`, but none
    is tried for its sound. Raises AudioError for what is neither raw PCM nor a container."""
    pipe = _Pipe(descriptor)
    head = pipe.peek(_HEAD)
    if is_text(head) or head.startswith(_OTHER_FILES) or head[257:262] == b"ustar":
        raise AudioError(_FAULTS[OTHER])
    if is_container(head):
        yield from _decoded(pipe, head, track, language)
    elif is_pcm(head) is not False:
        yield from _pcm(pipe)
    elif _opens(head):
        yield from _decoded(pipe, head, track, language)
    else:
        raise AudioError(_FAULTS[OTHER])


class _Pipe:
    """Bytes as they come. Not through sys.stdin: its lock, held by a thread that waits for sound, would break the end
    of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._ahead = descriptor, b""

    def read(self, size: int) -> bytes:
        """What there is, `size` bytes at most; nothing at the end."""
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        return os.read(self._descriptor, size)

    def peek(self, size: int) -> bytes:
        """The next bytes, which `read` will give again; fewer at the end."""
        while len(self._ahead) < size and (data := os.read(self._descriptor, size - len(self._ahead))):
            self._ahead += data
        return self._ahead


def is_container(head: bytes) -> bool:
    """Whether a stream with these first bytes is a file of sound in some format."""
    if head.startswith(_MARKS) or head[4:8] in _BOXES or _is_transport_stream(head):
        return True
    may_be_frames = head.startswith(_SYNC_WORDS) or (len(head) > 1 and head[0] == 0xFF and head[1] >= 0xE0)
    return may_be_frames and _opens(head)


def is_text(data: bytes) -> bool:
    """Whether these bytes are a text: as samples they would never cross zero."""
    whole = data[: len(data) // 2 * 2]
    for encoding in ("utf-16-le", "utf-16-be") if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8",):
        text = whole.decode(encoding, "ignore")  # the last character may be cut
        lost = len(whole) - len(text.encode(encoding))
        if len(text) >= _WORDS and lost < 4 and all(sign.isprintable() or sign in "\t\r\n\ufeff" for sign in text):
            return True
    return False


def _pcm(pipe: _Pipe) -> Iterator[Waveform]:
    rest, judge = b"", RawJudge()
    _log.warning(_TAKEN, NAME)
    while data := pipe.read(2 * round(_BLOCK_S * SAMPLE_RATE)):
        rest += data
        whole = len(rest) - len(rest) % 2
        fault = judge.fault(rest[:whole])
        if fault is not None:
            raise AudioError(_FAULTS[fault])
        yield np.frombuffer(rest[:whole], "<i2").astype(np.float32) / np.float32(32768)
        rest = rest[whole:]
    if rest:
        raise AudioError(f"Standard input ends in the middle of a sample; send 16 bit PCM, as in `{RAW}`.")


def _decoded(pipe: _Pipe, head: bytes, number: int | None, language: str | None) -> Iterator[Waveform]:
    if head[4:8] in _BOXES and not _begins_with_its_index(head):
        with tempfile.TemporaryFile() as file:
            _log.warning("%s: an MP4 with its index at the end, so it is read to the end first.", NAME)
            while data := pipe.read(1 << 16):
                file.write(data)
            file.seek(0)
            yield from _streamed(file, number, language)
    else:
        yield from _streamed(pipe, number, language, analyzeduration="1000000")  # a second, in microseconds


def _streamed(file: object, number: int | None, language: str | None, **options: str) -> Iterator[Waveform]:
    with opened_container(file, NAME, **options) as container:
        tracks = tracks_of(container, NAME)
        likely = choose_tracks(tracks, NAME, number, language)
        if len(likely) > 1:
            report_track(likely[0], tracks, NAME)
        frames = Frames(container, likely[0].index, NAME, lambda: None)
        yield from in_blocks(decoded_audio(frames, container, NAME, log_damage), _BLOCK_S)


def _begins_with_its_index(head: bytes) -> bool:
    """Whether an MP4 can be read without seeking: its `moov` comes before its samples."""
    at = 0
    while at + 8 <= len(head):
        size, kind = int.from_bytes(head[at : at + 4], "big"), head[at + 4 : at + 8]
        if kind in (b"moov", b"moof"):
            return True
        if kind == b"mdat" or size < 8:
            return False
        at += size
    return False


def _is_transport_stream(head: bytes) -> bool:
    """MPEG-TS: each packet begins with a G; those of Blu-ray have four bytes before, those of DVB 16 after."""
    return any(
        len(head) > start + 3 * size and all(head[start + number * size] == 0x47 for number in range(4))
        for start, size in ((0, 188), (4, 192), (0, 204))
    )


def _opens(head: bytes) -> bool:
    try:
        with opened_container(io.BytesIO(head), NAME) as container:
            return bool(container.streams.audio)
    except AudioError:
        return False
