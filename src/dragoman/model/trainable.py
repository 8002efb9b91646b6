"""Which parameters a stage trains; a part that matches nothing is an error."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from dragoman.errors import RecipeError

# Part -> what the names of its parameters hold.
PARTS: dict[str, tuple[str, str]] = {
    "adapter": ("adapter.", ""),
    "llm_lora": ("llm.", ".lora_"),
    "encoder_lora": ("encoder.", ".lora_"),
}


def train_only(module: nn.Module, parts: Sequence[str]) -> list[str]:
    """Freeze everything but `parts`; parameters in training are held in fp32. Returns their names."""
    found = {part: [name for name, _ in module.named_parameters() if _belongs(name, part)] for part in parts}
    for part, names in found.items():
        if not names:
            raise RecipeError(
                f"trains: {part!r} matches no parameter of this model; remove it or give the model a LoRA."
            )
    chosen = {name for names in found.values() for name in names}
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in chosen)
        if name in chosen:
            parameter.data = parameter.data.float()
    return sorted(chosen)


def part_of(name: str) -> str | None:
    """The trainable part a parameter belongs to; None for what is always frozen."""
    return next((part for part in PARTS if _belongs(name, part)), None)


def _belongs(name: str, part: str) -> bool:
    start, inside = PARTS[part]
    return name.startswith(start) and inside in name
