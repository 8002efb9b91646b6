"""A corpus of a dozen sentences in the layout of Tatoeba's root, written for the smoke test."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np

from dragoman.data.synthesis import write_flac

SENTENCES = (
    ("The cat sleeps.", "Die Katze schläft."),
    ("I drink cold water.", "Ich trinke kaltes Wasser."),
    ("Where is my book?", "Wo ist mein Buch?"),
    ("We go home now.", "Wir gehen jetzt nach Hause."),
    ("She sings every day.", "Sie singt jeden Tag."),
    ("The dog eats bread.", "Der Hund frisst Brot."),
    ("My father works here.", "Mein Vater arbeitet hier."),
    ("It rains again.", "Es regnet wieder."),
    ("They open the window.", "Sie öffnen das Fenster."),
    ("You have a red car.", "Du hast ein rotes Auto."),
    ("Give me the key!", "Gib mir den Schlüssel!"),
    ("Children play outside.", "Kinder spielen draußen."),
)
HELD_OUT = (("I open the book.", "Ich öffne das Buch."), ("The dog sleeps.", "Der Hund schläft."))


def write_tatoeba(root: Path) -> Path:
    """`train.multi.jsonl.gz`, `extra.bitext.jsonl.gz` (empty), `dev.jsonl` and the credits."""
    root.mkdir()
    (root / "train.multi.jsonl.gz").write_bytes(gzip.compress(_rows("t", SENTENCES).encode()))
    (root / "extra.bitext.jsonl.gz").write_bytes(gzip.compress(b""))
    (root / "dev.jsonl").write_text(_rows("d", HELD_OUT), encoding="utf-8")
    (root / "CREDITS.txt").write_text("written for this test", encoding="utf-8")
    return root


def write_noise(root: Path) -> Path:
    """A room that answers nothing and backgrounds that are almost silent."""
    for name in ("rir/a.wav", "gsc/a.wav", "kitchen.wav"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_flac(root / name, np.linspace(0.5, -0.5, 2000, dtype=np.float32))
    (root / "MANIFEST.tsv").write_text("written for this test", encoding="utf-8")
    return root


def _rows(prefix: str, pairs: tuple[tuple[str, str], ...]) -> str:
    rows = [
        {"id": f"{prefix}{number}", "eng": english, "deu": [german], "src": {"deu": "m"}}
        for number, (english, german) in enumerate(pairs)
    ]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
