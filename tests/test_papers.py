"""The papers' tables in docs/papers: what their commands name is there, and every published recipe has a table."""

from __future__ import annotations

import re
from pathlib import Path

import published
import pytest
import typer

from dragoman.catalogue import EXTERNAL_SYSTEMS, OTHER_CHECKPOINTS, PUBLISHED_MODELS
from dragoman.cli import app
from dragoman.evaluation.metrics import METRICS
from dragoman.model.hub import RELEASES
from dragoman.recipe import names

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {page.stem: page.read_text(encoding="utf-8") for page in sorted((DOCS / "papers").glob("*.md"))}
ALL = "\n".join(PAGES.values())


def named(before: str) -> set[str]:
    """What stands after a word in any command."""
    return set(re.findall(rf"{re.escape(before)} ([A-Za-z0-9][\w./+-]*\w)", ALL))


def test_the_commands_name_what_there_is() -> None:
    trained, systems, metrics = named("dragoman train"), named("--system"), named("--metric")
    assert trained and trained <= set(names())
    assert systems and systems <= set(EXTERNAL_SYSTEMS)
    assert metrics and metrics <= set(METRICS)
    assert set(re.findall(r"yxdu/[\w-]+", ALL)) == set(RELEASES)


def test_flags_are_flags() -> None:
    flags, commands = {f"--{name}" for name in vars(published.arguments([]))}, [typer.main.get_command(app)]
    while commands:
        command = commands.pop()
        commands += getattr(command, "commands", {}).values()
        flags |= {flag for option in command.params for flag in option.opts}
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z_]*(?![\w-])", ALL))
    assert len(used) > 8 and used <= flags


@pytest.mark.parametrize("name", [*PUBLISHED_MODELS, *(model.strip("+") for _, model in OTHER_CHECKPOINTS)])
def test_every_published_model_has_its_row(name: str) -> None:
    assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", ALL)


@pytest.mark.parametrize("page", PAGES)
def test_links_of_the_papers_pages_lead_somewhere(page: str) -> None:
    local = [link for link in re.findall(r"\]\(([^)#]+)", PAGES[page]) if "://" not in link]
    assert local and [link for link in local if not (DOCS / "papers" / link).exists()] == []
