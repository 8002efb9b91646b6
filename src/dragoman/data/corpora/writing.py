"""What a corpus says of its recordings -> audio files and manifests; in parts, over processes, resumable.

A corpus yields `CorpusPart`s: pieces of work whose recordings become one folder, there whole or not at all. Its name
holds a digest of what decides its content: an interrupted run goes on part by part, and takes over nothing that is
stale.

    OUT/fleurs.jsonl         training, under the name that recipes use
    OUT/fleurs.valid.jsonl   and fleurs.test.jsonl, …
    OUT/valid.jsonl          the validation rows of all corpora in OUT: what `dragoman train` looks at
    OUT/skipped.jsonl        what --skip_bad passed over: manifest, file, line, reason
    OUT/fleurs.credits.txt   citation and licence
    OUT/audio/fleurs/…       the parts
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from dragoman.data.audio import SAMPLE_RATE, Waveform, load_audio
from dragoman.data.corpora.parts import (
    AudioFormat,
    BadRecording,
    Clip,
    Corpus,
    CorpusPart,
    CorpusRow,
    ExcludedRecordings,
    PrepareOptions,
    digest,
)
from dragoman.data.synthesis import write_flac
from dragoman.errors import AudioError, DataError, FileAccessError
from dragoman.files import atomic_file, atomic_folder
from dragoman.parallel import as_finished
from dragoman.progress import no_progress
from dragoman.records import Utterance, read_rows, write_rows

TOLERANCE_S = 0.1
"""How far a table's end of a recording may lie beyond the true one: rounding, and codecs that pad."""
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,5}")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PreparedManifest:
    """A manifest that was written."""

    path: Path
    utterances: int
    hours: float
    skipped: int


def prepare_parts(
    corpus: Corpus,
    parts: Iterable[CorpusPart],
    out: Path,
    *,
    name: str | None = None,
    total: int | None = None,
    options: PrepareOptions,
) -> list[PreparedManifest]:
    """Write the audio and the manifests of all the parts into `out` (layout: see the module); goes on where an earlier
    run stopped. A manifest holds exactly what these parts say, also where folders of other runs lie beside.

    Raises DataError, naming file and line, for the first recording that cannot be used (with `skip_bad` they are listed
    and counted instead) and where a manifest would be empty.
    """
    name = name or corpus.name
    _open(out, corpus, name)
    done: dict[str, list[Path]] = {}
    tasks = _tasks(parts, out / "audio" / name, replace(options, on_progress=no_progress), done)
    size = 0
    for part in _recorded(tasks, options.workers):
        size += part.size
        options.on_progress(name, size, total)
    options.on_progress(name, size, size)
    if not done:
        raise DataError(f"{name}: there is nothing to prepare here; check the root, the languages and the splits.")
    prepared = [_gather(out, manifest, folders, options.skip_bad) for manifest, folders in done.items()]
    _unite(out, name)
    return prepared


# --------------------------------------------------------------------------------------------- one part


@dataclass(frozen=True, slots=True)
class _PartTask:
    part: CorpusPart
    folder: Path
    options: PrepareOptions


def _tasks(
    parts: Iterable[CorpusPart], folder: Path, options: PrepareOptions, done: dict[str, list[Path]]
) -> Iterator[_PartTask]:
    """Name the folder of each part, and note it under its manifest."""
    for part in parts:
        target = folder / f"{part.name}-{digest(part.digest, options.audio)}"
        done.setdefault(part.manifest, []).append(target)
        yield _PartTask(part, target, options)


def _recorded(tasks: Iterable[_PartTask], workers: int) -> Iterator[CorpusPart]:
    """Do the tasks whose folders are not there yet."""
    there: list[CorpusPart] = []

    def missing() -> Iterator[_PartTask]:
        for task in tasks:
            if task.folder.exists():
                there.append(task.part)
            else:
                yield task

    yield from as_finished(_record, missing(), workers)
    yield from there


def _record(task: _PartTask) -> CorpusPart:
    if not task.folder.exists():
        try:
            with atomic_folder(task.folder) as here:
                _fill(here, task)
        except DataError:
            shutil.rmtree(task.folder.with_name(task.folder.name + ".part"), ignore_errors=True)
            raise
    return task.part


def _fill(here: Path, task: _PartTask) -> None:
    utterances: list[Utterance] = []
    bad: list[BadRecording] = []
    left_out: Counter[str] = Counter()
    _long.cache_clear()
    for number, item in enumerate(task.part.read()):
        found = _written(item, here, f"{number:05d}", task.options.audio) if isinstance(item, Clip) else item
        if isinstance(found, Utterance):
            utterances.append(found)
        elif isinstance(found, ExcludedRecordings):
            left_out[found.reason] += found.count
        elif task.options.skip_bad:
            bad.append(found.model_copy(update={"manifest": task.part.manifest}))
        else:
            raise _unusable(found)
    write_rows(here / "manifest.jsonl", utterances)
    write_rows(here / "skipped.jsonl", bad)
    write_rows(
        here / "left_out.jsonl", [ExcludedRecordings(reason=reason, count=left_out[reason]) for reason in left_out]
    )


def _unusable(bad: BadRecording) -> DataError:
    return DataError(f"{str(bad).rstrip('.')}; fix it, or leave such recordings out with --skip_bad.")


def _written(clip: Clip, here: Path, name: str, audio: AudioFormat) -> Utterance | BadRecording:
    """Hear the recording, store it as asked; its duration is that of the samples."""
    row = clip.row
    if problem := _problem(row):
        return row.bad(problem)
    try:
        samples = _heard(clip)
    except FileAccessError:  # not the recording's fault: to leave it out would lose it
        raise
    except AudioError as error:
        return row.bad(str(error).replace("audio given as bytes", clip.name))
    utterance = Utterance(
        id=row.id,
        audio=f"{name}.flac",
        language=row.language,
        text=row.text,
        duration_s=round(len(samples) / SAMPLE_RATE, 4),
        sentence=row.sentence,
        translations=dict(row.translations),
    )
    if audio == "flac":
        write_flac(here / utterance.audio, samples)
        return utterance
    return utterance.model_copy(update=_original(clip, here, name))


