"""The notebook of examples/ runs as it stands, and shows what it prints."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
nbclient = pytest.importorskip("nbclient", reason="The notebook needs nbclient and ipykernel: pip install -e '.[dev]'.")
nbformat = pytest.importorskip("nbformat")


def printed(cell: Any) -> str:
    return "".join(output.text for output in cell.get("outputs", ()) if output.get("name") == "stdout")


@pytest.mark.slow
def test_the_tour_prints_what_it_shows(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    shown = nbformat.read(tmp_path / "examples" / "tour.ipynb", as_version=4)
    run = nbformat.read(tmp_path / "examples" / "tour.ipynb", as_version=4)
    metadata = {"metadata": {"path": str(tmp_path / "examples")}}
    nbclient.NotebookClient(run, timeout=600, kernel_name="python3", resources=metadata).execute()
    cells = [(old, new) for old, new in zip(shown.cells, run.cells, strict=True) if old.cell_type == "code"]
    assert len(cells) == 5
    for old, new in cells[:-1]:  # the last prints versions of packages
        assert printed(new) == printed(old) != ""
    assert {line.split()[0] for line in printed(cells[-1][1]).splitlines()} >= {"BLEU", "chrF", "WER"}
    assert all(output.name == "stdout" for old, _ in cells for output in old.outputs), "stderr names a machine's paths"
