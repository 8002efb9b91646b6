"""Dragoman: speech in one language, text in many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dragoman.version import __version__ as __version__

if TYPE_CHECKING:
    from dragoman.inference.translator import Translator as Translator

__all__ = ["Translator"]


def __getattr__(name: str) -> Any:
    # Translator pulls in torch; `import dragoman` and `dragoman --help` must not.
    if name == "Translator":
        from dragoman.inference.translator import Translator

        return Translator
    raise AttributeError(f"module 'dragoman' has no attribute {name!r}")
