"""Where a base model lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class BaseLocation:
    """`weights` and `tokenizer`: folders, or a name on the hub with its `revision`. `own`: made by Dragoman, so that
    nothing may be left over."""

    weights: Path | str
    tokenizer: Path | str
    revision: str | None = None
    own: bool = False
