"""CTranslate2's file of Whisper -> a folder of Hugging Face's WhisperForConditionalGeneration, strictly.

The layout of `model.bin` (little endian), as ctranslate2/specs/model_spec.py writes it: u32 version, string name, u32
revision, u32 number of variables; each a string name, u8 rank, u32 dimensions, u8 type, u32 bytes, data; then u32
number of aliases, each two strings. A string is a u16 length that counts its closing NUL.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizerFast,
)

from dragoman.errors import ModelError
from dragoman.model.bases.loading import without_bars

_TYPES: dict[int, np.dtype[Any]] = {
    0: np.dtype("<f4"),
    1: np.dtype("i1"),
    2: np.dtype("<i2"),
    3: np.dtype("<i4"),
    4: np.dtype("<f2"),
}
_HEADS = 64
"""Width of an attention head, in every size of Whisper."""
_CONSTANTS = {"decoder/scale_embeddings", "decoder/start_from_zero_embedding"}


def convert_whisper(files: Sequence[Path], folder: Path) -> None:
    """Write model, tokenizer and generation settings into `folder`, in the file's own precision.

    `files`: model.bin, and config.json and tokenizer.json beside it. Raises ModelError for a tensor that is missing or
    left over.
    """
    model_bin, config, tokenizer = files
    tensors = dict(_renamed(_read(model_bin), model_bin))
    about = json.loads(config.read_text(encoding="utf-8"))
    generation = _generation(tokenizer, about)
    model = _empty(tensors, generation, model_bin)
    _fill(model, tensors, model_bin)
    model.generation_config = generation
    extractor = WhisperFeatureExtractor(feature_size=model.config.num_mel_bins)
    with without_bars():
        model.save_pretrained(folder)
        WhisperProcessor(extractor, WhisperTokenizerFast(tokenizer_file=str(tokenizer))).save_pretrained(folder)


class _Bytes:
    """What lies one after the other in a file; struct.error or ValueError at its end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def number(self, code: str) -> int:
        """By struct's `code` of an integer."""
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize(code)
        return int(value)

    def text(self) -> str:
        length = self.number("H")
        found = self.data[self.at : self.at + length]
        if len(found) != length or not found.endswith(b"\0"):
            raise ValueError("no text")
        self.at += length
        return found[:-1].decode()

    def array(self) -> NDArray[Any]:
        shape = [self.number("I") for _ in range(self.number("B"))]
        kind, size = _TYPES[self.number("B")], self.number("I")
        found = np.frombuffer(self.data, kind, size // kind.itemsize, self.at).reshape(shape)
        self.at += size
        return found


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """The variables by name; of aliases, which are tied weights, nothing is kept."""
    data = _Bytes(path.read_bytes())
    try:
        version, name = data.number("I"), data.text()
        if (version, name) != (6, "WhisperSpec"):
            raise ModelError(f"{path}: is a {name or 'file'} of version {version}, not version 6 of WhisperSpec.")
        data.number("I")
        found = {data.text(): data.array() for _ in range(data.number("I"))}
        for _ in range(2 * data.number("I")):
            data.text()
    except (struct.error, ValueError, KeyError) as error:
        raise ModelError(f"{path}: is not a whole CTranslate2 model.") from error
    if data.at != len(data.data):
        raise ModelError(f"{path}: {len(data.data) - data.at} bytes after the CTranslate2 model are not expected.")
    return found


_LAYER = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "attention/layer_norm": "encoder_attn_layer_norm",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}
# Linear layers that hold several of Hugging Face's, one below the other.
_STACKED = {
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
}
_WHOLE = {
    "decoder/embeddings/weight": "decoder.embed_tokens.weight",
    "encoder/position_encodings/encodings": "encoder.embed_positions.weight",
    "decoder/position_encodings/encodings": "decoder.embed_positions.weight",
}
_DECIDE = (
    "model.decoder.embed_tokens.weight",
    "model.encoder.conv1.weight",
    "model.encoder.embed_positions.weight",
    "model.decoder.embed_positions.weight",
)
"""Their shapes are the model's."""
_SIDES = ("encoder", "decoder")
_KINDS = {"gamma": "weight", "beta": "bias", "weight": "weight", "bias": "bias"}


def _renamed(variables: dict[str, NDArray[Any]], origin: Path) -> Iterator[tuple[str, Tensor]]:
    """By Hugging Face's names, without the constants and the head, which is tied to the embeddings."""
    for name, values in variables.items():
        if values.ndim == 0 or name in _CONSTANTS or name.startswith("decoder/projection/"):
            continue
        for new, part in _places(name, values):
            # WhisperModel's keys have no bias: that of CTranslate2's is zero there
            if new.endswith("k_proj.bias"):
                if part.any():
                    raise ModelError(f"{origin}: {name}: the keys have a bias, which Whisper's do not have.")
                continue
            yield f"model.{new}", torch.from_numpy(part.copy())


