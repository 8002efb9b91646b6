"""Where a model is: a folder, one that Dragoman ships, or a copy from the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from dragoman.errors import ModelError

BUILT_IN = Path(__file__).parent.parent / "assets"


def locate(name: str | Path) -> Path:
    """The folder of a model: its path, one that Dragoman ships, or a copy from the Hugging Face hub."""
    if Path(name).is_dir():
        return Path(name)
    if (BUILT_IN / str(name) / "recipe.json").is_file():
        return BUILT_IN / str(name)
    if str(name).count("/") != 1 or str(name).startswith((".", "/")):
        raise ModelError(
            f"There is no model {str(name)!r}: give a model folder, 'tiny', or a name on the hub (owner/name)."
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(name)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ModelError(
            f"The model {str(name)!r} cannot be downloaded from the Hugging Face hub: check name and network."
        ) from error
