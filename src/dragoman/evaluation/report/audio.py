"""The speech of a page's samples, inside the page, so that it plays wherever the page is opened."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping

import av

from dragoman.data.audio import SAMPLE_RATE, Waveform, load_audio
from dragoman.records import Utterance

MOST_BYTES = 4_000_000
"""Of speech in one page, encoded; about 700 utterances of two seconds, or 100 of twelve."""
_BITS_PER_S = 24_000  # Opus is transparent for 16 kHz speech here


def embed(
    ids: Iterable[str], utterances: Mapping[str, Utterance], on_progress: Callable[[int, int], None] | None = None
) -> dict[str, str]:
    """Utterance to its speech as a `data:` address, in the order of `ids` until MOST_BYTES are full. `on_progress`
    hears (bytes so far, MOST_BYTES). Raises AudioError for a recording that cannot be read."""
    encoded: dict[str, str] = {}
    size = 0
    for id in ids:
        if id in encoded or id not in utterances:
            continue
        utterance = utterances[id]
        sound = encode(
            load_audio(utterance.audio, utterance.start_s, utterance.duration_s, language=utterance.language)
        )
        size += len(sound)
        if size > MOST_BYTES:
            break
        encoded[id] = "data:audio/webm;base64," + base64.b64encode(sound).decode()
        if on_progress:
            on_progress(size, MOST_BYTES)
    return encoded


def encode(waveform: Waveform) -> bytes:
    """Mono at 16 kHz to WebM with Opus, which every current browser plays (Safari plays no Ogg before 18.4)."""
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE, layout="mono")
        stream.bit_rate = _BITS_PER_S
        frame = av.AudioFrame.from_ndarray(waveform[None], format="flt", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()
