"""Text -> speech, for data made on the spot: espeak-ng speaks, a room and a background are added.

espeak-ng comes with the optional package `espeakng-loader` (GPL-3: loaded at run time, never vendored). It is
one state per process, so work is spread over processes. It also carries state from one text to the next
(noise, flutter), so the library is loaded afresh for every text (0.6 ms): `speak` is a pure function, and a
clip depends on its text, its voice and the seed, not on the number of workers or the order.

S: samples at 16 kHz, float32, full scale 1.
"""

from __future__ import annotations

import ctypes
import hashlib
import multiprocessing
import shutil
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
import numpy.typing as npt

from dragoman.data.audio import SAMPLE_RATE, Waveform, load_audio
from dragoman.errors import DataError, DragomanError, LanguageError
from dragoman.records import Utterance, read_rows, write_rows
from dragoman.text.languages import find

SHARD_MANIFEST = "manifest.jsonl"

TRAIN_VARIANTS = (
    *("m1", "m2", "m3", "m4", "m5", "m6", "m8", "f1", "f2", "f3", "f4"),
    *("Alex", "Andrea", "Annie", "Denis", "Diogo", "Mario", "adam", "aunty", "boris"),
    *("david", "grandma", "klatt6", "linda", "max", "robert", "steph", "travis", "victor"),
)
"""Timbres for training: the plain ones of espeak-ng and the named ones that still sound like a person.

`Reed` and `caleb` would too, but they never say a thing twice alike (they call C's `rand`)."""
HELD_OUT_VARIANTS = ("m7", "f5", "Michael", "belinda")
"""Timbres that training never hears: two male, two female."""

# espeak-ng's names where they are not the ISO 639-1 code; the first is the usual one. It refuses `en-gb`.
_ACCENTS: dict[str, tuple[str, ...]] = {
    "eng": ("en-us", "en", "en-gb-x-rp", "en-gb-scotland", "en-us-nyc"),
    "fra": ("fr", "fr-be", "fr-ch"),
    "por": ("pt", "pt-br"),
    "spa": ("es", "es-419"),
    "cmn": ("cmn",),
    "yue": ("yue",),
    "jpn": (),  # reads kanji by their names
}

# espeak-ng/speak_lib.h
_SYNCHRONOUS = 2
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_CHARS_UTF8 = 1
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


