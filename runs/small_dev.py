"""What `small` is measured on, and how: shared by report_small.py and small_studies.py. Nothing here is trained on.

SPEECH is a folder of held-out human speech: `manifest.jsonl`, whose rows say whether a person speaks and which
translations there are, and `commonvoice/*/manifest.jsonl`.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dragoman.evaluation.intervals import Estimate
from dragoman.evaluation.runs import HYPOTHESES
from dragoman.files import digest_of_weights
from dragoman.model.load import model_folder
from dragoman.records import Hypothesis, Utterance, read_hypotheses, read_manifest, write_rows

_NOT_SENTENCES = "fsdd/"  # single digits, which Whisper writes as figures


@dataclass(frozen=True)
class Evaluator:
    """`dragoman evaluate` of one model: what was done before, with the same weights, recipe, rows and flags, is not
    done again."""

    model: str
    out: Path
    threads: int

    def __call__(self, name: str, manifest: Path, *flags: str) -> list[Hypothesis]:
        """The hypotheses of a manifest. Raises CalledProcessError where the command fails, which has said why."""
        model = model_folder(self.model)
        texts = (path.read_text(encoding="utf-8") for path in (model / "recipe.json", manifest))
        asked = [digest_of_weights(model), *texts, *flags]
        folder = self.out / f"{name}-{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:8]}"
        if not (folder / "scores.json").is_file():
            command = ("evaluate", str(manifest), "--model", self.model, "--out", str(folder), *flags)
            dragoman(*command, "--threads", str(self.threads))
        return read_hypotheses(folder / HYPOTHESES)


def dragoman(*arguments: str) -> None:
    """The command line, its tables left out. Raises CalledProcessError."""
    subprocess.run([sys.executable, "-m", "dragoman", *arguments], check=True, stdout=subprocess.DEVNULL)


def written(path: Path, rows: Sequence[Utterance]) -> Path:
    """A manifest, written anew only where it differs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or read_manifest(path) != list(rows):
        write_rows(path, rows)
    return path


def stories(speech: Path, sources: Collection[str], targets: Collection[str]) -> list[Utterance]:
    """Sentences of children's stories that people read aloud, with translations into the targets."""
    rows = [row for row in _read_aloud(speech) if row["translations"] and row["language"] in sources]
    return [_utterance(speech, row, targets) for row in rows]


def readings(speech: Path, sources: Collection[str]) -> list[Utterance]:
    """Sentences that people read aloud, without translations; Common Voice's are elsewhere (`common_voice`)."""
    rows = [row for row in _read_aloud(speech) if not row["translations"] and row["language"] in sources]
    return [_utterance(speech, row) for row in rows if not row["audio"].startswith(_NOT_SENTENCES)]


def common_voice(speech: Path, sources: Collection[str]) -> list[Utterance]:
    """Common Voice's clips, of speakers who are in no training data."""
    manifests = sorted((speech / "commonvoice").glob("*/manifest.jsonl"))
    rows = [row for manifest in manifests for row in read_manifest(manifest) if row.language in sources]
    return [row.model_copy(update={"audio": os.path.abspath(row.audio)}) for row in rows]


def parallel_texts(
    speech: Path, sources: Collection[str], targets: Collection[str], limit: int | None = None
) -> list[Utterance]:
    """The stories' sentences as texts: from every source into English, from English into every target; those of the
    first `limit` sentences."""
    sentences: dict[str, dict[str, str]] = {}
    for row in _read_aloud(speech):
        if row["translations"]:
            number = Path(row["audio"]).stem.partition("-")[
                2
            ]  # spa-0007-01: a sentence of a story, told in many languages
            known = sentences.setdefault(number, {})
            for code, text in {row["language"]: row["text"], **row["translations"]}.items():
                known.setdefault(code, text)
    found: list[Utterance] = []
    for number, texts in sorted(sentences.items())[:limit]:
        for source in sources:
            wanted = targets if source == "eng" else ["eng"]
            translations = {code: texts[code] for code in wanted if code in texts and code != source}
            if source in texts and translations:
                found.append(
                    Utterance(id=f"{source}-{number}", language=source, text=texts[source], translations=translations)
                )
    return found


def shown(estimate: Estimate | None, *, times: float = 1.0, signed: bool = False) -> str:
    """52.8 [47.1, 58.0]: the value and its 95 % interval."""
    if estimate is None:
        return "-"
    sign = "+" if signed else ""
    value, (low, high) = times * estimate.value, (times * end for end in estimate.interval)
    return f"{value:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def put_between_markers(page: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- /NAME -->` in a page."""
    old = page.read_text(encoding="utf-8")
    before, opening, rest = old.partition(f"<!-- {name} -->\n")
    _, closing, after = rest.partition(f"<!-- /{name} -->")
    if not opening or not closing:
        raise SystemExit(
            f"{page}: has no <!-- {name} --> with <!-- /{name} --> after it; put them where the text belongs."
        )
    page.write_text(f"{before}{opening}{text}{closing}{after}", encoding="utf-8")


def _read_aloud(speech: Path) -> list[dict[str, Any]]:
    """Rows of the manifest that are known to be a person's and to have a text."""
    rows = [json.loads(line) for line in (speech / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["human"] == "yes" and row["text"]]


def _utterance(speech: Path, row: dict[str, Any], targets: Collection[str] = ()) -> Utterance:
    translations = {code: row["translations"][code] for code in targets if code in row["translations"]}
    return Utterance(
        id=str(Path(row["audio"]).with_suffix("")),
        audio=os.path.abspath(speech / row["audio"]),
        language=row["language"],
        text=row["text"],
        duration_s=row["duration_s"],
        translations={code: text for code, text in translations.items() if code != row["language"]},
    )
