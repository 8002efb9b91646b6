"""The pages and docstrings speak of what there is: files, modules, names."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
MODULES = sorted((ROOT / "src").rglob("*.py"))
THEIRS = {
    "get_covost_splits.py",
    "ctranslate2/specs/model_spec.py",
    "eval_audio/evaluate_st.py",
    "examples/speech_to_text/docs/covost_example.md",
}
"""Files of other projects that we speak of."""


@cache
def files() -> tuple[str, ...]:
    """Of the tree: tracked ones where there is a repository, so that nothing that only one machine has is spoken of."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0 and listed.stdout:
        new = subprocess.run(["git", "ls-files", "-o", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
        return tuple(("/" + name) for name in (listed.stdout + new.stdout).splitlines())
    return tuple("/" + str(path.relative_to(ROOT)) for path in ROOT.rglob("*"))


def prose(path: Path) -> str:
    """A page; of a module its docstrings and comments, strings of several lines included."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    comments = [line.partition("#")[2] for line in text.splitlines() if "#" in line]
    return "\n".join([*re.findall(r'"""(.*?)"""', text, flags=re.DOTALL), *comments])


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_where_a_new_thing_goes_is_there(page: str) -> None:
    package = ROOT / "src" / "dragoman"
    rows = [line for line in (ROOT / page).read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    places = re.findall(r"`(\w+)` in `([\w/]+\.py)`", "\n".join(rows))
    assert len(places) >= 10
    for name, file in places:
        assert re.search(rf"^(?:class |    def )?{name}\b", (package / file).read_text(encoding="utf-8"), re.M), (
            name,
            file,
        )
    for folder in re.findall(r"`([\w/]+/)`", "\n".join(rows)):
        assert (package / folder).is_dir(), folder


@pytest.mark.parametrize("path", [*PAGES, *MODULES], ids=lambda path: str(path.relative_to(ROOT)))
def test_the_files_that_it_names_are_there(path: Path) -> None:
    named = set(re.findall(r"(?<!tee )(?<![\w/.{}<>*-])[\w-][\w/-]*\.(?:py|md|sh)\b", prose(path))) - THEIRS
    assert [name for name in named if not any(file.endswith("/" + name) for file in files())] == []


def imports() -> Iterator[tuple[Path, str, str]]:
    """(page, module, name) of every import from Dragoman in a page."""
    for page in PAGES:
        for module, names in re.findall(r"^ *from (dragoman[\w.]*) import ([\w, ]+)$", page.read_text(), re.MULTILINE):
            yield from ((page, module, name.strip()) for name in names.split(","))


def names_in(module: str) -> set[str]:
    """What a module defines or imports, at any depth; constants too."""
    path = ROOT / "src" / Path(*module.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            found |= {one.asname or one.name for one in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize(("page", "module", "name"), list(imports()))
def test_what_a_page_imports_is_there(page: Path, module: str, name: str) -> None:
    assert name in names_in(module), f"{page.name} imports it from {module}"


def leaves(nav: object) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for part in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from leaves(part)


def test_every_page_is_a_chapter() -> None:
    chapters = set(leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert chapters == pages, "give the new page its place in mkdocs.yml"


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "reference").glob("*.md")), ids=lambda path: path.stem)
def test_the_reference_is_of_what_there_is(path: Path) -> None:
    blocks = re.findall(r"^::: ([\w.]+)\n((?: .*\n|\n)*)", path.read_text(encoding="utf-8") + "\n", re.MULTILINE)
    assert blocks
    for name, options in blocks:
        module, _, last = name.rpartition(".")
        asked = [last] if last[:1].isupper() else []
        asked += re.findall(r"\w+", "".join(re.findall(r"members: \[(.*?)\]", options)))
        assert set(asked) <= names_in(module if last[:1].isupper() else name), name
