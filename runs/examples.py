"""Write the recordings in examples/: unseen sentences in unseen voices, drawn by seed from the corpus's dev split.

python runs/examples.py DATA EXAMPLES
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from dragoman.data.audio import SAMPLE_RATE, Waveform, load_audio
from dragoman.records import Utterance, read_manifest, write_rows

# name, language, number of sentences, container, codec
RECORDINGS = (
    ("english-wav", "eng", 1, "wav", "pcm_s16le"),
    ("english-video", "eng", 4, "mp4", "aac"),
    ("german-mp3", "deu", 1, "mp3", "libmp3lame"),
    ("german-flac", "deu", 4, "flac", "flac"),
    ("french-opus", "fra", 1, "ogg", "libopus"),
    ("french-webm", "fra", 4, "webm", "libopus"),
    ("dutch-m4a", "nld", 1, "m4a", "aac"),
    ("dutch-wav", "nld", 4, "wav", "pcm_s16le"),
)
PAUSE_S = 0.9
SEED = 2026


def main(data: Path, examples: Path) -> None:
    examples.mkdir(parents=True, exist_ok=True)
    dev = read_manifest(data / "dev.jsonl")
    random = np.random.default_rng(SEED)
    rows = []
    for name, language, count, container, codec in RECORDINGS:
        full = [u for u in dev if u.language == language and len(u.translations) == 3]
        chosen = [full[n] for n in random.choice(len(full), count, replace=False)]
        path = examples / f"{name}.{container}"
        write_media(path, spoken(chosen), codec, video=name.endswith("video"))
        rows.append(described(path.name, name, chosen))
    write_rows(examples / "manifest.jsonl", rows)


def spoken(utterances: list[Utterance]) -> Waveform:
    """The clips one after another, with pauses."""
    pause = np.zeros(round(PAUSE_S * SAMPLE_RATE), np.float32)
    parts = [part for u in utterances for part in (load_audio(u.audio), pause)]
    return np.concatenate(parts[:-1])


def described(audio: str, name: str, utterances: list[Utterance]) -> Utterance:
    codes = utterances[0].translations
    return Utterance(
        id=name,
        audio=audio,
        language=utterances[0].language,
        text=" ".join(u.text for u in utterances),
        translations={code: " ".join(u.translations[code] for u in utterances) for code in codes},
    )


def write_media(path: Path, samples: Waveform, codec: str, *, video: bool) -> None:
    """Encode (N,) samples at 16 kHz (Opus: 48 kHz); a video gets a still picture."""
    with av.open(str(path), "w") as container:
        picture = still(container, len(samples) / SAMPLE_RATE) if video else None
        rate = 48_000 if codec == "libopus" else SAMPLE_RATE
        stream: Any = container.add_stream(codec, rate=rate)
        stream.layout = "mono"
        if picture is not None:
            picture()
        frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = SAMPLE_RATE, Fraction(1, SAMPLE_RATE), 0
        size = stream.codec_context.frame_size or None
        resampler = av.AudioResampler(format=stream.format.name, layout="mono", rate=rate, frame_size=size)
        for source in (frame, None):
            for part in resampler.resample(source):
                container.mux(stream.encode(part))
        container.mux(stream.encode(None))


def still(container: Any, duration_s: float) -> Any:
    """Add a video stream of one dark picture a second; returns what writes it."""
    stream = container.add_stream("mpeg4", rate=5)
    stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"

    def write() -> None:
        for _ in range(round(duration_s * 5)):
            picture = av.VideoFrame.from_ndarray(np.full((180, 320, 3), 40, np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))

    return write


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
