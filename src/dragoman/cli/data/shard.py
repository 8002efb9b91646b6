"""`dragoman shard`: manifests and their recordings into tar files, for storage that minds many small files."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from dragoman.cli.console import say, show
from dragoman.cli.progress import progress_bars


def shard(
    manifests: Annotated[list[Path], typer.Argument(metavar="MANIFEST...", help="JSON lines with their recordings.")],
    out: Annotated[Path, typer.Option(help="Where the manifests of the shards and shards/ are written.")],
    per_shard: Annotated[int, typer.Option("--per_shard", min=1, help="Utterances in a tar file.")] = 1000,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one a core by default.")] = None,
) -> None:
    """Pack recordings into tar shards in a random order (WebDataset's layout); an interrupted run goes on."""
    from dragoman.data.packing import pack
    from dragoman.errors import OutputError

    names = [manifest.name for manifest in manifests]
    if again := next((name for name in names if names.count(name) > 1), None):
        raise OutputError(f"Two manifests are named {again}; pack them into folders of their own.")
    for manifest in manifests:
        with progress_bars(shown=sys.stderr.isatty()) as progress:
            shards = pack(
                manifest, out, per_shard=per_shard, workers=workers or os.cpu_count() or 1, on_progress=progress
            )
        say(f"{out / manifest.name}: {shards} shards.")
        show(str(out / manifest.name))
