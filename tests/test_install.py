"""`pip install dragoman` without extras translates, shows every help, and names the extra that something else needs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from importlib.metadata import Distribution, PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dragoman import __version__

ROOT = Path(__file__).parents[1]
EXAMPLE, MANIFEST = ROOT / "examples" / "english-wav.wav", ROOT / "examples" / "manifest.jsonl"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

WITHOUT = """
from importlib.machinery import PathFinder

found = PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in {absent!r} else found(name, path, target)
PathFinder.find_spec = find_spec
"""
HELPS = """
from dragoman.cli import app
from typer.main import get_command

def verbs(command, before):
    yield before
    for name, verb in getattr(command, "commands", {}).items():
        yield from verbs(verb, [*before, name])

for words in verbs(get_command(app), []):
    app([*words, "--help"], standalone_mode=False)
    print("END OF", " ".join(words))
"""
CALLS = """
import json
import sys
from dragoman.cli import app
from dragoman.errors import MissingExtraError

for words in json.loads(sys.argv[1]):
    try:
        app(words, standalone_mode=False)
    except MissingExtraError as error:
        print(error)
"""
TRANSLATE = ["translate", str(EXAMPLE), "--to", "deu", "--json", "--device", "cpu"]

NEED = {
    "score MANIFEST": "evaluate",
    "compare MANIFEST MANIFEST": "evaluate",
    "evaluate MANIFEST --to deu --out OUT": "evaluate",
    "report MANIFEST --out OUT": "evaluate",
    "train tiny --data OUT --out OUT": "train",
    "bases tiny --data OUT --out OUT": "train",
    "finetune seamless-m4t-v2-large MANIFEST --to deu --out OUT --steps 1": "train",
    "live --to deu": "live",
    "translate MANIFEST --to deu --engine ray --output_dir OUT": "ray",
}


def needed(requirements: list[str]) -> dict[str, Distribution]:
    """The installed distributions that these ask for, and those that they ask for."""
    waiting, found = [(Requirement(text), "") for text in requirements], dict[tuple[str, str], Distribution]()
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        for wanted in ("", *requirement.extras):
            name = canonicalize_name(requirement.name)
            if (name, wanted) not in found:
                try:
                    found[name, wanted] = distribution(name)
                except PackageNotFoundError:
                    continue  # pip may take another build than PyPI's, as torch's for CPUs, which asks for less
                waiting += [(Requirement(text), wanted) for text in found[name, wanted].requires or []]
    return {name: one for (name, _), one in found.items()}


@pytest.fixture(scope="module")
def bare() -> dict[str, Distribution]:
    return needed(PROJECT["dependencies"])


def run(*arguments: str | Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run([*map(str, arguments)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_helps(printed: str) -> None:
    texts = printed.split("END OF")
    assert "END OF prepare fleurs" in printed and "END OF live" in printed
    assert all("--help" in text for text in texts[:-1]) and len(texts) > 20


def check_translation(printed: str) -> None:
    assert json.loads(printed)["segments"][0]["translations"]["deu"]


def test_no_package_is_asked_for_twice() -> None:
    extras = PROJECT["optional-dependencies"]
    for group in (PROJECT["dependencies"], *extras.values()):
        names = [canonicalize_name(Requirement(text).name) for text in group]
        assert len(set(names)) == len(names)
    (everything,) = extras["all"]
    assert Requirement(everything).extras == set(extras) - {"all", "dev", "docs"}


def test_without_the_packages_of_extras_it_translates_or_says_which_is_missing(
    bare: dict[str, Distribution], tmp_path: Path
) -> None:
    absent = {
        module
        for module, owners in packages_distributions().items()
        if not {*map(canonicalize_name, owners)} & {*bare, "dragoman", "pip", "setuptools"}
    }
    assert {"sacrebleu", "jiwer", "matplotlib", "tensorboard", "pyarrow", "pytest"} <= absent
    assert not {"torch", "numpy", "typer"} & absent
    without = WITHOUT.format(absent=absent | {"sounddevice"})
    check_helps(run(sys.executable, "-c", without + HELPS))

    lines = [line.replace("MANIFEST", str(MANIFEST)).replace("OUT", str(tmp_path)).split() for line in NEED]
    *said, translated = run(sys.executable, "-c", without + CALLS, json.dumps([*lines, TRANSLATE])).splitlines()
    check_translation(translated)
    for sentence, extra in zip(said, NEED.values(), strict=True):
        assert re.search(rf"needs [a-z_]+: run `pip install 'dragoman\[{extra}\]'`", sentence), sentence


@pytest.mark.slow
def test_a_wheel_alone_translates(bare: dict[str, Distribution], tmp_path: Path) -> None:
    """In an environment of its own, into which what it depends on is linked, and nothing else."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, copy_of_tree(tmp_path))
    (wheel,) = tmp_path.glob("dragoman-*.whl")
    assert wheel.name.startswith(f"dragoman-{__version__}-")
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    run(*pip, "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    for one in bare.values():
        for top in {file.parts[0] for file in one.files or ()} - {"..", "__pycache__", "bin"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(Path(str(one.locate_file(top))).resolve())
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    check_translation(run(packages.parents[2] / "bin" / "dragoman", *TRANSLATE, environment=environment))
    check_helps(run(python, "-I", "-c", HELPS, environment=environment))


def copy_of_tree(folder: Path) -> Path:
    """What a wheel is built from; the build leaves files beside it."""
    shutil.copytree(ROOT / "src", folder / "tree" / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "tree" / name)
    return folder / "tree"
