"""A checkpoint in the format of Hugging Face's transformers: model and processor, loaded strictly, decoding plainly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, get_peft_model
from transformers import AutoConfig, AutoProcessor, PreTrainedModel

from dragoman.errors import ModelError, first_line
from dragoman.files import digest_of_weights
from dragoman.inference.decoding.decoder import Translation
from dragoman.model.bases.loading import load_pretrained
from dragoman.model.folder import load_lora
from dragoman.model.hardware.memory import free_ram
from dragoman.model.hardware.placement import Placement
from dragoman.model.hardware.precision import unquantised

MAX_NEW_TOKENS = 400
"""As the papers whose systems these are compared with."""


@dataclass(frozen=True)
class CheckpointSpec:
    """What a system is made of: transformers' `kind` of model, the usual checkpoint's `name` on the hub, how many
    `beams` it is used with. `processor` prepares its inputs; `inner` names the kind's config in that of the checkpoint,
    where it is a part of it."""

    kind: Any
    name: str
    beams: int = 1
    processor: Any = AutoProcessor
    inner: str = ""

    def load(
        self,
        name: str | None = None,
        device: str | None = None,
        compute_type: str = "auto",
        beam_size: int | None = None,
    ) -> PretrainedModel:
        """This one, or another of its kind by folder or name on the hub; a folder of LoRA in PEFT's format is merged
        into the checkpoint that it names. On CUDA where there is one; "auto" is bf16, on a CPU fp32. Raises ModelError
        when something cannot be read, and, before the weights are, when memory is short."""
        if device == "auto":
            raise ModelError("The device auto is for our own models; name another, such as cuda or cpu.")
        name, main = name or self.name, Placement.choose(device).main
        dtype = unquantised(compute_type, main)
        base, lora = _base_of(name)
        try:
            whole = AutoConfig.from_pretrained(base)
            prepares = self.processor.from_pretrained(base)
        except (OSError, ValueError, ImportError) as error:
            raise ModelError(f"The checkpoint {name!r} cannot be loaded: {first_line(error)}") from error
        config = getattr(whole, self.inner, whole)
        _check_kind(self.kind, config, name)
        _check_memory(self.kind, config, name, dtype, main)
        straight: dict[str, Any] = {} if main.type == "cpu" else {"device_map": {"": main}}
        model = load_pretrained(self.kind, base, what="The checkpoint", config=config, dtype=dtype, **straight)
        identity = getattr(whole, "_commit_hash", None) or digest_of_weights(Path(base))
        if lora is not None:
            model = _merged(model, lora, Path(name))
            identity += f" with {digest_of_weights(Path(name))}"
        return PretrainedModel(model.eval(), prepares, name, identity, beam_size or self.beams)


@dataclass(frozen=True, eq=False)
class PretrainedModel:
    """`name` is a folder, or a name on the hub; `identity` tells its weights from others."""

    model: PreTrainedModel
    processor: Any
    name: str
    identity: str
    beams: int

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    @torch.inference_mode()
    def generate(self, inputs: Any, **options: Any) -> torch.Tensor:
        """Token ids (B, T). Neither sampling nor penalties, whatever the checkpoint's own settings are: with penalties,
        which also see the prompt and its padding, a text would depend on its batch."""
        settings = {"do_sample": False, "repetition_penalty": 1.0, "max_new_tokens": MAX_NEW_TOKENS, **options}
        return self.model.generate(**self._placed(inputs), num_beams=self.beams, **settings)

    @torch.inference_mode()
    def forward(self, inputs: Any) -> Any:
        """What the model says of these inputs, without writing."""
        return self.model(**self._placed(inputs))

    @property
    def tokenizer(self) -> Any:
        return getattr(self.processor, "tokenizer", self.processor)

    def texts(self, rows: Sequence[Sequence[int]]) -> list[Translation]:
        """New tokens of each row -> text without special tokens; truncated where nothing ended it."""
        found = []
        for row in rows:
            end = next((at for at, token in enumerate(row) if token in self._ends), None)
            raw = self.tokenizer.decode(row if end is None else row[:end], skip_special_tokens=True)
            found.append(Translation(raw.strip(), raw, end is None))
        return found

    def _placed(self, inputs: Any) -> dict[str, Any]:
        """On the model's device, and what is not whole numbers in its precision."""
        device, dtype = self.model.device, self.model.dtype
        return {
            name: value.to(device, dtype if value.is_floating_point() else value.dtype)
            if isinstance(value, torch.Tensor)
            else value
            for name, value in inputs.items()
        }

    @property
    def _ends(self) -> set[int]:
        ends = self.model.generation_config.eos_token_id
        return set(ends) if isinstance(ends, list) else {ends}


def _base_of(name: str) -> tuple[str, PeftConfig | None]:
    """The checkpoint itself; or, of a folder of LoRA, the one that it stands beside, and what it is like."""
    if not (Path(name) / "adapter_config.json").is_file():
        return name, None
    try:
        lora = PeftConfig.from_pretrained(name)
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{name}: its adapter_config.json cannot be read: {first_line(error)}") from error
    return str(lora.base_model_name_or_path), lora


def _merged(model: Any, lora: PeftConfig, folder: Path) -> Any:
    try:
        with_lora = get_peft_model(model, lora)
    except ValueError as error:
        raise ModelError(f"{folder}: its LoRA is of another model: {first_line(error)}") from error
    load_lora(with_lora, folder / "adapter_model.safetensors")
    return with_lora.merge_and_unload()


def _check_kind(kind: Any, config: Any, name: str) -> None:
    """The model class, or a class that chooses among several by the config."""
    fits = type(config) in kind._model_mapping if hasattr(kind, "_model_mapping") else type(config) is kind.config_class
    if not fits:
        raise ModelError(
            f"{name} is a checkpoint of {config.model_type!r}, which this system cannot use; name another."
        )


def _check_memory(kind: Any, config: Any, name: str, dtype: torch.dtype, device: torch.device) -> None:
    with torch.device("meta"):
        empty = kind.from_config(config) if hasattr(kind, "from_config") else kind(config)
    count = sum(parameter.numel() for parameter in empty.parameters())
    need, free, place = dtype.itemsize * count, free_ram(), "RAM"
    if device.type == "cuda":
        free, place = torch.cuda.mem_get_info(device)[0], "the GPU's memory"
    if need > free:
        half = f"; it would fit with compute type bfloat16 ({2 * count / 1e9:.1f} GB)" if 2 * count <= free else ""
        raise ModelError(
            f"{name}: its weights take {need / 1e9:.1f} GB, but {free / 1e9:.1f} GB of {place} is free{half}; free some"
            " memory, or name a smaller checkpoint."
        )
