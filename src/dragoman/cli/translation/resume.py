"""Which recordings were translated before, told by content: a run over a folder goes on where one was interrupted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

NAME = ".dragoman.jsonl"


class Finished:
    """What `folder/.dragoman.jsonl` tells: a line a recording, with its content's digest, the settings that it was
    translated with, and the files that were written then."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.settings = _digest(json.dumps(settings, sort_keys=True).encode())
        self.files: dict[str, list[str]] = {}
        try:
            lines = (folder / NAME).read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            lines = []
        for line in lines:
            try:
                row = json.loads(line)
                self.files[row["key"]] = list(row["files"])
            except (ValueError, KeyError, TypeError):  # a line that an interrupted run left unfinished
                continue

    def holds(self, recording: Path, stem: str) -> bool:
        """Whether this content was translated with these settings, and all that was written is still there."""
        files = self.files.get(self._key(recording, stem)) if recording.is_file() else None
        return files is not None and all((self.folder / name).is_file() for name in files)

    def add(self, recording: Path, stem: str, written: Iterable[Path]) -> None:
        """Remember what was written for a recording; to be called when it is whole."""
        row = {"recording": str(recording), "key": self._key(recording, stem), "files": [p.name for p in written]}
        with open(self.folder / NAME, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write("\n" if self._is_torn() else "")
            file.write(json.dumps(row) + "\n")

    def _is_torn(self) -> bool:
        with open(self.folder / NAME, "rb") as file:
            if file.seek(0, 2) == 0:
                return False
            file.seek(-1, 2)
            return file.read(1) != b"\n"

    def _key(self, recording: Path, stem: str) -> str:
        with open(recording, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        return _digest(json.dumps([stem, content, self.settings]).encode())


def fingerprint(model: Path) -> str:
    """Tells one state of a model folder from another without reading its weights: names, sizes, times."""
    files = sorted(path for path in model.rglob("*") if path.is_file())
    states = [(str(path.relative_to(model)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return _digest(json.dumps(states).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
