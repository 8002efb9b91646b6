"""Spoken sentences: no sentence in two splits, licences kept apart, a run that can be broken off anywhere."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from dragoman.data.corpora.voices import LONGEST_S, SPLITS, SynthesisConfig, plan, prepare, read_texts
from dragoman.data.synthesis import PicoVoice, recording, write_flac
from dragoman.errors import DataError
from dragoman.records import read_manifest

SPOKEN = SynthesisConfig(
    engine="pico",
    languages=("eng", "deu"),
    targets=("eng", "deu", "fra"),
    clips=6,
    valid_clips=2,
    joined=0.5,
    joined_s=(4.0, 6.0),
    valid_sentences=4,
    clips_per_shard=5,
    seed=1,
)
NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def rows(prefix: str, flags: dict[str, str]) -> list[dict[str, Any]]:
    """A hundred sentences, told apart by two numbers."""
    return [
        {
            "id": f"{prefix}{first}-{second}",
            "eng": f"{prefix} says {first} and {second}.",
            "deu": [f"{prefix} sagt {first} und {second}."],
            "fra": [f"{prefix} dit {first} et {second}."],
            "src": flags,
        }
        for first in NUMBERS
        for second in NUMBERS
    ]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "tatoeba"
    folder.mkdir()
    files = {
        "train.multi.jsonl.gz": rows("Anna", {"deu": "m", "fra": "l"}),
        "extra.bitext.jsonl.gz": rows("Otto", {"deu": "o", "fra": "m"}),
    }
    for name, lines in files.items():
        (folder / name).write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    dev = rows("Anna", {"deu": "m"})[0]
    (folder / "dev.jsonl").write_text(json.dumps(dev) + "\n", encoding="utf-8")
    (folder / "CREDITS.txt").write_text("CK, Martha", encoding="utf-8")
    return folder


@pytest.mark.parametrize("joined", [0.0, 0.5, 1.0])
def test_translations_of_joined_clips_are_those_of_their_parts(root: Path, joined: float) -> None:
    settings = SPOKEN.model_copy(update={"joined": joined, "clips": 30})
    texts = read_texts(root, settings)["train"]
    translated = {sentence.texts[code][0]: sentence.texts for sentence in texts.sentences for code in ("eng", "deu")}
    lengths = set()
    for planned in plan(texts, "train", settings):
        row, parts = planned.line.utterance, planned.line.parts
        lengths.add(len(parts) > 1)
        assert row.text == " ".join(parts) and row.translations.keys() == {"eng", "deu", "fra"} - {row.language}
        for code, text in row.translations.items():
            assert text == " ".join(translated[part][code][0] for part in parts)
    assert lengths == {0.0: {False}, 0.5: {False, True}, 1.0: {True}}[joined]


def test_no_sentence_is_in_two_splits_whatever_the_seed(root: Path) -> None:
    said: dict[str, set[str]] = {split: set() for split in SPLITS}
    for seed in (1, 2):
        settings = SPOKEN.model_copy(update={"seed": seed, "clips": 40})
        texts = read_texts(root, settings)
        for split in SPLITS:
            lines = [planned.line for planned in plan(texts[split], split, settings)]
            assert all(isinstance(line.voice, PicoVoice) for line in lines)
            said[split] |= {part for line in lines for part in line.parts}
    assert said["train"] and said["valid"] and not said["train"] & said["valid"]
    assert not {"Anna says one and one.", "Anna sagt one und one."} & (said["train"] | said["valid"])  # of dev


def test_what_has_no_licence_is_kept_apart(root: Path) -> None:
    settings = SPOKEN.model_copy(update={"clips": 60})
    for planned in plan(read_texts(root, settings)["train"], "train", settings):
        row, licensed = planned.line.utterance, planned.licensed
        anna, otto = "Anna" in row.text, "Otto" in row.text
        if row.language == "deu" and otto:
            assert licensed is None
        else:
            assert licensed is not None and licensed.text == row.text
            allowed = {"eng"} | ({"deu"} if not otto else set()) | ({"fra"} if not anna else set())
            assert licensed.translations.keys() == allowed - {row.language}


def test_every_sentence_is_spoken_before_there_is_nothing_left(root: Path) -> None:
    settings = SPOKEN.model_copy(update={"clips": 1000, "joined": 0.6})
    texts = read_texts(root, settings)["train"]
    lines = [planned.line for planned in plan(texts, "train", settings)]
    for code in settings.languages:
        said = [part for line in lines if line.voice.language == code for part in line.parts]
        assert len(said) == len(set(said)) and len(said) > 0.9 * len(texts.sentences)


# ------------------------------------------------------------------------------------------- the speech


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("clips_before_the_end", [0, 3, 11])
def test_a_run_broken_off_goes_on_to_the_same_end(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clips_before_the_end: int
) -> None:
    pytest.importorskip("py_nanotts", reason="Speaking with Pico needs py-nanotts: pip install 'dragoman[synthesis]'.")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    manifests = prepare(root, None, whole, SPOKEN, workers=1)
    for path in manifests:
        for row in read_manifest(path):
            assert Path(row.audio).is_file() and row.duration_s and row.duration_s < LONGEST_S
    assert {path.name for path in manifests} == {
        f"pico{ending}.jsonl" for ending in ("", ".all", ".valid", ".valid.all")
    }

    written: list[Path] = []

    def die(path: Path, samples: Any) -> None:
        if len(written) == clips_before_the_end:
            path.write_bytes(b"half a fi")
            raise KeyboardInterrupt
        written.append(path)
        write_flac(path, samples)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(recording, "write_flac", die)
        prepare(root, None, broken, SPOKEN, workers=1)
    prepare(root, None, broken, SPOKEN, workers=1)
    assert tree(broken) == tree(whole)


def test_what_cannot_be_is_said_in_one_sentence(root: Path, tmp_path: Path) -> None:
    for change, says in (
        ({"engine": "nobody"}, "There is no engine 'nobody'; choose one of espeak, pico, kokoro"),
        ({"languages": ("por",)}, "pico does not speak 'por'; it speaks eng, deu, fra, spa, ita"),
        ({"languages": ("spa",)}, "add it to --targets"),
    ):
        with pytest.raises(DataError, match=says):
            prepare(root, None, tmp_path / "out", SPOKEN.model_copy(update=change), workers=1)
    nothing = SPOKEN.model_copy(update={"clips": 0, "valid_clips": 0})
    assert prepare(root, None, tmp_path / "out", nothing, workers=1) == []
    with pytest.raises(DataError, match="was begun with other settings"):
        prepare(root, None, tmp_path / "out", SPOKEN, workers=1)
    (root / "CREDITS.txt").unlink()
    with pytest.raises(DataError, match="the licence asks for it"):
        prepare(root, None, tmp_path / "other", nothing, workers=1)
