"""The models that recipes describe: how large, in how many languages, under which licence, what their papers report,
how to get them. Known without loading any (no torch)."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from dragoman.model.hub import BUILT_IN, RELEASES
from dragoman.recipe import Recipe, load_recipe, names


@dataclass(frozen=True)
class Base:
    """A model on the hub: all its parameters that a recipe uses (of Gemma3 the language model), and its licence."""

    parameters: int
    licence: str


BASES: dict[str, Base] = {
    "openai/whisper-large-v2": Base(636_784_640, "Apache-2.0"),
    "openai/whisper-large-v3": Base(636_968_960, "Apache-2.0"),
    "Qwen/Qwen2.5-3B": Base(3_085_938_688, "Qwen Research"),
    "Qwen/Qwen2.5-7B": Base(7_615_616_512, "Apache-2.0"),
    "Qwen/Qwen2.5-32B": Base(32_763_876_352, "Apache-2.0"),
    "ModelSpace/GemmaX2-28-9B-v0.1": Base(9_241_705_984, "Gemma"),
    "google/gemma-3-27b-it": Base(27_009_346_304, "Gemma"),
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": Base(1_100_048_384, "Apache-2.0"),
    "NousResearch/Llama-2-7b-chat-hf": Base(6_738_415_616, "Llama 2"),
    "NousResearch/Llama-2-13b-chat-hf": Base(13_015_864_320, "Llama 2"),
}


@dataclass(frozen=True)
class Published:
    """`trained` parameters (adapter and LoRA), and what the paper `reports`."""

    trained: int
    reports: str = ""


_COVOST = "CoVoST-2 eng-deu/jpn/cmn: BLEU"
PUBLISHED: dict[str, Published] = {
    "llm-srt-3b": Published(73_700_352, "FLEURS 6x12: BLEU 20.6"),
    "llm-srt-7b": Published(80_521_728, "FLEURS 6x12: BLEU 21.4"),
    "llm-srt-32b": Published(84_458_496, "FLEURS 6x12: BLEU 24.6"),
    "llm-srt-3b-v2": Published(73_700_352, "FLEURS 15x14: BLEU 20.6, COMET 82.1"),
    "llm-srt-3b-v2-lora": Published(75_543_552, "FLEURS 15x14: BLEU 21.4, COMET 82.2"),
    "llm-srt-3b-covost2": Published(73_700_352, f"{_COVOST} 26.5/39.4/44.0"),
    "llm-srt-7b-covost2": Published(80_521_728, f"{_COVOST} 28.7/41.6/47.1"),
    "llm-srt-7b-covost2-without-asr": Published(80_521_728, f"{_COVOST} 36.8 (mean)"),
    "llm-srt-7b-covost2-without-smt": Published(80_521_728, f"{_COVOST} 38.0 (mean)"),
    "llm-srt-7b-covost2-without-srt": Published(80_521_728, f"{_COVOST} 25.6/36.7/40.4"),
    "baseline-3b": Published(73_700_352, "FLEURS 6x12: BLEU 8.6"),
    "baseline-7b": Published(80_521_728),
    "baseline-3b-covost2": Published(73_700_352, f"{_COVOST} 23.6/34.7/38.6"),
    "baseline-7b-covost2": Published(80_521_728, f"{_COVOST} 25.3/36.5/40.2"),
    "mcat-small-9b": Published(89_521_152, "FLEURS eng-27: COMET 85.0; eng-11: spBLEU 31.0"),
    "mcat-small-9b-without-asr": Published(89_521_152, "FLEURS eng-11: spBLEU 0.0"),
    "mcat-small-9b-without-smt-srt": Published(89_521_152, "FLEURS eng-11: spBLEU 14.1"),
    "mcat-small-9b-without-lora": Published(80_575_488),
    "mcat-small-9b-covost2": Published(89_521_152, "COMET 85.6 where mcat-small-9b has 81.7"),
    "mcat-large-27b": Published(101_929_216, "FLEURS 9x69: COMET 81.5; eng-27: COMET 86.3"),
    "llast-2b": Published(509_089_792, "CoVoST-2 fra/jpn/deu/cmn/spa/ita-eng: BLEU 41.2/24.2/36.8/19.2/43.2/39.3"),
    "llast-8b": Published(1_412_444_160, "CoVoST-2 fra/jpn/deu/cmn/spa/ita-eng: BLEU 44.1/24.4/40.8/23.3/45.3/42.1"),
    "llast-14b": Published(2_156_149_760, "CoVoST-2 fra/jpn/deu/cmn/spa/ita-eng: BLEU 45.1/28.8/41.2/24.8/46.1/43.0"),
}


@dataclass(frozen=True)
class Entry:
    """One model. `parameters` and `memory_bytes` (of its weights: bases in bf16, its own in fp32) are None where it has
    bases that are not made yet; `licence` is that of weights that can be had, `llm_licence` that of the LLM."""

    name: str
    about: str
    sources: list[str]
    targets: list[str]
    llm: str
    parameters: int | None
    memory_bytes: int | None
    licence: str | None
    llm_licence: str | None
    reports: str
    get: str


def entries() -> list[Entry]:
    """All recipes that Dragoman ships, smallest first."""
    found = [_entry(load_recipe(name)) for name in names()]
    return sorted(found, key=lambda entry: (entry.parameters or 0, entry.name))


def _entry(recipe: Recipe) -> Entry:
    count = _count(recipe)
    released = [name for name, release in RELEASES.items() if release.recipe == recipe.name]
    had = [f"hub: {name}" for name in released] or (["built in"] if (BUILT_IN / recipe.name).is_dir() else [])
    return Entry(
        name=recipe.name,
        about=recipe.about,
        sources=recipe.sources,
        targets=recipe.targets,
        llm="its own" if recipe.llm.name == "base" else recipe.llm.name,
        parameters=None if count is None else sum(count),
        memory_bytes=None if count is None else 2 * count[0] + 4 * count[1],
        licence=recipe.licence if had else None,
        llm_licence=BASES[recipe.llm.name].licence if recipe.llm.name in BASES else None,
        reports=PUBLISHED[recipe.name].reports if recipe.name in PUBLISHED else "",
        get=had[0] if had else f"dragoman train {recipe.name}",
    )


def _count(recipe: Recipe) -> tuple[int, int] | None:
    """Parameters of the bases, and of adapter and LoRA; a recipe that goes on from a model has that model's."""
    if recipe.name in PUBLISHED:
        bases = BASES[recipe.encoder.name].parameters + BASES[recipe.llm.name].parameters
        return bases, PUBLISHED[recipe.name].trained
    folder = BUILT_IN / (recipe.start or recipe.name)
    if not folder.is_dir():
        return None
    bases = sum(_elements(folder / part / "model.safetensors") for part in ("encoder", "llm"))
    return bases, sum(_elements(path) for path in folder.rglob("*.safetensors")) - bases


def _elements(path: Path) -> int:
    """Of all tensors of a safetensors file, by its header."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
