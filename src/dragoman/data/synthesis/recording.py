"""Lines -> recordings on disk, in shards that are there complete or not at all.

Where work is spread over processes, what is written depends on the lines and the seed alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np

from dragoman.data.audio import SAMPLE_RATE, Waveform, load_audio
from dragoman.data.synthesis.rooms import room_simulator
from dragoman.data.synthesis.voice import Pcm, Voice, generator, speak
from dragoman.parallel import as_finished
from dragoman.records import Utterance, read_rows, write_rows
from dragoman.text.languages import LANGUAGES

SHARD_MANIFEST = "manifest.jsonl"


PAUSE_S = (0.2, 0.8)
"""Between the parts of a clip."""


@dataclass(frozen=True, slots=True)
class SpokenLine:
    """A text to be spoken: `utterance.audio` is the name of the file to be, `duration_s` is not yet known."""

    utterance: Utterance
    voice: Voice
    parts: tuple[str, ...] = ()
    """What the voice says one by one, with pauses between; the utterance's text in one by default."""


def joined(name: str, language: str, parts: Sequence[Mapping[str, str]], sentence: str | None = None) -> Utterance:
    """The row of a clip of several parts, each with its texts by language: the text of all, and translations into the
    languages that every part has."""
    shared = [code for code in parts[0] if all(code in part for part in parts)]
    texts = {code: (" " if LANGUAGES[code].uses_spaces else "").join(part[code] for part in parts) for code in shared}
    return Utterance(
        id=name,
        audio=f"{name}.flac",
        language=language,
        text=texts.pop(language),
        sentence=sentence,
        translations=texts,
    )


@dataclass(frozen=True, slots=True)
class RecordedVoice:
    """A voice that plays recordings: what it says is the name of a file."""

    language: str
    """ISO 639-3."""

    def say(self, text: str) -> tuple[Pcm, int]:
        """As `Voice.say`. Raises AudioError."""
        return np.round(load_audio(text) * 32767).astype(np.int16), SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class RecordingShard:
    """Lines that are recorded into one folder, which is there complete or not at all."""

    folder: Path
    lines: tuple[SpokenLine, ...]


def into_shards(lines: Sequence[SpokenLine], folder: Path, size: int) -> list[RecordingShard]:
    """Part lines into folders of `size` lines: `folder/000`, `folder/001`, …"""
    bounds = pairwise([*range(0, len(lines), size), len(lines)])
    return [RecordingShard(folder / f"{number:03d}", tuple(lines[a:b])) for number, (a, b) in enumerate(bounds)]


def record(
    shards: Sequence[RecordingShard], noise_root: Path | None, seed: int, workers: int
) -> Iterator[RecordingShard]:
    """Record the shards that are not there yet, in `workers` processes; yields each shard when it is there.

    A shard's folder is a data set of its own: FLAC files and `manifest.jsonl`. Without `noise_root` there is neither a
    room nor a background.
    """
    pending = [shard for shard in shards if not shard.folder.exists()]
    yield from (shard for shard in shards if shard.folder.exists())
    yield from as_finished(partial(record_shard, noise_root=noise_root, seed=seed), pending, workers)


def record_shard(shard: RecordingShard, noise_root: Path | None, seed: int) -> RecordingShard:
    """Record one shard under a temporary name, then rename its folder."""
    part = shard.folder.with_name(shard.folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    write_rows(part / SHARD_MANIFEST, [_record_line(line, part, noise_root, seed) for line in shard.lines])
    part.rename(shard.folder)
    return shard


def _record_line(line: SpokenLine, folder: Path, noise_root: Path | None, seed: int) -> Utterance:
    clip = _spoken(line, generator(seed, "pauses", line.utterance.id))
    if noise_root is not None:
        clip = room_simulator(noise_root)(clip, generator(seed, "augment", line.utterance.id))
    write_flac(folder / line.utterance.audio, clip)
    return line.utterance.model_copy(update={"duration_s": round(len(clip) / SAMPLE_RATE, 4)})


def _spoken(line: SpokenLine, rng: np.random.Generator) -> Waveform:
    first, *others = line.parts or (line.utterance.text,)
    pieces = [speak(first, line.voice)]
    for part in others:
        pieces += [np.zeros(round(SAMPLE_RATE * rng.uniform(*PAUSE_S)), np.float32), speak(part, line.voice)]
    return np.concatenate(pieces)


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


def gather(
    shards: Collection[RecordingShard], manifest: Path, keep: Callable[[Utterance], Utterance | None] = lambda row: row
) -> None:
    """Write one manifest of all the shards, with audio paths relative to it; of each row what `keep` leaves."""
    rows = (
        kept.model_copy(update={"audio": str((shard.folder / row.audio).relative_to(manifest.parent))})
        for shard in shards
        for _, row in read_rows(shard.folder / SHARD_MANIFEST, Utterance)
        if (kept := keep(row)) is not None
    )
    write_rows(manifest, rows)
