"""Small corpora in the layouts that their publishers use, with real audio."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from layouts import sound, write_tsv


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of Common Voice: German with the columns of today, French with those of 2019. Read only."""
    root = tmp_path_factory.mktemp("release")
    today = ["client_id", "path", "sentence_id", "sentence", "sentence_domain", "up_votes", "locale"]
    clips = [f"common_voice_de_{number}.mp3" for number in range(8)]
    sentences = [f"Satz Nummer {number}." for number in range(8)]
    sentences[1] = r"Er sagte: \"Ja\"."

    def german(numbers: Iterable[int]) -> list[list[object]]:
        rows = [[f"speaker{n}", clips[n], f"hash{n}", sentences[n], "", 2, "de"] for n in numbers]
        return [today, *rows]

    for name, numbers in {"train": (0, 1, 2), "dev": (3,), "test": (4,), "validated": range(8)}.items():
        write_tsv(root / f"de/{name}.tsv", german(numbers))
    with open(root / "de/validated.tsv", "a", encoding="utf-8") as more:  # by a speaker of test, and a sentence of dev
        more.write("speaker4\tcommon_voice_de_8.mp3\th\tAnderes.\t\t2\tde\n")
        more.write(f"speaker9\tcommon_voice_de_9.mp3\th\t{sentences[3]}\t\t2\tde\n")
    old = ["path", "client_id", "sentence", "up_votes", "down_votes", "age", "gender", "accent"]
    rows = [[f"common_voice_fr_{n}.mp3", f"s{n}", f"Phrase {n}.", 2, 0, "", "", ""] for n in range(3)]
    for name, chosen in {"train": rows[:1], "dev": rows[1:2], "test": rows[2:], "validated": rows}.items():
        write_tsv(root / f"fr/{name}.tsv", [old, *chosen])
    content = sound(0.6, "mp3", 32_000)
    for name in [*(f"de/clips/{clip}" for clip in clips), *(f"fr/clips/{row[0]}" for row in rows)]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root