def generator(seed: int, *names: str) -> np.random.Generator:
    """A random generator that depends on the seed and the names alone."""
    digest = hashlib.sha256("/".join([str(seed), *names]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


# --------------------------------------------------------------------------------------------- speaking


@dataclass(frozen=True, slots=True)
class Voice:
    """How espeak-ng speaks; pitch, pitch range and volume are on its scale of 0 to 100."""

    language: str
    """ISO 639-3."""
    variant: str
    """Timbre, such as `f3`."""
    rate_wpm: int = 165
    pitch: int = 50
    pitch_range: int = 50
    volume: int = 60
    """At 100 some timbres clip inside espeak-ng."""
    accent: str = ""
    """espeak-ng's own name, one of `accents(language)`; empty is the usual one."""

    @classmethod
    def random(cls, language: str, variants: Sequence[str], rng: np.random.Generator) -> Voice:
        """Draw accent, timbre, rate (130 to 200 words a minute), pitch (25 to 75) and liveliness."""
        return cls(
            language=language,
            variant=variants[int(rng.integers(len(variants)))],
            rate_wpm=int(rng.integers(130, 201)),
            pitch=int(rng.integers(25, 76)),
            pitch_range=int(rng.integers(30, 71)),
            accent=str(rng.choice(accents(language))),
        )


def accents(language: str) -> tuple[str, ...]:
    """espeak-ng's names for a language (ISO 639-3), the usual one first.

    Raises LanguageError if it has none.
    """
    iso1 = find(language).iso1
    names = _ACCENTS.get(language, (iso1,) if iso1 else ())
    if not names:
        raise LanguageError(f"espeak-ng cannot read {language!r} aloud; choose another language.")
    return names


def speak(text: str, voice: Voice) -> Waveform:
    """Speak a text; returns (S,) samples without the silence before and after it.

    The same text and voice give the same samples. Raises DragomanError without espeakng-loader, LanguageError
    or DataError for a voice that espeak-ng lacks, DataError for a text that it does not say.
    """
    samples = _trim(_resample(*speak_raw(text, voice)))
    if not len(samples):
        raise DataError(f"espeak-ng said nothing for {text!r} in {voice.language}; leave the text out.")
    return samples


def speak_raw(text: str, voice: Voice) -> tuple[npt.NDArray[np.int16], int]:
    """What espeak-ng itself gives: 16-bit samples and their rate in Hz. Raises as `speak` does."""
    chunks: list[bytes] = []

    def collect(samples: int | None, count: int, _events: int | None) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    callback = _CALLBACK(collect)  # must live as long as espeak-ng speaks
    encoded = text.encode() + b"\0"
    with _fresh_library() as (library, rate):
        library.espeak_SetSynthCallback(callback)
        _set_voice(library, voice)
        if library.espeak_Synth(encoded, len(encoded), 0, 1, 0, _CHARS_UTF8, None, None) != 0:
            raise DataError(f"espeak-ng failed on {text!r}; leave the text out.")
    return np.frombuffer(b"".join(chunks), np.int16), rate


@contextmanager
def _fresh_library() -> Iterator[tuple[ctypes.CDLL, int]]:
    """Load espeak-ng with nothing remembered; yields the library and its sample rate in Hz."""
    import _ctypes  # holds dlclose, which ctypes itself does not offer

    library_path, data_path = _locate()
    library = ctypes.CDLL(library_path)
    try:
        rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data_path.encode(), 0)
        if rate <= 0:
            raise DragomanError(f"espeak-ng does not start ({data_path}); reinstall 'dragoman[synthesis]'.")
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # else it is the time of day
        yield library, rate
        library.espeak_Terminate()
    finally:
        _ctypes.dlclose(library._handle)


@cache
def _locate() -> tuple[str, str]:
    try:
        import espeakng_loader
    except ImportError as error:
        raise DragomanError("Speaking needs espeak-ng: pip install 'dragoman[synthesis]'.") from error
    return str(espeakng_loader.get_library_path()), str(espeakng_loader.get_data_path())


@cache
def _known_variants() -> frozenset[str]:
    return frozenset(path.name for path in Path(_locate()[1], "voices", "!v").iterdir())


def _set_voice(library: ctypes.CDLL, voice: Voice) -> None:
    if voice.variant not in _known_variants():  # espeak-ng would silently take the plain timbre
        known = ", ".join(sorted(_known_variants()))
        raise DataError(f"espeak-ng has no timbre {voice.variant!r}; it has {known}.")
    name = f"{voice.accent or accents(voice.language)[0]}+{voice.variant}"
    if library.espeak_SetVoiceByName(name.encode()) != 0:  # else it silently keeps the voice before
        raise LanguageError(f"espeak-ng has no voice {name!r}; choose another language or accent.")
    for parameter, value in (
        (_RATE, voice.rate_wpm), (_VOLUME, voice.volume), (_PITCH, voice.pitch), (_RANGE, voice.pitch_range),
    ):  # fmt: skip
        library.espeak_SetParameter(parameter, value, 0)


def _resample(samples: npt.NDArray[np.int16], rate: int) -> Waveform:
    if not len(samples):
        return np.zeros(0, np.float32)
    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE)
    parts = [part.to_ndarray()[0] for source in (frame, None) for part in resampler.resample(source)]
    return np.concatenate(parts).astype(np.float32)


def _trim(samples: Waveform, margin_s: float = 0.01, floor: float = 1e-3) -> Waveform:
    """Cut what is below `floor` times the peak (-60 dB) at both ends, save a margin."""
    level = np.abs(samples)
    loud = np.flatnonzero(level > floor * level.max(initial=0.0))
    margin = round(margin_s * SAMPLE_RATE)
    return samples[max(0, loud[0] - margin) : loud[-1] + 1 + margin] if len(loud) else samples[:0]


# ------------------------------------------------------------------------------------- room, background


class Augment:
    """Silence around the speech, then at random a room, a background, a level; all by the generator given."""

    silence_s = (0.05, 0.2)
    room_probability = 0.25
    noise_probability = 0.4
    snr_db = (8.0, 30.0)
    peak_db = (-20.0, -1.0)
    """Level of the loudest sample, against full scale."""

    def __init__(self, noise_root: Path) -> None:
        """Read `rir/*.wav`, `gsc/*.wav` and `kitchen.wav`. Raises DataError or AudioError for what is missing."""
        self.rooms = [_direct_sound_first(load_audio(path)) for path in sorted(noise_root.glob("rir/*.wav"))]
        paths = [*sorted(noise_root.glob("gsc/*.wav")), noise_root / "kitchen.wav"]
        self.noises = [load_audio(path) for path in paths]
        if not self.rooms:
            raise DataError(f"{noise_root}: no room responses (rir/*.wav) in it; name the folder of the noises.")

    def __call__(self, speech: Waveform, rng: np.random.Generator) -> Waveform:
        """(S,) -> (S',), with S' longer by the silence; never clipped."""
        before, after = (round(SAMPLE_RATE * rng.uniform(*self.silence_s)) for _ in range(2))
        clip = np.pad(speech, (before, after))
        if rng.random() < self.room_probability:
            clip = convolve(clip, self.rooms[rng.integers(len(self.rooms))])
        if rng.random() < self.noise_probability:
            clip = add_noise(clip, self._background(len(clip), rng), rng.uniform(*self.snr_db))
        peak = np.abs(clip).max() or 1.0
        return np.asarray(clip * (10 ** (rng.uniform(*self.peak_db) / 20) / peak), np.float32)

    def _background(self, length: int, rng: np.random.Generator) -> Waveform:
        noise = self.noises[rng.integers(len(self.noises))]
        start = rng.integers(max(1, len(noise) - length))
        return np.resize(noise[start : start + length], length)


