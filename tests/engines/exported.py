"""Models to export: LoRA everywhere, both kinds of padding, an LLM that scales its embeddings and one that does not."""

from __future__ import annotations

from pathlib import Path

from toy import LORA, Q_FORMER, STACKED, gemma2_llm, model, recipe, schedule, write_bases

from dragoman.model.folder import save_model
from dragoman.recipe import Recipe

_SIZES = {"hidden": 64, "layers": 2, "heads": 2, "feed_forward": 96, "schedule": schedule()}
_TABLES = {
    "encoder": {"name": "base", "lora": {**LORA, "targets": ["q_proj", "fc1"]}},
    "bases": {**recipe().bases.model_dump(), "llm": _SIZES},  # type: ignore[union-attr]  # heads of 32: vLLM has no smaller
}
RECIPES = {
    "qwen2": recipe(**_TABLES, adapter=STACKED, llm={"name": "base", "lora": LORA}),
    "gemma2": recipe(
        **_TABLES,
        audio={"mel_bins": 80, "window_s": 2.0, "padding": "window"},
        adapter=Q_FORMER,
        llm={"name": "base", "lora": LORA, "scale_audio": True},
        prompt={"before_audio": "the cat "},
    ),
}


def write_model(folder: Path, chosen: str) -> Path:
    """The model folder of one of RECIPES, with random weights."""
    one: Recipe = RECIPES[chosen]
    write_bases(folder / "bases", one)
    if chosen == "gemma2":
        gemma2_llm().save_pretrained(folder / "bases" / "llm")
    save_model(model(folder, one), folder / "model")
    return folder / "model"
