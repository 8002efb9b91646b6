"""How the files of a base become a folder of Hugging Face's, by its kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from dragoman.model.bases.gguf import convert_gguf
from dragoman.model.bases.whisper import convert_whisper

CONVERT: dict[str, Callable[[Sequence[Path], Path], None]] = {"whisper": convert_whisper, "gguf": convert_gguf}
"""Each takes the files in the order of the catalogue and a new folder, which it fills."""
