"""Dragoman: speech in one language, text in many."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from dragoman.version import __version__ as __version__

if TYPE_CHECKING:
    from dragoman.inference.translator import Translator as Translator

__all__ = ["Translator"]

# ONNX Runtime, in which Silero VAD runs, reports to its makers since 1.29, unless this is there before it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    # Translator pulls in torch; `import dragoman` and `dragoman --help` must not.
    if name == "Translator":
        from dragoman.inference.translator import Translator

        return Translator
    raise AttributeError(f"module 'dragoman' has no attribute {name!r}")
