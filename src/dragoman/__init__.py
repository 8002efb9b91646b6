"""Dragoman: speech in one language, text in many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dragoman.inference.translator import Translator as Translator

__all__ = ["Translator"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Translator pulls in torch; `import dragoman` and `dragoman --help` must not.
    if name == "Translator":
        from dragoman.inference.translator import Translator

        return Translator
    raise AttributeError(f"module 'dragoman' has no attribute {name!r}")
