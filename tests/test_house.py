"""What keeps the house in order: imports point one way, recipes load, scoring stays light, functions stay short."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dragoman.recipe import load_recipe, names

PACKAGE = Path(__file__).parents[1] / "src" / "dragoman"
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 60

# What each part may import besides itself. The order is that of the layers.
MAY_IMPORT = {
    "errors": set(),
    "files": {"errors"},
    "loops": set(),
    "languages": {"errors"},
    "writing": {"languages"},
    "records": {"errors", "files", "languages"},
    "recipe": {"errors", "languages"},
    "data": {"errors", "files", "languages", "writing", "records", "recipe"},
    "model": {"errors", "files", "languages", "records", "recipe"},
    "catalogue": {"model", "recipe"},
    "inference": {"errors", "files", "languages", "writing", "loops", "records", "recipe", "data", "model"},
    "systems": {"errors", "files", "languages", "records", "recipe", "data", "model", "inference"},
    "evaluation": {
        "errors",
        "files",
        "languages",
        "writing",
        "loops",
        "records",
        "recipe",
        "data",
        "model",
        "inference",
        "systems",
    },
    "training": {"errors", "files", "languages", "records", "recipe", "data", "model"},
    "bases": {"errors", "files", "languages", "records", "recipe", "data", "model", "training"},  # one loop
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
    allowed = MAY_IMPORT[part] | {part, "__init__"}
    wrong = [f"{path}:{line}: {part} imports {other}" for line, other in imported(path) if other not in allowed]
    assert not wrong


def test_the_layers_have_no_cycle() -> None:
    known: set[str] = set()
    for part, below in MAY_IMPORT.items():
        assert part in ("cli", "__init__", "__main__") or below <= known, part
        known.add(part)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_function_is_long(path: Path) -> None:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    spans = {n.name: (n.end_lineno or 0) - n.lineno + 1 for n in ast.walk(tree) if isinstance(n, functions)}
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
