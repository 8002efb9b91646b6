"""What keeps the house in order: imports point one way, recipes load, scoring stays light, functions stay short."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from dragoman.recipe import load_recipe, names

PACKAGE = Path(__file__).parents[1] / "src" / "dragoman"
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 60
MOST_FILES = 13
"""Beside `__init__.py`."""

# What each part may import besides itself. The order is that of the layers.
MAY_IMPORT = {
    "version": set(),
    "errors": set(),
    "files": {"errors"},
    "text": {"errors"},
    "parallel": {"errors"},
    "progress": set(),
    "records": {"errors", "files", "text"},
    "recipe": {"errors", "text"},
    "batch": set(),
    "downloads": set(),
    "data": {"batch", "downloads", "errors", "files", "parallel", "progress", "text", "records", "recipe"},
    "vad": {"errors", "recipe", "data"},
    "model": {"batch", "downloads", "errors", "files", "progress", "text", "records", "recipe", "version"},
    "catalogue": {"model", "recipe"},
    "inference": {"batch", "errors", "files", "text", "records", "recipe", "data", "vad", "model"},
    "subtitles": {"errors", "files", "text", "inference"},
    "systems": {"batch", "errors", "files", "text", "records", "recipe", "data", "vad", "model", "inference"},
    "engines": {"errors", "files", "text", "records", "recipe", "data", "vad", "model", "inference", "version"},
    "evaluation": {"errors", "files", "parallel", "text", "records", "recipe", "data", "model", "inference", "version"},
    "training": {"batch", "errors", "files", "progress", "records", "recipe", "data", "model"},
    "pretraining": {"batch", "errors", "files", "progress", "records", "recipe", "data", "model", "training"},
}
MAY_IMPORT["server"] = {
    "errors",
    "files",
    "parallel",
    "text",
    "records",
    "recipe",
    "data",
    "vad",
    "model",
    "inference",
    "subtitles",
    "version",
}
MAY_IMPORT["cli"] = set(MAY_IMPORT)
MAY_IMPORT["__init__"] = MAY_IMPORT["__main__"] = set(MAY_IMPORT)  # the front doors


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """(line, part) for each import of the package, those inside functions and for types included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import; write it whole"
            modules = [f"{node.module}.{name.name}" for name in node.names]
        elif isinstance(node, ast.Import):
            modules = [name.name for name in node.names]
        else:
            continue
        for module in modules:
            pieces = module.split(".")
            if pieces[0] == "dragoman" and len(pieces) > 1:
                yield (
                    node.lineno,
                    pieces[1] if (PACKAGE / pieces[1]).is_dir() or pieces[1] in MAY_IMPORT else "__init__",
                )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    part = part_of(path)
    assert part in MAY_IMPORT, f"{part} is a new part of the house: say in this test what it may import"
    allowed = MAY_IMPORT[part] | {part}
    wrong = [f"{path}:{line}: {part} imports {other}" for line, other in imported(path) if other not in allowed]
    assert not wrong


def test_the_layers_have_no_cycle() -> None:
    known: set[str] = set()
    for part, below in MAY_IMPORT.items():
        assert part in ("cli", "__init__", "__main__") or below <= known, part
        known.add(part)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def imported_modules(path: Path) -> set[str]:
    """The modules of the package that this one imports, be it at once, inside a function or for types."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            whole = [f"{node.module}.{name.name}" for name in node.names]
            found |= {name if name in MODULES else str(node.module) for name in whole}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found & MODULES.keys()


@pytest.mark.parametrize("depth", [2, 3, 9], ids=["parts", "folders", "modules"])
def test_nothing_imports_itself_by_way_of_others(depth: int) -> None:
    def above(module: str) -> str:
        return ".".join(module.split(".")[:depth])

    imports: dict[str, set[str]] = {above(module): set() for module in MODULES}
    for module, path in MODULES.items():
        imports[above(module)] |= {above(other) for other in imported_modules(path)} - {above(module)}
    assert sum(map(len, imports.values())) > len(imports)  # they are seen at all
    try:
        tuple(TopologicalSorter(imports).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_only_the_command_line_draws_progress() -> None:
    drawing = {part_of(path) for path in FILES if "rich.progress" in path.read_text(encoding="utf-8")}
    assert drawing == {"cli"}


def test_no_folder_is_crowded() -> None:
    folders = {path.parent for path in FILES}
    crowded = {str(folder): count for folder in folders if (count := len(list(folder.glob("*.py"))) - 1) > MOST_FILES}
    assert not crowded, "more files than one takes in at a glance: part the folder by subject"


def test_no_class_name_is_given_twice() -> None:
    found: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Without its docstring: what explains arguments does not make a function long."""
    first = function.body[0]
    explains = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    explained = (first.end_lineno or 0) - first.lineno + 1 if explains else 0
    return (function.end_lineno or 0) - function.lineno + 1 - explained


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_function_is_long(path: Path) -> None:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    spans = {n.name: lines_of(n) for n in ast.walk(tree) if isinstance(n, functions)}
    assert {name: lines for name, lines in spans.items() if lines > MOST_LINES} == {}


@pytest.mark.parametrize("name", names())
def test_every_recipe_that_is_shipped_loads(name: str) -> None:
    assert load_recipe(name).name == name


@pytest.mark.parametrize(
    "module",
    [
        "dragoman",
        "dragoman.recipe",
        "dragoman.catalogue",
        "dragoman.text.languages",
        "dragoman.text.langid",
        "dragoman.vad",
        "dragoman.model.load",
        "dragoman.subtitles.writers",
        "dragoman.data.check",
        "dragoman.evaluation.readers",
        "dragoman.evaluation.score",
        "dragoman.evaluation.generate",
        "dragoman.cli",
    ],
)
def test_what_needs_no_torch_imports_none(module: str) -> None:
    code = f"import sys, {module}; sys.exit(' '.join({{'torch', 'transformers', 'peft'}} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
