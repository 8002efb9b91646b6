"""Named arrays in one file that every process maps: memory for it is needed once a machine, whoever opens it.

The layout is that of safetensors: the size of the header (8 bytes, little-endian), the header as JSON, the arrays.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dragoman.files import atomic_file

Array = NDArray[Any]

_NAMES = {
    "uint8": "U8", "uint16": "U16", "int32": "I32", "uint32": "U32", "int64": "I64", "uint64": "U64",
    "float32": "F32", "float64": "F64",
}  # fmt: skip
_TYPES = {short: np.dtype(long) for long, short in _NAMES.items()}
_ALIGNED = 8


def write_arrays(path: Path, arrays: Mapping[str, Array], about: Mapping[str, str]) -> None:
    """Write the whole file or nothing; `about` is stored with the arrays. Raises OutputError."""
    header: dict[str, Any] = {"__metadata__": dict(about)}
    ordered = sorted(arrays.items(), key=lambda item: -item[1].itemsize)  # wide ones first: all stay aligned
    end = 0
    for name, array in ordered:
        start, end = end, end + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype.name], "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNED)
    with atomic_file(path) as out:
        out.buffer.write(len(text).to_bytes(8, "little") + text)
        for _, array in ordered:
            out.buffer.write(np.ascontiguousarray(array).data)


def read_arrays(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays, mapped and read-only, and what was stored about them. Raises OSError or ValueError if it is not such
    a file, or not all of it."""
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    base = 8 + int.from_bytes(mapped[:8], "little")
    header = json.loads(mapped[8:base])
    about = header.pop("__metadata__")
    arrays = {}
    for name, entry in header.items():
        kind, shape = _TYPES[entry["dtype"]], entry["shape"]
        count = int(np.prod(shape))
        array = np.frombuffer(mapped, kind, count, base + entry["data_offsets"][0]) if count else np.empty(0, kind)
        arrays[name] = array.reshape(shape)
    return arrays, about
