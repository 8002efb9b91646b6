"""Dragoman: speech in one language, text in many."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from dragoman.version import __version__ as __version__

if TYPE_CHECKING:
    from dragoman.inference.translator import Translator as Translator

__all__ = ["Translator"]

# These report to their makers unless they find this when they are loaded; ONNX Runtime, in which Silero VAD runs, since
# its version 1.29.
for _name, _off in {
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}.items():
    os.environ.setdefault(_name, _off)
# oneDNN, which computes for torch on CPUs, keeps what it compiled for each of the last 1,024 shapes. Decoding meets new
# shapes all the time: two hours of speech grew by a gigabyte, and were no faster for it.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")


def __getattr__(name: str) -> Any:
    # Translator pulls in torch; `import dragoman` and `dragoman --help` must not.
    if name == "Translator":
        from dragoman.inference.translator import Translator

        return Translator
    raise AttributeError(f"module 'dragoman' has no attribute {name!r}")
