"""The index says of every row what reading the whole manifest says, and notices every change."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.data.arrays import read_arrays, write_arrays
from dragoman.data.index import ManifestIndex, building, manifest_index, open_index
from dragoman.data.index.building import bit_set, named, numbered
from dragoman.errors import DataError, ManifestError, OutputError
from dragoman.records import Utterance, read_manifest, to_json_line, write_rows
from dragoman.text.languages import LANGUAGES

CODES = ["eng", "deu", "fra", "cmn", "quy"]
MANY = sorted(LANGUAGES)[::25]  # 317: more than a byte numbers, and five words of bits
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
ROW = st.fixed_dictionaries(
    {"language": st.sampled_from(CODES), "text": TEXT},
    optional={
        "sentence": st.sampled_from(["1", "2", "3", "ä"]),
        "translations": st.dictionaries(st.sampled_from(CODES), TEXT, max_size=3),
        "duration_s": st.floats(0.01, 99, allow_nan=False),
        "start_s": st.floats(0, 9),
    },
)


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    named_rows = [Utterance(id=f"{n}", audio=f"{n}.flac", **row) for n, row in enumerate(rows)]
    write_rows(folder / "train.jsonl", named_rows)
    return folder / "train.jsonl"


def joined(utterances: list[Utterance]) -> list[Utterance]:
    """What the index must find, the plain way: own translations first, else the first text of the same sentence."""
    texts: dict[str, dict[str, str]] = {}
    for utterance in utterances:
        if utterance.sentence is not None and utterance.text:
            texts.setdefault(utterance.sentence, {}).setdefault(utterance.language, utterance.text)
    found = []
    for utterance in utterances:
        own = {code: text for code, text in utterance.translations.items() if text}
        every = {**texts.get(utterance.sentence or "", {}), **own}
        every.pop(utterance.language, None)
        found.append(utterance.model_copy(update={"translations": every}))
    return found


@settings(max_examples=60)
@given(st.lists(ROW, max_size=12))
def test_it_says_what_the_whole_manifest_says(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    manifest = write(tmp_path_factory.mktemp("data"), rows)
    index, expected, read = open_index(manifest), joined(read_manifest(manifest)), read_manifest(manifest)
    assert len(index) == len(expected)
    for number, utterance in enumerate(expected):
        assert index.utterance(number, CODES) == utterance
        assert index.target_codes(number) == sorted(utterance.translations)
        assert index.languages[index.language[number]] == utterance.language
        assert index.letters[number] == len(utterance.text)
        assert index.duration_s[number] == utterance.duration_s or utterance.duration_s is None
        same = [one.text for one in read if one.sentence == utterance.sentence is not None]
        texts = [utterance.text, *read[number].translations.values(), *same]
        assert index.most_letters(np.array([number])) == [max(map(len, texts))]
    again = pickle.loads(pickle.dumps(index))
    assert all(again.utterance(n, CODES) == utterance for n, utterance in enumerate(expected))


def test_blank_lines_and_a_byte_order_mark_are_allowed(tmp_path: Path) -> None:
    rows = [json.dumps({"id": name, "audio": "x", "language": "deu"}) for name in "abc"]
    manifest = tmp_path / "train.jsonl"
    manifest.write_bytes(b"\xef\xbb\xbf" + f"{rows[0]}\r\n\r\n  \n{rows[1]}\n\n{rows[2]}".encode())
    index = open_index(manifest)
    assert [index.utterance(number, ["eng"]) for number in range(3)] == read_manifest(manifest)


GOOD = {"audio": "x", "language": "deu"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "a", **GOOD, "speaker": 1},
        {"id": "a", **GOOD, "duration_s": 0.0},
        {"id": "a", **GOOD, "duration_s": "3"},
        {"id": "a", "audio": "x", "language": "german"},
        {"id": "a", **GOOD, "translations": {"en": "x"}},
        {"id": "0", **GOOD},
        [1],
        "{",
        b"\xff",
    ],
)
@pytest.mark.parametrize("block", [1, 1 << 18])  # a block for each line, and one for all
def test_a_wrong_row_is_named_as_read_manifest_names_it(
    tmp_path: Path, wrong: Any, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "_BLOCK", block)
    lines = [json.dumps({"id": str(n), **GOOD}).encode() for n in range(5)]
    line = wrong if isinstance(wrong, bytes) else (wrong if wrong == "{" else json.dumps(wrong)).encode()
    manifest = tmp_path / "train.jsonl"
    manifest.write_bytes(b"\n".join([*lines[:3], b"", line, *lines[3:], line]))
    with pytest.raises(ManifestError) as expected:
        read_manifest(manifest)
    with pytest.raises(ManifestError) as found:
        open_index(manifest)
    assert str(found.value) == str(expected.value) and (wrong == b"\xff" or ":5: " in str(found.value))
    assert [path.name for path in tmp_path.iterdir()] == ["train.jsonl"]


def test_equal_hashes_are_no_equal_ids_and_no_equal_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"language": code, "text": code, "sentence": s} for code in ("eng", "deu") for s in ("1", "2")]
    monkeypatch.setattr(building, "hash", lambda text: 7, raising=False)
    index = open_index(write(tmp_path, rows))
    with pytest.raises(DataError, match="the sentences '2' and '1' have the same hash"):
        index.utterance(1, ["deu"])


def test_it_is_made_once_and_again_when_the_content_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []
    real = manifest_index.index_rows
    monkeypatch.setattr(manifest_index, "index_rows", lambda path, _: (made.append(path), real(path))[1])
    manifest = write(tmp_path, [{"language": "eng", "text": "one"}, {"language": "eng", "text": "two"}])
    first = open_index(manifest)
    open_index(manifest)
    os.utime(manifest, ns=(5, 5))  # copied: other times, the same content
    assert open_index(manifest).digest == first.digest and open_index(manifest).stamp.endswith(" 5")
    assert len(made) == 1

    manifest.write_text(manifest.read_text().replace("two", "new"))
    second = open_index(manifest)
    assert len(made) == 2 and second.digest != first.digest and second.utterance(1, []).text == "new"
    place = tmp_path / "train.jsonl.index"
    place.write_bytes(place.read_bytes()[:300])  # cut
    assert open_index(manifest).utterance(0, []).text == "one" and len(made) == 3


def test_a_change_while_it_is_in_use_is_an_error(tmp_path: Path) -> None:
    manifest = write(tmp_path, [{"language": "eng", "text": "one"}] * 2)
    index = open_index(manifest)
    packed = pickle.dumps(index)
    with open(manifest, "a") as file:
        file.write("\n")
    for reader in (index, pickle.loads(packed)):
        with pytest.raises(ManifestError, match=r"train\.jsonl: was changed while a run uses it"):
            reader.utterance(0, [])
    open_index(manifest)
    with pytest.raises(ManifestError, match="was changed"):
        pickle.loads(packed)


def test_a_folder_that_cannot_be_written_has_its_index_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("data"))
    (tmp_path / "data").mkdir()
    manifest = write(tmp_path / "data", [{"language": "eng", "text": "one"}])
    assert open_index(manifest).place.parent == tmp_path / "cache" / "dragoman"
    assert isinstance(open_index(manifest), ManifestIndex) and len(list((tmp_path / "data").iterdir())) == 1
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(
        OutputError, match=r"file/dragoman: cannot be written, and .* folder for caches in XDG_CACHE_HOME"
    ):
        open_index(manifest)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8"), max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["deu", "x"]), inner, max_size=2),
    max_leaves=3,
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from([*Utterance.model_fields, "other"]), JSON), st.binary(max_size=2))
def test_the_fast_reader_takes_nothing_that_an_utterance_is_not(values: dict[str, Any], spoilt: bytes) -> None:
    good: dict[str, Any] = {"id": "a", "audio": "b", "language": "eng"}
    for line in (
        json.dumps(good | values).encode(),
        json.dumps(good | values, ensure_ascii=False).encode()[:-1] + spoilt,
    ):
        try:
            fast = building._decoded(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        slow = Utterance.model_validate_json(line)
        assert {name: getattr(fast, name) for name in Utterance.model_fields} == slow.model_dump()


def test_the_fast_reader_takes_every_usual_row() -> None:
    row = Utterance(
        id="a", audio="b", language="eng", text="c", start_s=1, duration_s=2, sentence="d", translations={"deu": "e"}
    )
    assert msgspec.to_builtins(building._decoded(to_json_line(row).encode())) == row.model_dump()


@given(st.sets(st.sampled_from(MANY)), st.sets(st.sampled_from(MANY)))
def test_a_set_of_languages_is_as_wide_as_the_manifest_needs(held: set[str], wanted: set[str]) -> None:
    codes = sorted(held)
    bits = bit_set(wanted, numbered(codes))
    assert named(bits, codes) == sorted(held & wanted)
    assert len(bits) == max(1, -(-len(codes) // 64))


@settings(max_examples=20)
@given(st.lists(st.sampled_from(MANY), min_size=1), st.sets(st.sampled_from(MANY)), st.randoms())
def test_languages_are_numbered_by_manifest(
    tmp_path_factory: pytest.TempPathFactory, spoken: list[str], written: set[str], random: Random
) -> None:
    """What was written is read back, of any languages and however many; each manifest names its own."""
    texts = [{code: code for code in sorted(written) if random.random() < 0.5} for _ in spoken]
    rows = [{"language": code, "translations": own} for code, own in zip(spoken, texts, strict=True)]
    index = open_index(write(tmp_path_factory.mktemp("data"), rows))
    assert index.languages == tuple(sorted({*spoken, *(code for own in texts for code in own)}))
    assert index.written_sets.shape[1] == -(-len(index.languages) // 64)
    for row, (code, own) in enumerate(zip(spoken, texts, strict=True)):
        assert index.languages[index.language[row]] == code
        assert index.target_codes(row) == sorted(own.keys() - {code})


def test_an_index_of_an_earlier_version_is_made_anew(tmp_path: Path) -> None:
    manifest = write(tmp_path, [{"language": "quy", "text": "Allinllachu"}])
    place = open_index(manifest).place
    arrays, about = read_arrays(place)
    write_arrays(place, dict(arrays), {**about, "format": "1 afr amh ara"})
    assert open_index(manifest).languages == ("quy",) and read_arrays(place)[1] == about


def test_arrays_are_those_that_were_written_and_safetensors_reads_them(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    arrays = {
        "a": np.arange(5, dtype=np.uint8),
        "b": np.zeros((0, 2), np.uint64),
        "c": np.linspace(0, 1, 6).reshape(2, 3),
        "d": np.array([3, -1], np.int32),
    }
    write_arrays(tmp_path / "x", arrays, {"about": "ä"})
    read, about = read_arrays(tmp_path / "x")
    assert about == {"about": "ä"} and read.keys() == arrays.keys()
    for name, array in load_file(tmp_path / "x").items():
        np.testing.assert_array_equal(read[name], arrays[name])
        np.testing.assert_array_equal(array, arrays[name])
        assert read[name].dtype == arrays[name].dtype
    assert not read["a"].flags.writeable
