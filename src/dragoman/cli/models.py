"""`dragoman models`: what there is, built-in and third-party, how large it is, how to get it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from dragoman.cli.console import say, show_json

if TYPE_CHECKING:
    from rich.table import Table

    from dragoman.catalogue import CatalogueEntry


def models(as_json: Annotated[bool, typer.Option("--json", help="All of it, as JSON.")] = False) -> None:
    """List models and other systems: size, languages, licence, memory, what papers report, how to get them."""
    from dragoman.catalogue import catalogue_entries

    found = catalogue_entries()
    if as_json:
        show_json(json.dumps([asdict(entry) for entry in found], indent=2, ensure_ascii=False) + "\n")
        return
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 240, highlight=False).print(_table(found))
    say("GB are those of the weights in bf16 (adapter and LoRA in fp32); on a CPU all are fp32 and take twice as much.")
    say("Languages are counted as the authors do; where they do not, nothing stands there.")


def _table(found: list[CatalogueEntry]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in (
        "model",
        "parameters",
        "GB",
        "hears",
        "writes",
        "parts",
        "licence",
        "reported",
        "how to get it",
    ):
        numbers = column in ("parameters", "GB", "hears", "writes")
        table.add_column(column, justify="right" if numbers else "left", overflow="fold", no_wrap=column == "model")
    for entry in found:
        table.add_row(
            entry.name,
            _millions(entry.parameters),
            _gigabytes(entry.memory_bytes),
            str(entry.hears or ""),
            str(entry.writes or ""),
            _parts(entry),
            _licence(entry),
            entry.reports,
            entry.get,
        )
    return table


def _millions(parameters: int | None) -> str:
    return "" if parameters is None else f"{parameters / 1e6:,.0f} M"


def _gigabytes(count: int | None) -> str:
    return "" if count is None else f"{count / 1e9:.1f}" if count > 1e8 else f"{count / 1e9:.2f}"


def _parts(entry: CatalogueEntry) -> str:
    """Encoder and LLM of a recipe, the checkpoints of another system."""
    return " + ".join(dict.fromkeys(part for part in (entry.encoder, entry.llm) if part))


def _licence(entry: CatalogueEntry) -> str:
    parts = [entry.licence, f"LLM: {entry.llm_licence}" if entry.llm_licence else None]
    return "; ".join(filter(None, parts))