def convolve(speech: Waveform, room: Waveform) -> Waveform:
    """Speech (S,) in a room, cut to (S,)."""
    size = 1 << (len(speech) + len(room) - 1).bit_length()
    product = np.fft.rfft(speech, size) * np.fft.rfft(room, size)
    return np.asarray(np.fft.irfft(product, size)[: len(speech)], np.float32)


def add_noise(speech: Waveform, noise: Waveform, snr_db: float) -> Waveform:
    """Mix (S,) and (S,) at this ratio of mean powers."""
    powers = [float(np.mean(np.square(part, dtype=np.float64))) for part in (speech, noise)]
    if not powers[1]:
        return speech
    gain = (powers[0] / powers[1] / 10 ** (snr_db / 10)) ** 0.5
    return np.asarray(speech + noise * gain, np.float32)


def _direct_sound_first(room: Waveform) -> Waveform:
    """Drop the time of flight, so that a room does not shift the speech; unit energy."""
    from_peak = room[int(np.abs(room).argmax()) :]
    return np.asarray(from_peak / np.linalg.norm(from_peak), np.float32)


@cache
def _augment(noise_root: Path) -> Augment:
    return Augment(noise_root)


# -------------------------------------------------------------------------------------------- recording


@dataclass(frozen=True, slots=True)
class Line:
    """A text to be spoken: `utterance.audio` is the name of the file to be, `duration_s` is not yet known."""

    utterance: Utterance
    voice: Voice


@dataclass(frozen=True, slots=True)
class Shard:
    """Lines that are recorded into one folder, which is there complete or not at all."""

    folder: Path
    lines: tuple[Line, ...]


def into_shards(lines: Sequence[Line], folder: Path, size: int) -> list[Shard]:
    """Part lines into folders of `size` lines: `folder/000`, `folder/001`, …"""
    bounds = pairwise([*range(0, len(lines), size), len(lines)])
    return [Shard(folder / f"{number:03d}", tuple(lines[a:b])) for number, (a, b) in enumerate(bounds)]


def record(shards: Sequence[Shard], noise_root: Path, seed: int, workers: int) -> Iterator[Shard]:
    """Record the shards that are not there yet, in `workers` processes; yields each shard when it is there.

    A shard's folder is a data set of its own: FLAC files and `manifest.jsonl`.
    """
    pending = [shard for shard in shards if not shard.folder.exists()]
    yield from (shard for shard in shards if shard.folder.exists())
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(record_shard, shard, noise_root, seed) for shard in pending]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def record_shard(shard: Shard, noise_root: Path, seed: int) -> Shard:
    """Record one shard under a temporary name, then rename its folder."""
    part = shard.folder.with_name(shard.folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    write_rows(part / SHARD_MANIFEST, [_record_line(line, part, noise_root, seed) for line in shard.lines])
    part.rename(shard.folder)
    return shard


def _record_line(line: Line, folder: Path, noise_root: Path, seed: int) -> Utterance:
    rng = generator(seed, "augment", line.utterance.id)
    clip = _augment(noise_root)(speak(line.utterance.text, line.voice), rng)
    write_flac(folder / line.utterance.audio, clip)
    return line.utterance.model_copy(update={"duration_s": round(len(clip) / SAMPLE_RATE, 4)})


def write_flac(file: Path | BinaryIO, samples: Waveform) -> None:
    """Write (S,) samples within full scale as 16-bit FLAC."""
    pcm = np.round(samples * 32767).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
    frame.sample_rate, frame.time_base, frame.pts = SAMPLE_RATE, Fraction(1, SAMPLE_RATE), 0
    with av.open(str(file) if isinstance(file, Path) else file, "w", format="flac") as container:
        stream: Any = container.add_stream("flac", rate=SAMPLE_RATE)
        stream.layout, stream.format = "mono", "s16"
        for source in (frame, None):
            container.mux(stream.encode(source))


def gather(shards: Collection[Shard], manifest: Path) -> None:
    """Write one manifest of all the shards, with audio paths relative to it."""
    rows = (
        row.model_copy(update={"audio": str((shard.folder / row.audio).relative_to(manifest.parent))})
        for shard in shards
        for _, row in read_rows(shard.folder / SHARD_MANIFEST, Utterance)
    )
    write_rows(manifest, rows)
