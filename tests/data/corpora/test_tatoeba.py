"""Tatoeba: the licence, the domain, no leaks, and a run that can be broken off anywhere."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from dragoman.data.corpora import tatoeba
from dragoman.data.corpora.tatoeba import (
    SeenTexts,
    Sentence,
    TextDomain,
    hold_out,
    merge,
    normalize,
    plan,
    prepare,
    prepare_text,
    read_sentences,
    read_splits,
    words,
)
from dragoman.data.synthesis import HELD_OUT_VARIANTS, RecordingShard, record_shard, recording, write_flac
from dragoman.errors import DataError
from dragoman.recipe import TatoebaConfig
from dragoman.records import read_manifest

LANGUAGES = ("eng", "deu", "fra")
SETTINGS = TatoebaConfig(
    languages=LANGUAGES, max_words=4, vocabulary=100, clips_per_language=6, valid_sentences=1, seed=1
)
TRAIN = [
    {"id": "t0", "eng": "I see.", "deu": ["Ich sehe."], "fra": ["Je vois."], "src": {"deu": "m", "fra": "mo"}},
    {"id": "t1", "eng": "Go on.", "deu": ["Weiter."], "fra": ["Continue.", "Continuez."],
     "src": {"deu": "l", "fra": "m"}},
    {"id": "t2", "eng": "Come in!", "deu": ["Herein!", "Komm rein!"], "fra": ["Entrez !"],
     "src": {"deu": "m", "fra": "m"}},
    {"id": "t3", "eng": "This is a very long sentence.", "deu": ["Lang."], "src": {"deu": "m"}},
]  # fmt: skip
EXTRA = [
    {"id": "x0", "eng": "I  see.", "deu": ["Ich sehe.", "Ich verstehe."], "src": {"deu": "m"}},
    {"id": "x1", "eng": "Good night.", "deu": ["Gute Nacht."], "src": {"deu": "m"}},
    {"id": "x2", "eng": "Bye.", "deu": ["Gute Nacht!"], "src": {"deu": "m"}},
    {"id": "x3", "eng": "Really?", "spa": ["¿De verdad?"], "src": {"spa": "m"}},
    {"id": "x4", "eng": "Come on.", "deu": ["Komm."], "src": {"deu": "m"}},
]
DEV = [
    {"id": "d0", "eng": "Sleep well.", "deu": ["Schlaf gut.", "gute NACHT"], "src": {"deu": "l"}},
    {"id": "d1", "eng": "I come.", "deu": ["Ich komm."], "src": {"deu": "m"}},
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "tatoeba"
    folder.mkdir()
    for name, rows in (("train.multi.jsonl.gz", TRAIN), ("extra.bitext.jsonl.gz", EXTRA)):
        (folder / name).write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    (folder / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in DEV), encoding="utf-8")
    (folder / "CREDITS.txt").write_text("CK, Martha", encoding="utf-8")
    return folder


@pytest.fixture
def noise_root(tmp_path: Path) -> Path:
    folder = tmp_path / "noise"
    for name in ("rir/a.wav", "gsc/a.wav", "kitchen.wav"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_flac(folder / name, np.linspace(0.5, -0.5, 2000, dtype=np.float32))
    (folder / "MANIFEST.tsv").write_text("kitchen.wav\tApache-2.0", encoding="utf-8")
    return folder


def sentence(name: str, **texts: str) -> Sentence:
    return Sentence(id=name, texts={code: tuple(text.split("|")) for code, text in texts.items()})


def test_texts_are_normalized() -> None:
    assert normalize(" J\u2019ai  vu\u202f!\xa0 ") == "J'ai vu !"
    assert normalize("e\u0301te\u0301") == "été"
    assert words("Peux-tu l'ouvrir, « Tom » ?") == ["peux", "tu", "l'ouvrir", "tom"]


def test_only_licensed_translations_are_read(root: Path) -> None:
    rows = {row.id: row.texts for row in read_sentences(root / "train.multi.jsonl.gz", LANGUAGES)}
    assert rows["t0"] == {"eng": ("I see.",), "deu": ("Ich sehe.",), "fra": ("Je vois.",)}
    assert rows["t1"] == {"eng": ("Go on.",), "fra": ("Continue.", "Continuez.")}
    assert list(rows["t2"]) == ["eng", "deu", "fra"]


def test_the_same_english_is_one_sentence() -> None:
    united = merge([sentence("a", eng="Hi.", deu="Hallo."), sentence("b", eng="Hi.", deu="Hallo.|Hi.", fra="Salut.")])
    assert united == [sentence("a", eng="Hi.", deu="Hallo.|Hi.", fra="Salut.")]


def test_the_domain_is_short_texts_of_frequent_words() -> None:
    training = [sentence("a", eng="go go stop now", deu="los los halt"), sentence("b", eng="go stop|x x x x x x")]
    domain = TextDomain(training, max_words=4, vocabulary=2)
    assert domain.vocabulary == {"eng": {"go", "stop"}, "deu": {"los", "halt"}}
    assert ("eng", "Go, STOP!") in domain
    outside = [("eng", "now"), ("eng", "x"), ("eng", "go go go go go"), ("eng", "..."), ("eng", "go 2"), ("fra", "go")]
    assert not [item for item in [*outside, ("eng", "go + stop"), ("eng", "$ go")] if item in domain]


def test_a_sentence_needs_english_and_one_more() -> None:
    domain = TextDomain([sentence("a", eng="go", deu="los", fra="va")], max_words=2, vocabulary=9)
    wide = sentence("b", eng="go", deu="los|los los los|halt", fra="cours")
    assert domain.narrow(wide) == sentence("b", eng="go", deu="los")
    assert domain.narrow(sentence("c", eng="go", deu="halt")) is None
    assert domain.narrow(sentence("d", eng="run", deu="los", fra="va")) is None


def test_seen_ignores_case_punctuation_and_spaces_but_not_the_language() -> None:
    seen = SeenTexts([sentence("a", eng="Ah, so!", deu="Straße?")])
    assert sentence("b", eng="ah so") in seen
    assert sentence("c", eng="No.", deu="Weg.|STRASSE") in seen
    assert sentence("d", eng="No.", fra="ah so") not in seen


def test_the_sentences_with_most_languages_are_held_out_without_leaks() -> None:
    rich = [sentence(f"r{number}", eng=f"rich {number}", deu=f"reich {number}", fra="riche") for number in range(4)]
    poor = [sentence("p0", eng="poor", deu="arm"), sentence("p1", eng="wealthy", fra="Riche!")]
    train, valid = hold_out([*rich, *poor], 2, seed=1)
    assert len(valid) == 2 and {row.id[0] for row in valid} == {"r"}
    assert [row.id for row in train] == ["p0"]  # the others share "riche" with validation
    assert hold_out([*rich, *poor], 2, seed=1) == (train, valid)


def test_splits_of_the_true_layout(root: Path) -> None:
    splits = read_splits(root, SETTINGS)
    assert {row.id for row in splits["train"] + splits["valid"]} == {"t0", "t1", "t2", "x4"}
    assert splits["valid"][0].id in {"t0", "t2"}
    merged = next(row for row in splits["train"] + splits["valid"] if row.id == "t0")
    assert merged.texts["deu"] == ("Ich sehe.", "Ich verstehe.")
    # d0 has no licensed translation, yet its texts kept x1 and x2 out of training
    assert [row.id for row in splits["dev"]] == ["d1"]


def test_what_cannot_be_read_names_file_and_line(root: Path) -> None:
    with open(root / "dev.jsonl", "a", encoding="utf-8") as dev:
        dev.write('{"id": "d9"}\n')
    with pytest.raises(DataError, match=r"dev\.jsonl:3: not a Tatoeba row"):
        list(read_sentences(root / "dev.jsonl", LANGUAGES))
    with pytest.raises(DataError, match=r"nothing\.gz: cannot be read"):
        list(read_sentences(root / "nothing.gz", LANGUAGES))


@pytest.mark.parametrize("languages", [("deu", "fra"), ("eng",), ("eng", "deu", "deu"), ("eng", "xxx")])
def test_settings_need_english_and_known_languages(languages: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError):
        TatoebaConfig.model_validate({**SETTINGS.model_dump(), "languages": languages})


def test_training_goes_round_the_variants_and_stops_at_the_limits() -> None:
    few = [sentence("a", eng="one|uno", deu="eins"), sentence("b", eng="two", deu="zwei")]
    lines = list(plan(few, "train", SETTINGS.model_copy(update={"languages": ("eng", "deu")})))
    spoken = [line.utterance for line in lines]
    assert Counter(row.language for row in spoken) == {"eng": 6, "deu": 6}
    assert max(Counter(row.text for row in spoken).values()) <= tatoeba.MAX_CLIPS_PER_TEXT
    assert {row.text for row in spoken if row.sentence == "a"} == {"one", "uno", "eins"}
    assert len({row.id for row in spoken}) == 12
    everything = plan(few, "train", SETTINGS.model_copy(update={"clips_per_language": 100}))
    assert Counter(line.utterance.text for line in everything) == dict.fromkeys(
        ("one", "uno", "two", "eins", "zwei"), 4
    )


def test_a_language_may_have_another_number_of_clips() -> None:
    rows = [sentence(f"{number}", eng=f"{number}", deu=f"{number}") for number in range(9)]
    settings = SETTINGS.model_copy(update={"languages": ("eng", "deu")})
    many, fewer = (
        [line.utterance for line in plan(rows, "train", settings.model_copy(update={"clips_of": clips_of}))]
        for clips_of in ({}, {"deu": 2})
    )
    assert Counter(row.language for row in fewer) == {"eng": 6, "deu": 2}
    assert fewer == many[:8]  # the same clips, not others
    for wrong in ({"clips_of": {"deu": -1}}, {"clips_of": {"dut": 2}}, {"spoken_first": ["dut"]}):
        with pytest.raises(ValidationError, match=r"greater than or equal to 0|'dut' is not among"):
            TatoebaConfig.model_validate({**settings.model_dump(), **wrong})


def test_sentences_of_some_languages_come_first_in_all() -> None:
    rows = [sentence(f"{number}", eng=f"{number}", deu="eins") for number in range(9)]
    rows[5] = sentence("5", eng="5", fra="cinq")
    few = SETTINGS.model_copy(update={"clips_per_language": 3})
    english = [line.utterance.id for line in plan(rows, "train", few) if line.utterance.language == "eng"]
    fra_first = plan(rows, "train", few.model_copy(update={"spoken_first": ("fra",)}))
    assert "5-eng-0" not in english
    expected = ["5-eng-0", *english[:2]]
    assert [line.utterance.id for line in fra_first if line.utterance.language == "eng"] == expected


def test_evaluation_is_spoken_once_in_held_out_voices() -> None:
    rows = [sentence("a", eng="one", deu="eins|ein"), sentence("b", eng="two", fra="deux")]
    lines = list(plan(rows, "dev", SETTINGS))
    assert [line.utterance.id for line in lines] == ["a-eng-0", "b-eng-0", "a-deu-0", "b-fra-0"]
    assert {line.voice.variant for line in lines} <= set(HELD_OUT_VARIANTS)
    assert lines[0].utterance.translations == {"deu": "eins"}


# ------------------------------------------------------------------------------------------- the speech


def alone(shards: Sequence[RecordingShard], noise_root: Path, seed: int, workers: int) -> Iterator[RecordingShard]:
    """`record` in this process."""
    return (shard if shard.folder.exists() else record_shard(shard, noise_root, seed) for shard in shards)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("espeakng_loader", reason="Speaking needs espeak-ng: pip install 'dragoman[synthesis]'.")
    monkeypatch.setattr(tatoeba, "CLIPS_PER_SHARD", 4)
    monkeypatch.setattr(tatoeba, "record", alone)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("small_shards")
def test_a_run_gives_manifests_that_point_at_audio(root: Path, noise_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(root, noise_root, out, SETTINGS, workers=1)
    for split in tatoeba.SPLITS:
        rows = read_manifest(out / f"{split}.jsonl")
        assert rows and all(Path(row.audio).is_file() and row.duration_s and row.translations for row in rows)
    assert "audio/train/000/" in (out / "train.jsonl").read_text(encoding="utf-8")
    assert (out / "CREDITS.txt").read_text(encoding="utf-8") == "CK, Martha"
    with pytest.raises(DataError, match="other settings"):
        prepare(root, noise_root, out, SETTINGS.model_copy(update={"seed": 2}), workers=1)
    (out / "settings.json").unlink()  # as a folder of fleurs or the like
    with pytest.raises(DataError, match=r"holds another corpus \(valid\.jsonl\)"):
        prepare(root, noise_root, out, SETTINGS, workers=1)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("clips_before_the_end", [0, 3, 9])
def test_a_run_broken_off_goes_on_to_the_same_end(
    root: Path, noise_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clips_before_the_end: int
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    prepare(root, noise_root, whole, SETTINGS, workers=1)

    written: list[Path] = []

    def die(path: Path, samples: Any) -> None:
        if len(written) == clips_before_the_end:
            path.write_bytes(b"half a fi")
            raise KeyboardInterrupt
        written.append(path)
        write_flac(path, samples)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(recording, "write_flac", die)
        prepare(root, noise_root, broken, SETTINGS, workers=1)
    assert not (broken / "train.jsonl").exists()
    finished = {path: path.stat().st_mtime_ns for path in broken.glob("audio/*/*[0-9]/*")}

    prepare(root, noise_root, broken, SETTINGS, workers=1)
    assert tree(broken) == tree(whole)
    assert all(path.stat().st_mtime_ns == time for path, time in finished.items())


def test_text_is_not_read_again(root: Path, tmp_path: Path) -> None:
    first = prepare_text(root, tmp_path, SETTINGS)
    (root / "dev.jsonl").unlink()
    assert prepare_text(root, tmp_path, SETTINGS) == first