def _original(clip: Clip, here: Path, name: str) -> dict[str, object]:
    """A file on disk stays where it is; what an archive holds is copied out."""
    if isinstance(clip.audio, Path):
        return {"audio": os.path.abspath(clip.audio), "start_s": clip.row.start_s}
    ending = Path(clip.name).suffix
    file = here / (name + (ending if _ENDING.fullmatch(ending) else ".audio"))
    file.write_bytes(clip.audio)
    return {"audio": file.name}


def _problem(row: CorpusRow) -> str | None:
    """What is wrong with the texts of a row."""
    for text in (row.id, row.sentence or "", row.text, *row.translations.values()):
        for character in text:
            if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
                return f"the text holds the control character U+{ord(character):04X}"
    return None if row.text or row.translations else "there is no text"


def _heard(clip: Clip) -> Waveform:
    """The samples that the row means, (N,) with N > 0. Raises AudioError, also for what can be decoded only in part:
    its text would say more than is heard."""
    row = clip.row
    whole = row.start_s == 0.0 and row.duration_s is None
    if whole or isinstance(clip.audio, bytes):
        samples = load_audio(clip.audio, language=row.language, on_damage=_is_damaged)
    else:
        samples = _long(clip.audio, row.language)
    lasts_s = len(samples) / SAMPLE_RATE
    stop_s = lasts_s if row.duration_s is None else row.start_s + row.duration_s
    if stop_s > lasts_s + TOLERANCE_S:
        raise AudioError(f"{clip.name}: lasts {lasts_s:.2f} s and cannot be heard until {stop_s:.2f} s")
    if row.start_s > lasts_s:
        raise AudioError(f"{clip.name}: lasts {lasts_s:.2f} s, so nothing starts at {row.start_s:.2f} s")
    stretch = samples[round(row.start_s * SAMPLE_RATE) : round(stop_s * SAMPLE_RATE)]
    if not len(stretch):
        raise AudioError(f"{clip.name}: holds no sound{'' if whole else ' there'}")
    return stretch


@lru_cache(maxsize=1)
def _long(path: Path, language: str) -> Waveform:
    """A recording that several rows share is decoded once."""
    return load_audio(path, language=language, on_damage=_is_damaged)


def _is_damaged(message: str) -> None:
    """A recording that is decoded only in part is an AudioError here, not a warning."""
    raise AudioError(message.partition(";")[0])


# --------------------------------------------------------------------------------------------- the whole


def _open(out: Path, corpus: Corpus, name: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    if (out / "settings.json").exists():
        raise DataError(
            f"{out}: holds synthetic speech (settings.json), which needs a folder of its own; name another."
        )
    with atomic_file(out / f"{name}.credits.txt") as file:
        file.write(f"{corpus.title}\n{corpus.homepage}\nLicence: {corpus.licence}\n\n{corpus.citation}\n")


def _gather(out: Path, manifest: str, folders: Sequence[Path], skip_bad: bool) -> PreparedManifest:
    """One manifest of its parts, with audio paths relative to it."""
    skipped = [row for folder in folders for _, row in read_rows(folder / "skipped.jsonl", BadRecording)]
    if skipped and not skip_bad:
        raise _unusable(skipped[0])
    count, seconds, seen = 0, 0.0, set[str]()

    def rows() -> Iterator[Utterance]:
        nonlocal count, seconds
        for folder in folders:
            for _, row in read_rows(folder / "manifest.jsonl", Utterance):
                if row.id in seen:
                    raise DataError(f"{manifest}: the id {row.id!r} is there twice; fix the corpus's tables.")
                seen.add(row.id)
                count, seconds = count + 1, seconds + (row.duration_s or 0.0)
                yield row.model_copy(update={"audio": os.path.join(folder.relative_to(out), row.audio)})
        if not count:
            raise DataError(
                f"{manifest}: none of {len(skipped)} recordings can be used; see --skip_bad and the tables."
            )

    path = out / f"{manifest}.jsonl"
    write_rows(path, rows())
    _list_skipped(out, manifest, skipped)
    _say_left_out(manifest, folders)
    return PreparedManifest(path, count, seconds / 3600, len(skipped))


def _list_skipped(out: Path, manifest: str, skipped: Sequence[BadRecording]) -> None:
    """Bring skipped.jsonl up to date: it may tell of other manifests too."""
    path = out / "skipped.jsonl"
    others = [row for _, row in read_rows(path, BadRecording) if row.manifest != manifest] if path.exists() else []
    if others or skipped:
        write_rows(path, [*others, *skipped])
    else:
        path.unlink(missing_ok=True)


def _say_left_out(manifest: str, folders: Sequence[Path]) -> None:
    counts: Counter[str] = Counter()
    for folder in folders:
        counts.update({row.reason: row.count for _, row in read_rows(folder / "left_out.jsonl", ExcludedRecordings)})
    for reason, count in counts.items():
        _log.warning("%s: %d left out: %s.", manifest, count, reason)


def _unite(out: Path, name: str) -> None:
    """valid.jsonl: the validation rows of every corpus in `out`."""
    if (out / f"{name}.valid.jsonl").exists():
        manifests = sorted(out.glob("*.valid.jsonl"))
        write_rows(out / "valid.jsonl", (row for path in manifests for _, row in read_rows(path, Utterance)))
