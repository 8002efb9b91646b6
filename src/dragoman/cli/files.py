"""Which recordings a command line means, and what their results are called."""

from __future__ import annotations

import glob
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count, zip_longest
from pathlib import Path

from dragoman.cli.console import say
from dragoman.errors import AudioError, DataError, FileAccessError, OutputError

_NOT_RECORDINGS = frozenset(
    {".txt", ".srt", ".vtt", ".tsv", ".csv", ".json", ".jsonl", ".md", ".rst", ".html", ".htm", ".xml", ".yaml", ".yml"}
    | {".toml", ".ini", ".cfg", ".log", ".nfo", ".db", ".sqlite", ".ass", ".ssa", ".sub", ".lrc", ".bib", ".tex"}
    | {
        ".ipynb",
        ".pdf",
        ".doc",
        ".docx",
        ".odt",
        ".rtf",
        ".ppt",
        ".pptx",
        ".xls",
        ".xlsx",
        ".py",
        ".sh",
        ".exe",
        ".bin",
    }
    | {".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".svg", ".tif", ".tiff", ".heic", ".ico", ".psd"}
    | {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".safetensors", ".pt"}
)
STDIN = Path("-")
_SOUND = frozenset(
    {".wav", ".mp3", ".flac", ".ogg", ".oga", ".opus", ".m4a", ".m4b", ".aac", ".aif", ".aiff", ".wma", ".amr", ".caf"}
    | {".mp4", ".m4v", ".mov", ".mkv", ".mka", ".webm", ".avi", ".ts", ".mts", ".mpg", ".mpeg", ".flv", ".3gp", ".wmv"}
)
_UNFINISHED = frozenset(
    {
        ".part",
        ".partial",
        ".filepart",
        ".crdownload",
        ".opdownload",
        ".download",
        ".downloading",
        ".incomplete",
        ".aria2",
    }
    | {".ytdl", ".!ut", ".!qb", ".!bt", ".!sync", ".bc!", ".dtapart", ".td", ".xltd", ".met", ".tmp", ".temp", ".swp"}
    | {".icloud", ".lnk", ".url", ".torrent", ".bak"}
)
"""What browsers and other programs leave beside recordings, or call one that is not whole yet."""
_LITTER = re.compile(r".*(~|\.part-frag\d+|\.sb-[0-9a-f]+-\w+)", re.IGNORECASE)
"""Backups, pieces of a download, what Safari and macOS write before they rename it."""


def recordings(inputs: Iterable[Path]) -> list[Path]:
    """Files as named or matched by a pattern that no shell has expanded, such as "talks/**/*.mp3", and for each folder
    its regular files, sorted, without those that are no recordings by name.

    What a folder holds besides is counted on stderr. Raises DataError when nothing is left.
    """
    found: list[Path] = []
    for path in inputs:
        found += _in_folder(path) if path.is_dir() else _named(path)
    unique = {os.path.abspath(path): path for path in reversed(found)}
    if not found:
        raise DataError("There are no recordings here; name files or folders that hold some.")
    return [path for path in found if unique.pop(os.path.abspath(path), None) is not None]


def names(path: Path) -> Iterator[str]:
    """What a recording's results may be called, the plainest first: rec, rec.wav, day1-rec, day1-rec.wav, …"""
    if path == STDIN:
        yield "stdin"
        return
    *folders, name = Path(os.path.abspath(path)).parts[1:]
    for depth in range(len(folders) + 1):
        before = "".join(f"{folder}-" for folder in folders[len(folders) - depth :])
        yield before + Path(name).stem
        yield before + name


def stems(paths: Sequence[Path]) -> dict[Path, str]:
    """What each recording's results are called: its name without the ending, or where two of the run would be called
    the same, on some file system at least (`folded`), the first of its `names` that tells them apart."""
    named: dict[Path, str] = {}
    taken: set[str] = set()
    for tried in zip_longest(*map(names, paths)):
        left = {path: name for path, name in zip(paths, tried, strict=True) if path not in named and name is not None}
        shared = Counter(map(folded, left.values()))
        alone = {path: name for path, name in left.items() if shared[folded(name)] == 1 and folded(name) not in taken}
        named |= alone
        taken |= set(map(folded, alone.values()))
    for path in paths:
        if path not in named:
            named[path] = next(name for name in chain([path.stem], numbered(path)) if folded(name) not in taken)
            taken.add(folded(named[path]))
    return {path: named[path] for path in paths}


def folded(name: str) -> str:
    """The same of two names that Windows or a Mac takes for one: of any case, and in either Unicode form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def numbered(path: Path) -> Iterator[str]:
    """rec-2, rec-3, …: where folders and names written in one are the same."""
    return (f"{path.stem}-{number}" for number in count(2))


def writable(folder: Path) -> Path:
    """Make the folder, and make sure before any work that files can be written there. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror}); choose another output folder.") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: cannot be written to; choose another output folder.")
    return folder


def _named(path: Path) -> list[Path]:
    """The file, also where its name looks like a pattern; else what the pattern matches, if anything."""
    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    return [Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if os.path.isfile(name)] or [path]


def _in_folder(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    why = {path: reason for path in files if (reason := _left_out(path))}
    for reason, times in Counter(why.values()).items():
        say(f"{folder}: {times} {'file' if times == 1 else 'files'} left out: {reason}.")
    kept = [path for path in files if path not in why]
    if not kept:
        say(f"{folder}: holds no recording.")
    return kept


def _left_out(path: Path) -> str | None:
    """Why a file of a folder is passed over, if it is; one that is named on the command line never is."""
    suffix = path.suffix.lower()
    if path.name.startswith("._") or (path.name.startswith(".") and suffix not in _SOUND):
        return "hidden"  # .DS_Store, what a Mac knows of talk.wav in ._talk.wav, rsync's .talk.wav.Gx3kQ1
    if suffix in _UNFINISHED or _LITTER.fullmatch(path.name):
        return "half a download, or a program's own"
    if suffix in _NOT_RECORDINGS:
        return "by name no recording"
    if path.stat().st_size == 0:
        return "empty"
    return None if suffix in _SOUND or _is_media(path) else "no recording"


def _is_media(path: Path) -> bool:
    """Whether a file whose name does not tell holds sound, or could not be looked into."""
    from dragoman.data.audio.opening import opened_container, opened_file

    try:
        with opened_file(path) as file, opened_container(file, file.name_in_messages) as container:
            return bool(container.streams.audio)
    except FileAccessError:
        return True  # reading it will say why
    except AudioError:
        return False
