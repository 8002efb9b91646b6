"""Manifests of short clips -> one manifest of these clips and of long ones, made of neighbours joined.

Most corpora of read speech hold a sentence a clip; what is to be heard later is longer. Neighbours in a manifest are
mostly one reader's. The clips themselves stay where they are.

    OUT/human.jsonl       the clips, then the joined ones
    OUT/audio/human/…     the joined ones, below a digest of what they are made of
"""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from dragoman.data.corpora.parts import Corpus, digest
from dragoman.data.synthesis import PAUSE_S, RecordedVoice, SpokenLine, generator, into_shards, joined, record
from dragoman.data.synthesis.recording import SHARD_MANIFEST
from dragoman.errors import DataError
from dragoman.progress import OnProgress, no_progress
from dragoman.records import Utterance, read_manifest, read_rows, write_rows

CORPUS = Corpus(
    name="joined",
    title="Clips of other manifests, joined",
    citation="Say here whose recordings these are.",
    licence="That of the clips that are joined",
    homepage="-",
    languages=(),
    how="dragoman prepare joined data/common_voice.jsonl --name long --out data",
)
LONGEST_S = 20.0
CLIPS_PER_SHARD = 200
_PLAUSIBLE = (0.2, 2.5)
"""Characters a second, against the median of the language: outside of it text and sound can hardly agree."""
_log = logging.getLogger(__name__)


class JoinConfig(BaseModel):
    """What is joined, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(min_length=1)
    languages: tuple[str, ...] = ()
    """ISO 639-3; all by default."""
    rounds: int = Field(ge=0)
    """How many times each clip goes into a joined one, with other neighbours each time."""
    joined_s: tuple[float, float] = (8.0, 19.0)
    """About how long the joined ones last."""
    seed: int = Field(ge=0)


def prepare(
    manifests: Sequence[Path],
    noise_root: Path | None,
    out: Path,
    joining: JoinConfig,
    workers: int,
    on_progress: OnProgress = no_progress,
) -> Path:
    """Write the manifest of all clips and joined clips into `out` and return its path; goes on where a run stopped.

    Clips whose text is far too long or too short for what is heard are left out, counted and said. Raises DataError
    where nothing is left, ManifestError for a wrong row.
    """
    corpora = _plausible([_read(path, joining.languages) for path in manifests])
    named = ((f"{joining.name}-{number:03d}", rows) for number, rows in enumerate(corpora))
    lines = [line for name, rows in named for line in plan(rows, name, joining)]
    folder = out / "audio" / joining.name / digest([(line.utterance, line.parts) for line in lines])
    shards = into_shards(lines, folder, CLIPS_PER_SHARD)
    recorded = record(shards, noise_root, joining.seed, workers)
    for number, _ in enumerate(recorded, 1):
        on_progress(joining.name, number, len(shards))
    singles = [row.model_copy(update={"audio": os.path.abspath(row.audio)}) for rows in corpora for row in rows]
    long = [
        row.model_copy(update={"audio": str((shard.folder / row.audio).relative_to(out))})
        for shard in shards
        for _, row in read_rows(shard.folder / SHARD_MANIFEST, Utterance)
    ]
    path = out / f"{joining.name}.jsonl"
    write_rows(path, [*singles, *long])
    return path


def _read(manifest: Path, languages: Sequence[str]) -> list[Utterance]:
    rows = [row for row in read_manifest(manifest) if not languages or row.language in languages]
    for row in rows:
        if row.duration_s is None:
            raise DataError(
                f"{manifest}: {row.id!r} has no duration_s; prepare the corpus with `dragoman prepare table`."
            )
    return rows


def _plausible(corpora: Sequence[list[Utterance]]) -> list[list[Utterance]]:
    """The rows whose text is about as long as what is heard."""
    rates: dict[str, list[float]] = defaultdict(list)
    for row in (row for rows in corpora for row in rows):
        rates[row.language].append(_rate(row))
    if not rates:
        raise DataError("There is no clip in these languages; check the manifests and --languages.")
    usual = {code: median(of_language) for code, of_language in rates.items()}
    low, high = _PLAUSIBLE
    kept = [[row for row in rows if low <= _rate(row) / (usual[row.language] or 1) <= high] for rows in corpora]
    if dropped := sum(map(len, corpora)) - sum(map(len, kept)):
        _log.warning("%d clips left out: their text is far too long or too short for them.", dropped)
    return kept


def _rate(row: Utterance) -> float:
    """Characters a second."""
    return len(row.text) / (row.duration_s or 1.0)


def plan(rows: Sequence[Utterance], name: str, joining: JoinConfig) -> Iterator[SpokenLine]:
    """Part the rows of a manifest into runs of neighbours, `rounds` times."""
    by_language: dict[str, list[Utterance]] = defaultdict(list)
    for row in rows:
        if row.start_s == 0.0:
            by_language[row.language].append(row)
    for code, of_language in by_language.items():
        for turn in range(joining.rounds):
            rng = generator(joining.seed, "join", name, code, str(turn))
            for number, run in enumerate(_runs(of_language, joining, rng)):
                parts = [{code: row.text, **row.translations} for row in run]
                row = joined(f"{name}-{code}-{turn}-{number:04d}", code, parts)
                yield SpokenLine(row, RecordedVoice(code), tuple(os.path.abspath(row.audio) for row in run))


def _runs(rows: Sequence[Utterance], joining: JoinConfig, rng: np.random.Generator) -> Iterator[list[Utterance]]:
    """Runs of at least two rows, from a random start round the whole."""
    start = int(rng.integers(len(rows)))
    run: list[Utterance] = []
    lasts_s, goal_s = 0.0, rng.uniform(*joining.joined_s)
    for row in (*rows[start:], *rows[:start]):
        takes_s = (row.duration_s or 0.0) + sum(PAUSE_S) / 2
        if run and lasts_s + takes_s > min(goal_s, LONGEST_S):
            if len(run) > 1:
                yield run
            run, lasts_s, goal_s = [], 0.0, rng.uniform(*joining.joined_s)
        run.append(row)
        lasts_s += takes_s
    if len(run) > 1:
        yield run
