"""Where a model is: a folder, one that Dragoman ships, or a copy from the Hugging Face hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dragoman.errors import ModelError
from dragoman.recipe import load_recipe

BUILT_IN = Path(__file__).parent.parent / "assets"


@dataclass(frozen=True)
class Release:
    """What the authors put on the hub under one name: a checkpoint of the system that `recipe` describes, in a file
    that bore these names, the newest first."""

    recipe: str
    files: tuple[str, ...]


RELEASES: dict[str, Release] = {
    # "support 15 languages" (the authors' README): V2. One of their scripts has LoRA, one not: the file decides.
    "yxdu/llm-srt": Release("llm-srt-3b-v2", ("llm_srt_3b.pt", "qwen2.5-3b.pt")),
    "yxdu/mcat-small": Release("mcat-small-9b", ("mcat_small_9b.pt",)),
    "yxdu/mcat-large": Release("mcat-large-27b", ("mcat_large_27b.pt",)),
}


def locate(name: str | Path) -> Path:
    """The folder of a model: its path, one that Dragoman ships, or a copy from the Hugging Face hub. A checkpoint as
    its authors released it is converted, once."""
    if Path(name).is_dir():
        return Path(name)
    if (BUILT_IN / str(name) / "recipe.json").is_file():
        return BUILT_IN / str(name)
    if str(name).count("/") != 1 or str(name).startswith((".", "/")):
        raise ModelError(
            f"There is no model {str(name)!r}: give a model folder, 'tiny', or a name on the hub (owner/name)."
        )
    if str(name) in RELEASES:
        return _converted(str(name), RELEASES[str(name)])
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError

    try:
        hf_hub_download(str(name), "recipe.json")  # first: what is no model of ours may be large
        return Path(snapshot_download(str(name)))
    except RemoteEntryNotFoundError as error:
        raise ModelError(
            f"{name} on the hub is not a model of Dragoman's: it has no recipe.json; checkpoints of others go with "
            "--system."
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:  # a file that is not in the cache either is an OSError
        raise _not_downloaded(str(name)) from error


def _converted(name: str, release: Release) -> Path:
    """The model folder made of a release, in the hub's cache for such things: one for each revision of it and version
    of ours, whose recipe is in it. Who comes second waits for the first."""
    from huggingface_hub import cached_assets_path
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # of its __init__, but not of __all__

    from dragoman import __version__
    from dragoman.model.released import convert  # which imports, in turn, what imports this file

    file = _downloaded(name, release.files)
    folder = cached_assets_path("dragoman", namespace=name, subfolder=__version__) / file.parent.name
    with WeakFileLock(f"{folder}.lock"):
        if not (folder / "recipe.json").is_file():
            convert(file, load_recipe(release.recipe), folder)
    return folder


def _downloaded(name: str, files: tuple[str, ...]) -> Path:
    """`<cache>/snapshots/<revision>/<file>`, of the first of these files that there is."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RemoteEntryNotFoundError

    missing: Exception | None = None
    for file in files:
        try:
            return Path(hf_hub_download(name, file))
        except EntryNotFoundError as error:
            missing = error
        except (HfHubHTTPError, OSError, ValueError) as error:
            raise _not_downloaded(name) from error
    if isinstance(missing, RemoteEntryNotFoundError):
        names = " nor ".join(files)
        raise ModelError(
            f"{name} on the hub no longer holds {names}; fetch its checkpoint and give it to `dragoman convert`."
        ) from missing
    raise _not_downloaded(name) from missing


def _not_downloaded(name: str) -> ModelError:
    return ModelError(
        f"{name!r} is no folder here, and cannot be downloaded from the Hugging Face hub: check name and network."
    )
