"""From a checkpoint of unbabel-comet (a pickle, 2 GB) to its network, strictly, and without running what is pickled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from tokenizers import Tokenizer
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals
from transformers import XLMRobertaConfig, XLMRobertaModel

from dragoman.errors import ModelError
from dragoman.evaluation.comet.network import CometSettings, Regressor, read_settings

_ENCODER = "encoder.model."
# What older versions of transformers and of the package stored, and no score comes from.
_UNUSED = frozenset(
    [_ENCODER + name for name in ("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias")]
    + ["layerwise_attention.dropout_mask", "layerwise_attention.dropout_fill"]
)
# Whose classes the state of a training may name: callbacks, paths, numbers of numpy. None of them is imported.
_FOREIGN = ("pytorch_lightning.", "lightning.", "lightning_fabric.", "torchmetrics.", "numpy.", "pathlib.", "argparse.")


@dataclass(frozen=True)
class CheckpointOrigin:
    """Where a checkpoint comes from, as a signature tells it; `encoder` is whose tokenizer and config it has."""

    name: str
    revision: str
    encoder: str


@dataclass(frozen=True)
class CometCheckpoint:
    """All that it takes to score."""

    network: Regressor
    tokenizer: Tokenizer
    origin: CheckpointOrigin


@dataclass(frozen=True)
class _LocatedCheckpoint:
    """A checkpoint that can be loaded; its `tensors` are not yet read from the disk."""

    path: Path
    name: str
    revision: str | None
    encoder: str
    settings: CometSettings
    config: XLMRobertaConfig
    tokenizer: Tokenizer
    tensors: dict[str, Tensor]


def read_checkpoint(checkpoint: str | Path, device: torch.device, dtype: torch.dtype) -> CometCheckpoint:
    """The network on `device`, its encoder in `dtype`, the rest in single precision. What may be given and what goes
    wrong: see `Comet.load`."""
    found = _find(checkpoint)
    network = _network(found.config, found.settings, found.tensors, dtype).to(device)
    return CometCheckpoint(
        network, found.tokenizer, CheckpointOrigin(found.name, found.revision or _digest(found.path), found.encoder)
    )


def check_checkpoint(checkpoint: str | Path) -> None:
    """Whether it can be loaded; what is on the hub is downloaded. Nobody should hear of it after hours of translating.
    Raises ModelError."""
    _find(checkpoint)


def _find(checkpoint: str | Path) -> _LocatedCheckpoint:
    path, name, revision = _locate(checkpoint)
    _check_kind(path)
    stored = _unpickle(path)
    settings = read_settings(stored["hyper_parameters"], path)
    encoder, encoder_revision = _folder(settings.pretrained_model, ("config.json", "tokenizer.json"))
    config = _encoder_config(encoder)
    tokenizer = _tokenizer(encoder / "tokenizer.json", config)
    tensors = {key: tensor for key, tensor in stored["state_dict"].items() if key not in _UNUSED}
    with torch.device("meta"):
        _check_same(Regressor(XLMRobertaModel(config, add_pooling_layer=False), settings), tensors, path)
    written = "@".join(filter(None, (Path(settings.pretrained_model).name, encoder_revision)))
    return _LocatedCheckpoint(path, name, revision, written, settings, config, tokenizer, tensors)


class _Inert:
    """Stands for every class that the pickle names: takes all it is given and does nothing."""

    def __init__(self, *args: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def _locate(checkpoint: str | Path) -> tuple[Path, str, str | None]:
    """The .ckpt file, the name to show, and the revision if it comes from the hub."""
    path = Path(checkpoint)
    if path.is_file():
        return path, path.absolute().parent.parent.name, None
    folder, revision = _folder(str(checkpoint), ("hparams.yaml", "checkpoints/model.ckpt"))
    return folder / "checkpoints" / "model.ckpt", folder.absolute().name if revision is None else str(path), revision


def _folder(name: str, files: Sequence[str]) -> tuple[Path, str | None]:
    """A folder that holds `files`: `name` itself (revision None), or a copy of a repository on the hub."""
    if Path(name).is_dir():
        folder, revision = Path(name), None
    else:
        folder = _download(name, files)
        revision = folder.name  # the hub's library names a copy by its commit
    for file in files:
        if not (folder / file).is_file():
            raise ModelError(f"{name} holds no {file}; COMET needs it.")
    return folder, revision


def _download(name: str, files: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(f"There is no file or folder {name!r}; COMET takes one, or a name on the Hugging Face hub.")
    try:
        return Path(snapshot_download(name, allow_patterns=list(files)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ModelError(
            f"{name!r} cannot be downloaded from the Hugging Face hub for COMET: check name and network, or put a copy"
            " into the hub's cache."
        ) from error


def _check_kind(path: Path) -> None:
    """hparams.yaml, beside the folder of the checkpoint, says what kind of network it is."""
    said = path.absolute().parent.parent / "hparams.yaml"
    try:
        kind = yaml.safe_load(said.read_text(encoding="utf-8"))["class_identifier"]
    except (OSError, UnicodeError, yaml.YAMLError, TypeError, KeyError) as error:
        raise ModelError(f"{said}: does not say the class_identifier of {path.name}.") from error
    if kind != "regression_metric":
        raise ModelError(
            f"{said}: the checkpoint is a {kind!r}; Dragoman runs regression_metric, as wmt22-comet-da is one."
            " For XCOMET and CometKiwi use the package unbabel-comet."
        )


def _unpickle(path: Path) -> dict[str, Any]:
    """The checkpoint's `state_dict` (tensors, not yet read from the disk) and `hyper_parameters`."""
    try:
        foreign = sorted(get_unsafe_globals_in_checkpoint(str(path)))
        strange = [name for name in foreign if not name.startswith(_FOREIGN)]
        if not strange:
            with safe_globals([(_Inert, name) for name in foreign]):
                stored = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a damaged pickle raises anything
        raise ModelError(f"{path}: cannot be read as a checkpoint; download it again.") from error
    if strange:
        raise ModelError(f"{path}: would run {strange[0]} when it is loaded; get the checkpoint from its authors.")
    for key in ("state_dict", "hyper_parameters"):
        if not isinstance(stored, dict) or not isinstance(stored.get(key), dict):
            raise ModelError(f"{path}: has no {key}; it is not a checkpoint of unbabel-comet.")
    return stored


