"""Long audio -> segments of speech, as a stream.

Speech is found by Silero VAD (https://github.com/snakers4/silero-vad, MIT), whose packaged ONNX file is run under
onnxruntime alone: importing the `silero_vad` package would set torch to one thread for the whole process.

All positions are whole samples counted from the start of the recording; only a Segment speaks of seconds.
Shapes: K windows of 512 samples, N samples at 16 kHz.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dragoman.data.audio import SAMPLE_RATE, Waveform
from dragoman.errors import DragomanError, ModelError
from dragoman.recipe import Recipe

if TYPE_CHECKING:
    import onnxruntime

_WINDOW = 512
"""Samples per speech probability (32 ms)."""
_CONTEXT = 64
"""Samples of the window before that the model sees again."""
_STATE = (1, 1, 128)
_BATCH = 256
"""Windows per call of the model (8 s)."""
_WARM_UP = 8
"""Windows of silence that the model hears first: it misses short words in a clip that begins with speech."""
_SMOOTHING = 5
"""Windows that a pause is judged by (160 ms)."""


@dataclass(frozen=True)
class VadOptions:
    """What counts as speech and where it is divided; the names are faster-whisper's.

    Attributes:
        threshold: Speech begins at this probability.
        neg_threshold: It goes on down to this one.
        min_speech_duration_ms: Shorter speech is none.
        max_speech_duration_s: No segment lasts longer, padding included.
        min_silence_duration_ms: A pause that ends a segment; `speech_pad_ms` at least.
        speech_pad_ms: Silence that a segment keeps before and after its speech.

    Raises:
        DragomanError: Values that contradict each other.
    """

    threshold: float = 0.5
    neg_threshold: float = 0.35
    min_speech_duration_ms: int = 100
    max_speech_duration_s: float = 30.0
    min_silence_duration_ms: int = 500
    speech_pad_ms: int = 300

    def __post_init__(self) -> None:
        if not 0 < self.neg_threshold <= self.threshold < 1:
            raise DragomanError("VAD: give 0 < neg_threshold <= threshold < 1.")
        if min(self.min_speech_duration_ms, self.min_silence_duration_ms, self.speech_pad_ms) < 0:
            raise DragomanError("VAD: give durations that are not negative.")
        if self.max_speech_duration_s < max(1.0, 4 * self.speech_pad_ms / 1000):
            raise DragomanError("VAD: give a max_speech_duration_s of at least 1 s and four times speech_pad_ms.")

    def varied(self, parameters: Mapping[str, float], name: str) -> VadOptions:
        """With these in the place of its own; no longer stretches than `name`, a model that these suit, hears. Raises
        DragomanError."""
        if "threshold" in parameters:  # Silero's own distance between the two
            parameters = {"neg_threshold": max(0.01, parameters["threshold"] - 0.15), **parameters}
        try:
            options = replace(self, **parameters)  # type: ignore[arg-type]
        except TypeError as error:
            raise DragomanError(f"VAD: {error.args[0]}; the parameters are those of VadOptions.") from error
        if options.max_speech_duration_s > (most := self.max_speech_duration_s):
            raise DragomanError(f"VAD: {name} hears {most:g} s at a time; give a shorter maximum.")
        return options


def vad_options_for(recipe: Recipe) -> VadOptions:
    """A model of whole windows is served best by long stretches, one of trimmed clips by single sentences."""
    pause_ms = 2000 if recipe.audio.padding == "window" else 500
    return VadOptions(max_speech_duration_s=recipe.audio.window_s, min_silence_duration_ms=pause_ms)


@dataclass(frozen=True, eq=False)
class SpeechSegment:
    """One stretch of speech; `samples` is (N,) float32 at 16 kHz. From `start_s` to `end_s` it has its padding, which
    is for the model; from `speech_start_s` to `speech_end_s` somebody speaks, which is for people."""

    start_s: float
    end_s: float
    speech_start_s: float
    speech_end_s: float
    samples: Waveform


def speech_segments(blocks: Iterable[Waveform], options: VadOptions | None = None) -> Iterator[SpeechSegment]:
    """Yield the speech in a recording that comes in blocks of any size, in order and without overlap.

    The result does not depend on the blocks. Memory is bounded by a block and the longest segment.
    Raises ModelError when Silero VAD is not installed.
    """
    segmenter = Segmenter(options or VadOptions())
    for block in blocks:
        yield from segmenter.push(block)
    yield from segmenter.finish()


class Segmenter:
    """`speech_segments` of a recording that is handed over block by block, and a look at the one that is open."""

    def __init__(self, options: VadOptions) -> None:
        self._probabilities = _SpeechProbabilities()
        self._divider = _Divider(options)
        self._rest = np.zeros(0, np.float32)

    def push(self, block: Waveform) -> Iterator[SpeechSegment]:
        """Take the next samples (N,); yields the segments that end with them."""
        rest = np.concatenate([self._rest, block])
        whole = len(rest) - len(rest) % _WINDOW
        self._rest = rest[whole:]
        for at in range(0, whole, _BATCH * _WINDOW):
            batch = rest[at : min(at + _BATCH * _WINDOW, whole)]
            yield from self._divider.push(batch, self._probabilities.probabilities(batch))

    def finish(self) -> Iterator[SpeechSegment]:
        """The recording is over."""
        if rest := len(self._rest):
            probabilities = self._probabilities.probabilities(np.pad(self._rest, (0, _WINDOW - rest)))
            yield from self._divider.push(self._rest, probabilities)
        yield from self._divider.finish()

    def peek(self) -> SpeechSegment | None:
        """What the open segment is sure to hold when it ends, the samples not copied; None where there is no speech.

        That is all of it up to the padding of its last speech; from half the longest on, up to where it would be cut
        now, and it will not be cut before.
        """
        return self._divider.peek()


class _SpeechProbabilities:
    """Silero VAD along one recording; it remembers what came before."""

    def __init__(self) -> None:
        self._session = _session()
        self._hidden = self._cell = np.zeros(_STATE, np.float32)
        self._context = np.zeros(_CONTEXT, np.float32)
        self.probabilities(np.zeros(_WARM_UP * _WINDOW, np.float32))

    def probabilities(self, samples: Waveform) -> npt.NDArray[np.float32]:
        """The next K windows, (K * 512,) -> the probability of speech in each, (K,)."""
        joined = np.concatenate([self._context, samples])
        windows = np.lib.stride_tricks.sliding_window_view(joined, _CONTEXT + _WINDOW)[::_WINDOW]
        inputs = {"input": np.ascontiguousarray(windows), "h": self._hidden, "c": self._cell}
        probabilities, self._hidden, self._cell = self._session.run(None, inputs)
        self._context = joined[-_CONTEXT:]
        result: npt.NDArray[np.float32] = probabilities
        return result


class _Divider:
    """Windows with their probabilities -> segments. At any time either inside one (open) or between two."""

    def __init__(self, options: VadOptions) -> None:
        self._options = options
        self._pad = _samples(options.speech_pad_ms / 1000)
        self._hold = max(self._pad, _samples(options.min_silence_duration_ms / 1000))
        self._longest = _samples(options.max_speech_duration_s)
        self._audio = np.zeros(0, np.float32)
        self._audio_start = 0  # the position of the first sample kept
        self._now = 0  # the end of the last window judged
        self._free_from = 0  # the end of the last segment
        self._start: int | None = None  # of the open segment
        self._speech_end = 0
        self._continues = False  # the open segment goes on where a long one was cut
        self._shown = 0  # the end of what was seen of the open segment
        self._heard: list[float] = []  # probabilities in the open segment, up to now

    def push(self, samples: Waveform, probabilities: npt.NDArray[np.float32]) -> Iterator[SpeechSegment]:
        """Take the next windows; only the last of a recording may hold fewer samples than 512."""
        self._audio = np.concatenate([self._audio, samples])
        for probability in probabilities.tolist():
            self._now += _WINDOW
            if self._start is None:
                self._maybe_open(probability)
            if self._start is not None:
                yield from self._go_on(self._start, probability)
        self._forget()

    def finish(self) -> Iterator[SpeechSegment]:
        """The recording is over: close what is open."""
        if self._start is not None:
            yield from self._close(self._start)

    def peek(self) -> SpeechSegment | None:
        """See Segmenter."""
        if self._start is None or not self._is_speech():
            return None
        end = min(self._now, self._speech_end + self._pad)
        if self._now - self._start > self._longest // 2:
            end = min(end, self._best_cut(self._start))
        self._shown = max(self._shown, end)
        samples = self._audio[self._start - self._audio_start : self._shown - self._audio_start]
        return SpeechSegment(self._start / SAMPLE_RATE, self._shown / SAMPLE_RATE, *self._speech(self._shown), samples)

    def _maybe_open(self, probability: float) -> None:
        if probability >= self._options.threshold:
            self._start = max(self._free_from, self._now - _WINDOW - self._pad)
            self._heard, self._continues = [], False

    def _go_on(self, start: int, probability: float) -> Iterator[SpeechSegment]:
        self._heard.append(probability)
        if probability >= self._options.neg_threshold:
            self._speech_end = self._now
        if self._now - self._speech_end >= self._hold:
            yield from self._close(start)
        elif self._now + _WINDOW - start > self._longest:
            yield self._cut(start)

    def _close(self, start: int) -> Iterator[SpeechSegment]:
        """End the segment after its padding; too little speech is none, unless it is the tail of a longer segment."""
        speech = self._is_speech()
        self._start = None
        if speech:
            yield self._segment(start, self._speech_end + self._pad)

    def _is_speech(self) -> bool:
        voiced = sum(probability >= self._options.threshold for probability in self._heard)
        return self._continues or voiced * _WINDOW >= _samples(self._options.min_speech_duration_ms / 1000)

    def _cut(self, start: int) -> SpeechSegment:
        """End the segment in a pause; what comes after stays open if it holds speech."""
        end = self._best_cut(start)
        kept = (end - (self._now - len(self._heard) * _WINDOW)) // _WINDOW
        segment = self._segment(start, end)
        self._heard = self._heard[kept:]
        voiced = any(probability >= self._options.threshold for probability in self._heard)
        self._start, self._continues = (self._free_from, True) if voiced else (None, False)
        return segment

    def _best_cut(self, start: int) -> int:
        """The best pause of the second half of the longest segment, as far as that has come; not before what was
        seen."""
        first = self._now - len(self._heard) * _WINDOW  # the position of the first window heard
        earliest = -(-(max(start + self._longest // 2, self._shown) - first) // _WINDOW)
        latest = len(self._heard) - _SMOOTHING // 2
        kept = earliest + int(np.argmin(self._loudness(first)[earliest:latest])) if earliest < latest else earliest
        return min(first + kept * _WINDOW, self._now)

    def _loudness(self, first: int) -> npt.NDArray[np.float64]:
        """How much each window heard is unlike a pause: speech probability + relative RMS, smoothed; (K,)."""
        samples = np.zeros((len(self._heard), _WINDOW))
        audio = self._audio[first - self._audio_start :][: samples.size]
        samples.reshape(-1)[: len(audio)] = audio
        rms = np.sqrt(np.square(samples).mean(axis=1))
        unlike_pause = np.array(self._heard) + rms / max(rms.max(), 1e-9)
        return np.convolve(unlike_pause, np.full(_SMOOTHING, 1 / _SMOOTHING), mode="same")

    def _segment(self, start: int, end: int) -> SpeechSegment:
        end = min(end, self._audio_start + len(self._audio))
        samples = self._audio[start - self._audio_start : end - self._audio_start].copy()
        self._free_from = end
        return SpeechSegment(start / SAMPLE_RATE, end / SAMPLE_RATE, *self._speech(end), samples)

    def _speech(self, end: int) -> tuple[float, float]:
        """From the first to the last speech heard before `end`, in seconds."""
        first = self._now - len(self._heard) * _WINDOW
        heard = self._heard[: -(-(end - first) // _WINDOW)]
        voiced = [at for at, probability in enumerate(heard) if probability >= self._options.neg_threshold]
        voiced = voiced or [0, len(heard) - 1]  # of a tail that is all doubt
        last = min(first + (voiced[-1] + 1) * _WINDOW, end)
        return (first + voiced[0] * _WINDOW) / SAMPLE_RATE, last / SAMPLE_RATE

    def _forget(self) -> None:
        """Drop what no segment can need: all before the open one, or before the padding of the next."""
        needed = max(self._audio_start, self._now - self._pad) if self._start is None else self._start
        self._audio = self._audio[needed - self._audio_start :].copy()
        self._audio_start = needed


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


@functools.cache
def _session() -> onnxruntime.InferenceSession:
    """Load the variant that takes many windows a call: its numbers are those of the usual one, in half the time."""
    import onnxruntime

    package = importlib.util.find_spec("silero_vad")
    folders = (package.submodule_search_locations if package else None) or []
    files = [file for folder in folders for file in Path(folder).glob("data/silero_vad_16k_sequence.onnx")]
    if not files:
        raise ModelError("Silero VAD is not installed with its ONNX files; run `pip install 'silero-vad>=6.2.3'`.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(files[0]), options, providers=["CPUExecutionProvider"])
