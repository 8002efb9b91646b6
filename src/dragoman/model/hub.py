"""Where a model is: a folder, one that Dragoman ships, or a copy from the Hugging Face hub."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path

from dragoman.errors import ModelError

_UNWRITTEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
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
    "yxdu/smt": Release("smt-9b", ("smt_9b.pt",)),
    "yxdu/mcat-small": Release("mcat-small-9b", ("mcat_small_9b.pt",)),
    "yxdu/mcat-large": Release("mcat-large-27b", ("mcat_large_27b.pt",)),
}


def locate(name: str | Path) -> Path:
    """The folder of a model: its path, one that Dragoman ships, or a copy from the Hugging Face hub. Of what its
    authors released as a checkpoint it is that file (`model.load` makes a folder of it)."""
    if Path(name).is_dir():
        return Path(name)
    if (BUILT_IN / str(name) / "recipe.json").is_file():
        return BUILT_IN / str(name)
    if str(name).count("/") != 1 or str(name).startswith((".", "/")):
        raise ModelError(
            f"There is no model {str(name)!r}: give a model folder, {_built_in()}, or a name on the hub (owner/name)."
        )
    if str(name) in RELEASES:
        return _downloaded(str(name), RELEASES[str(name)].files)
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError

    try:
        hf_hub_download(str(name), "recipe.json")  # first: what is not one of our models may be large
        return Path(snapshot_download(str(name)))
    except RemoteEntryNotFoundError as error:
        raise ModelError(
            f"{name} on the hub is not a Dragoman model: it has no recipe.json; use --system for third-party "
            "checkpoints."
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:  # a file that is not in the cache either is an OSError
        raise _not_downloaded(str(name), error) from error


def _built_in() -> str:
    return ", ".join(repr(path.parent.name) for path in sorted(BUILT_IN.glob("*/recipe.json")))


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
            raise _not_downloaded(name, error) from error
    if isinstance(missing, RemoteEntryNotFoundError):
        names = " nor ".join(files)
        raise ModelError(
            f"{name} on the hub no longer holds {names}; fetch its checkpoint and give it to `dragoman convert`."
        ) from missing
    raise _not_downloaded(name, missing) from missing


def _not_downloaded(name: str, error: Exception | None) -> ModelError:
    if isinstance(error, OSError) and error.errno in _UNWRITTEN:
        return ModelError(
            f"{name!r} cannot be kept in the cache ({error.filename or 'HF_HOME'}: {error.strerror}); name another"
            " folder in HF_HOME, or in XDG_CACHE_HOME for all caches."
        )
    return ModelError(
        f"{name!r} is not a folder here, and cannot be downloaded from the Hugging Face hub: check name and network."
    )