def _encoder_config(folder: Path) -> XLMRobertaConfig:
    try:
        stored, _ = XLMRobertaConfig.get_config_dict(folder)
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}/config.json cannot be read; get it again.") from error
    if stored.get("model_type") != "xlm-roberta":
        raise ModelError(f"{folder}/config.json is of a {stored.get('model_type')!r} model; COMET's is xlm-roberta.")
    return XLMRobertaConfig.from_dict(stored)


def _check_same(network: Regressor, tensors: Mapping[str, Tensor], origin: Path) -> None:
    """The same names and shapes, or an error that names the first tensor that differs."""
    expected = network.state_dict()
    for names, what in (
        (expected.keys() - tensors.keys(), "is missing"),
        (tensors.keys() - expected.keys(), "is unknown"),
    ):
        if names:
            raise ModelError(f"{origin}: tensor {min(names)!r} {what} ({len(names)} such).")
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or tensor.shape != expected[name].shape:
            found = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ModelError(f"{origin}: {name} is {found}; its settings ask for {tuple(expected[name].shape)}.")


def _network(
    config: XLMRobertaConfig, settings: CometSettings, tensors: Mapping[str, Tensor], dtype: torch.dtype
) -> Regressor:
    """Tensors that were checked, in their places."""
    encoder = XLMRobertaModel.from_pretrained(
        None,
        config=config,
        state_dict={key.removeprefix(_ENCODER): t for key, t in tensors.items() if key.startswith(_ENCODER)},
        dtype=dtype,
        add_pooling_layer=False,
    )
    network = Regressor(encoder, settings)
    rest = {key: tensor for key, tensor in tensors.items() if not key.startswith(_ENCODER)}
    network.load_state_dict(rest, strict=False)
    return network


def _tokenizer(path: Path, config: XLMRobertaConfig) -> Tokenizer:
    """The file as it stands, as the package reads it; not a class of transformers, which may build its own."""
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise ModelError(f"{path}: cannot be read as a tokenizer; get it again.") from error
    if tokenizer.token_to_id("<pad>") != config.pad_token_id or tokenizer.get_vocab_size() > config.vocab_size:
        raise ModelError(f"{path}: is not the tokenizer of the encoder whose config.json lies beside it.")
    return tokenizer


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return "sha256-" + hashlib.file_digest(file, "sha256").hexdigest()[:16]
