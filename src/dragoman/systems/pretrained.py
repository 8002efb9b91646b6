"""A checkpoint in the format of Hugging Face's transformers: model and processor, loaded strictly, decoding plainly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from transformers import AutoConfig, AutoProcessor, PreTrainedModel

from dragoman.errors import ModelError
from dragoman.files import digest_of_weights
from dragoman.inference.decode import Translation
from dragoman.model.llm import first_line, load_pretrained
from dragoman.model.memory import free_ram

MAX_NEW_TOKENS = 400
"""As the papers whose systems these are compared with (PUBLISHED_SYSTEMS.md, section 5)."""


@dataclass(frozen=True, eq=False)
class Pretrained:
    """`name` is a folder, or a name on the hub; `identity` tells its weights from others."""

    model: PreTrainedModel
    processor: Any
    name: str
    identity: str
    beams: int

    @classmethod
    def load(
        cls, kind: Any, name: str, device: str | None, beams: int, *, processor: Any = AutoProcessor, inner: str = ""
    ) -> Pretrained:
        """`kind` and `processor` are transformers' classes; `inner` names the kind's config in that of the checkpoint,
        where it is a part of it. A folder of LoRA in PEFT's format is merged into the checkpoint that it names. On CUDA
        where there is one, in bf16 except on a CPU. Raises ModelError when something cannot be read, and, before the
        weights are, when memory is short."""
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        dtype = torch.float32 if chosen.type == "cpu" else torch.bfloat16
        base = _base_of(name)
        try:
            whole = AutoConfig.from_pretrained(base)
            prepares = processor.from_pretrained(base)
        except (OSError, ValueError, ImportError) as error:
            raise ModelError(f"The checkpoint {name!r} cannot be loaded: {first_line(error)}") from error
        config = getattr(whole, inner, whole)
        _check_kind(kind, config, name)
        _check_memory(kind, config, name, dtype, chosen)
        model = load_pretrained(kind, base, what="The checkpoint", config=config, dtype=dtype).eval().to(chosen)
        identity = getattr(whole, "_commit_hash", None) or digest_of_weights(Path(base))
        if base != name:
            model = PeftModel.from_pretrained(model, name).merge_and_unload()
            identity += f" with {digest_of_weights(Path(name))}"
        return cls(model, prepares, name, identity, beams)

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


def _base_of(name: str) -> str:
    """The checkpoint itself, or the one that a folder of LoRA stands beside."""
    if not (Path(name) / "adapter_config.json").is_file():
        return name
    return str(PeftConfig.from_pretrained(name).base_model_name_or_path)


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
    need = dtype.itemsize * sum(parameter.numel() for parameter in empty.parameters())
    rooms = {"RAM": free_ram()}
    if device.type == "cuda":
        rooms["the GPU's memory"] = torch.cuda.mem_get_info(device)[0]
    for place, free in rooms.items():
        if need > free:
            raise ModelError(
                f"{name}: its weights take {need / 1e9:.1f} GB, but {free / 1e9:.1f} GB of {place} is free; free some "
                "memory, or name a smaller checkpoint."
            )