def _places(name: str, values: NDArray[Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    if name in _WHOLE:
        yield _WHOLE[name], values
        return
    stem, _, kind = name.rpartition("/")
    side, _, inner = stem.partition("/")
    if not inner.startswith("layer_"):  # encoder/conv1, encoder/layer_norm
        yield f"{side}.{inner}.{_KINDS.get(kind, kind)}", values
        return
    if inner == "layer_norm":
        yield f"{side}.layer_norm.{_KINDS[kind]}", values
        return
    layer, _, part = inner.partition("/")
    prefix = f"{side}.layers.{layer.removeprefix('layer_')}"
    targets = _STACKED.get(part) or (_LAYER.get(part, part),)
    for target, share in zip(targets, np.split(values, len(targets)), strict=True):
        yield f"{prefix}.{target}.{_KINDS.get(kind, kind)}", share


def _empty(tensors: dict[str, Tensor], generation: GenerationConfig, origin: Path) -> WhisperForConditionalGeneration:
    """The model that has these shapes, without weights. Raises ModelError."""
    if lost := [name for name in _DECIDE if name not in tensors]:
        raise ModelError(f"{origin}: tensor {lost[0]!r} is missing.")
    pieces, width = tensors["model.decoder.embed_tokens.weight"].shape
    layers = {side: len({name.split(".")[3] for name in tensors if f"{side}.layers." in name}) for side in _SIDES}
    config = WhisperConfig(
        vocab_size=pieces,
        d_model=width,
        num_mel_bins=tensors["model.encoder.conv1.weight"].shape[1],
        encoder_layers=layers["encoder"],
        decoder_layers=layers["decoder"],
        encoder_attention_heads=width // _HEADS,
        decoder_attention_heads=width // _HEADS,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        max_source_positions=len(tensors["model.encoder.embed_positions.weight"]),
        max_target_positions=len(tensors["model.decoder.embed_positions.weight"]),
        suppress_tokens=generation.suppress_tokens,
        begin_suppress_tokens=generation.begin_suppress_tokens,
        bos_token_id=generation.bos_token_id,
        eos_token_id=generation.eos_token_id,
        pad_token_id=generation.pad_token_id,
        decoder_start_token_id=generation.decoder_start_token_id,
        dtype=tensors["model.encoder.conv1.weight"].dtype,
    )
    with torch.device("meta"):
        return WhisperForConditionalGeneration(config)


def _fill(model: WhisperForConditionalGeneration, tensors: dict[str, Tensor], origin: Path) -> None:
    expected = {name for name in model.state_dict() if name != "proj_out.weight"}
    if odd := sorted(expected ^ tensors.keys()):
        what = "is missing" if odd[0] in expected else "is not Whisper's"
        raise ModelError(f"{origin}: tensor {odd[0]!r} {what} ({len(odd)} such).")
    for name, tensor in model.state_dict().items():
        if name in tensors and tensor.shape != tensors[name].shape:
            raise ModelError(f"{origin}: {name} has shape {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}.")
    model.load_state_dict(tensors, strict=False, assign=True)  # checked above; the head is tied
    model.tie_weights()


def _generation(tokenizer: Path, about: dict[str, Any]) -> GenerationConfig:
    """What transformers' `generate` of a multilingual Whisper asks for, by the tokenizer's own numbers."""
    added = {entry["content"]: entry["id"] for entry in json.loads(tokenizer.read_text())["added_tokens"]}
    languages = {content: id_ for content, id_ in added.items() if id_ in set(about["lang_ids"])}
    return GenerationConfig(
        alignment_heads=about["alignment_heads"],
        begin_suppress_tokens=about["suppress_ids_begin"],
        suppress_tokens=about["suppress_ids"],
        bos_token_id=added["<|endoftext|>"],
        eos_token_id=added["<|endoftext|>"],
        pad_token_id=added["<|endoftext|>"],
        decoder_start_token_id=added["<|startoftranscript|>"],
        is_multilingual=True,
        lang_to_id=languages,
        task_to_id={"transcribe": added["<|transcribe|>"], "translate": added["<|translate|>"]},
        no_timestamps_token_id=added["<|notimestamps|>"],
        prev_sot_token_id=added["<|startofprev|>"],
        max_initial_timestamp_index=50,
        max_length=448,
        return_timestamps=False,
    )
