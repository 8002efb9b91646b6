"""What the tests make corpora of: real audio, real archives, tables."""

from __future__ import annotations

import io
import tarfile
import wave
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from dragoman.data.corpora.parts import PrepareOptions

STRICT = PrepareOptions()
SKIPPING = PrepareOptions(skip_bad=True)


def sound(seconds: float, kind: str = "wav", rate: int = 16_000, hz: float = 440.0) -> bytes:
    """A tone as the bytes of a .wav or .mp3 file."""
    samples = (8000 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.int16)
    file = io.BytesIO()
    if kind == "wav":
        with wave.open(file, "wb") as wav:
            wav.setparams((1, 2, rate, len(samples), "NONE", ""))
            wav.writeframes(samples.tobytes())
        return file.getvalue()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream("libmp3lame", rate=rate)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
        for source in (frame, None):
            container.mux(stream.encode(source))
    return file.getvalue()


def write_tar(path: Path, members: Mapping[str, bytes | None]) -> None:
    """A tar.gz; what has no bytes is a symbolic link to /etc/passwd."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
            elif content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content or b""))


def write_tsv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows), encoding="utf-8")
