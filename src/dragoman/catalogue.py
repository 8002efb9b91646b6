"""The models that recipes describe, and other people's systems: how large, in how many languages, under which licence,
what papers report of them, how to get them. Known without loading any (no torch)."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from dragoman.model.bases import VOCABULARY, fetched_bases
from dragoman.model.hub import BUILT_IN, RELEASES
from dragoman.recipe import Recipe, load_recipe, names


@dataclass(frozen=True)
class HubModel:
    """A model on the hub, or one that is fetched: all its parameters that are used (of Gemma3 the language model, of an
    Omni the thinker, of Seamless what goes from speech to text), and its licence. `pieces` and `width` are those of
    an LLM's tied embeddings, where a recipe trims them."""

    parameters: int
    licence: str
    pieces: int = 0
    width: int = 0


HUB_MODELS: dict[str, HubModel] = {
    "whisper-base": HubModel(20_590_592, "MIT"),
    "gemma-3-270m": HubModel(268_098_176, "Gemma", pieces=262_144, width=640),
    "openai/whisper-base": HubModel(20_590_592, "Apache-2.0"),
    "openai/whisper-small": HubModel(88_154_112, "Apache-2.0"),
    "openai/whisper-medium": HubModel(307_216_384, "Apache-2.0"),
    "openai/whisper-large-v2": HubModel(636_784_640, "Apache-2.0"),
    "openai/whisper-large-v3": HubModel(636_968_960, "Apache-2.0"),
    "voidful/mhubert-base": HubModel(94_370_944, "unstated"),
    "Qwen/Qwen2.5-3B": HubModel(3_085_938_688, "Qwen Research"),
    "Qwen/Qwen2.5-7B": HubModel(7_615_616_512, "Apache-2.0"),
    "Qwen/Qwen2.5-32B": HubModel(32_763_876_352, "Apache-2.0"),
    "ModelSpace/GemmaX2-28-9B-v0.1": HubModel(9_241_705_984, "Gemma"),
    "google/gemma-3-27b-it": HubModel(27_009_346_304, "Gemma"),
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": HubModel(1_100_048_384, "Apache-2.0"),
    "NousResearch/Llama-2-7b-chat-hf": HubModel(6_738_415_616, "Llama 2"),
    "NousResearch/Llama-2-13b-chat-hf": HubModel(13_015_864_320, "Llama 2"),
    "Qwen/Qwen1.5-7B-Chat": HubModel(7_721_324_544, "Tongyi Qianwen"),
    "chargoddard/internlm2-7b-llama": HubModel(7_737_708_544, "InternLM"),
}
WHISPER, NLLB, CHAT = "openai/whisper-large-v3", "facebook/nllb-200-3.3B", "Qwen/Qwen2.5-7B-Instruct"
SEAMLESS, VOXTRAL = "facebook/seamless-m4t-v2-large", "mistralai/Voxtral-Mini-3B-2507"
SEAMLESS_V1, SEAMLESS_MEDIUM = "facebook/hf-seamless-m4t-large", "facebook/hf-seamless-m4t-medium"
SPEECH2TEXT = "facebook/s2t-small-covost2-fr-en-st"
CHECKPOINTS: dict[str, HubModel] = {
    WHISPER: HubModel(1_543_490_560, "Apache-2.0"),
    NLLB: HubModel(3_344_863_232, "CC-BY-NC-4.0"),
    CHAT: HubModel(7_615_616_512, "Apache-2.0"),
    SEAMLESS: HubModel(1_501_842_240, "CC-BY-NC-4.0"),
    SEAMLESS_V1: HubModel(1_526_945_088, "CC-BY-NC-4.0"),
    SEAMLESS_MEDIUM: HubModel(821_351_744, "CC-BY-NC-4.0"),
    SPEECH2TEXT: HubModel(27_118_080, "MIT"),
    "openai/whisper-small": HubModel(241_734_912, "Apache-2.0"),
    "openai/whisper-medium": HubModel(763_857_920, "Apache-2.0"),
    "openai/whisper-large-v2": HubModel(1_543_304_960, "Apache-2.0"),
    "Qwen/Qwen2.5-3B-Instruct": HubModel(3_085_938_688, "Qwen Research"),
    "Qwen/Qwen2.5-32B-Instruct": HubModel(32_763_876_352, "Apache-2.0"),
    "Qwen/Qwen2-Audio-7B": HubModel(8_397_094_912, "Apache-2.0"),
    "Qwen/Qwen2.5-Omni-7B": HubModel(8_931_813_888, "Apache-2.0"),
    "Qwen/Qwen3-Omni-30B-A3B-Instruct": HubModel(31_719_205_488, "Apache-2.0"),
    VOXTRAL: HubModel(4_676_271_104, "Apache-2.0"),
}


@dataclass(frozen=True)
class PublishedModel:
    """`trained` parameters (adapter and LoRA), and what the paper `reports`."""

    trained: int
    reports: str = ""


_COVOST = "CoVoST-2 eng-deu/jpn/cmn: BLEU"
_FRENCH = "CoVoST-2 fra-eng: BLEU"
_INTO_ENGLISH = "CoVoST-2 fra/jpn/deu/cmn/spa/ita-eng: BLEU"
PUBLISHED_MODELS: dict[str, PublishedModel] = {
    "llm-srt-3b": PublishedModel(73_700_352, "FLEURS 6x12: BLEU 20.6"),
    "llm-srt-7b": PublishedModel(80_521_728, "FLEURS 6x12: BLEU 21.4"),
    "llm-srt-32b": PublishedModel(84_458_496, "FLEURS 6x12: BLEU 24.6"),
    "llm-srt-3b-v2": PublishedModel(73_700_352, "FLEURS 15x14: BLEU 20.6, COMET 82.1"),
    "llm-srt-3b-v2-lora": PublishedModel(75_543_552, "FLEURS 15x14: BLEU 21.4, COMET 82.2"),
    "llm-srt-3b-covost2": PublishedModel(73_700_352, f"{_COVOST} 26.5/39.4/44.0"),
    "llm-srt-7b-covost2": PublishedModel(80_521_728, f"{_COVOST} 28.7/41.6/47.1"),
    "llm-srt-7b-covost2-without-asr": PublishedModel(80_521_728, f"{_COVOST} 36.8 (mean)"),
    "llm-srt-7b-covost2-without-smt": PublishedModel(80_521_728, f"{_COVOST} 38.0 (mean)"),
    "llm-srt-7b-covost2-without-srt": PublishedModel(80_521_728, f"{_COVOST} 25.6/36.7/40.4"),
    "baseline-3b": PublishedModel(73_700_352, "FLEURS 6x12: BLEU 8.6"),
    "baseline-7b": PublishedModel(80_521_728),
    "baseline-3b-covost2": PublishedModel(73_700_352, f"{_COVOST} 23.6/34.7/38.6"),
    "baseline-7b-covost2": PublishedModel(80_521_728, f"{_COVOST} 25.3/36.5/40.2"),
    "mcat-small-9b": PublishedModel(89_521_152, "FLEURS eng-27: COMET 85.0; eng-11: spBLEU 31.0"),
    "mcat-small-9b-without-asr": PublishedModel(89_521_152, "FLEURS eng-11: spBLEU 0.0"),
    "mcat-small-9b-without-smt-srt": PublishedModel(89_521_152, "FLEURS eng-11: spBLEU 14.1"),
    "mcat-small-9b-without-lora": PublishedModel(80_575_488),
    "mcat-small-9b-covost2": PublishedModel(89_521_152, "COMET 85.6 where mcat-small-9b has 81.7"),
    "smt-9b": PublishedModel(89_467_392),
    "mcat-large-27b": PublishedModel(101_929_216, "FLEURS 9x69: COMET 81.5; eng-27: COMET 86.3"),
    "llast-2b": PublishedModel(509_089_792, f"{_INTO_ENGLISH} 41.2/24.2/36.8/19.2/43.2/39.3"),
    "llast-8b": PublishedModel(1_412_444_160, f"{_INTO_ENGLISH} 44.1/24.4/40.8/23.3/45.3/42.1"),
    "llast-14b": PublishedModel(2_156_149_760, f"{_INTO_ENGLISH} 45.1/28.8/41.2/24.8/46.1/43.0"),
    "llast-2b-mhubert": PublishedModel(413_669_376, f"{_FRENCH} 24.4"),
    "llast-2b-whisper-base": PublishedModel(420_222_976, f"{_FRENCH} 28.7"),
    "llast-8b-whisper-base": PublishedModel(1_322_004_480, f"{_FRENCH} 37.0"),
    "llast-8b-whisper-small": PublishedModel(1_337_208_832, f"{_FRENCH} 41.2"),
    "llast-8b-whisper-medium": PublishedModel(1_373_646_848, f"{_FRENCH} 43.1"),
    "llast-8b-adapter-only": PublishedModel(38_809_600, f"{_FRENCH} 40.5"),
    "llast-8b-s-lora-only": PublishedModel(133_181_440, f"{_FRENCH} 41.3"),
    "llast-8b-l-lora-only": PublishedModel(1_318_072_320, f"{_FRENCH} 43.6"),
    "llast-8b-french": PublishedModel(1_412_444_160, f"{_FRENCH} 42.5"),
    "llast-8b-without-asr": PublishedModel(1_412_444_160),
    "llast-8b-qwen": PublishedModel(1_412_444_160, "CoVoST-2 eng-cmn: BLEU 47.3"),
    "llast-8b-qwen-without-asr": PublishedModel(1_412_444_160),
    "llast-8b-internlm2": PublishedModel(1_475_358_720, "CoVoST-2 eng-cmn: BLEU 47.4"),
    "llast-8b-internlm2-without-asr": PublishedModel(1_475_358_720),
}


@dataclass(frozen=True)
class ExternalSystem:
    """A third-party system: its usual checkpoints; how many languages it `hears` and `writes` as its authors count
    them, None where they do not; and what the papers of LLM-SRT, MCAT and LLaST report of it."""

    checkpoints: tuple[str, ...]
    hears: int | None = None
    writes: int | None = None
    reports: str = ""


# Languages: Whisper's tokenizer (large-v3), the cards of both SeamlessM4T, NLLB-200, Qwen3-Omni and Voxtral.
EXTERNAL_SYSTEMS: dict[str, ExternalSystem] = {
    "whisper": ExternalSystem((WHISPER,), 100, 1),
    "speech2text": ExternalSystem((SPEECH2TEXT,), 1, 1, "CoVoST-2 fra/deu/spa-eng, a model each: BLEU 27.2/18.2/25.1"),
    "seamless-m4t-medium": ExternalSystem(
        (SEAMLESS_MEDIUM,), 101, 96, f"{_INTO_ENGLISH} 38.4/15.2/34.7/18.0/38.7/36.5"
    ),
    "seamless-m4t-large": ExternalSystem((SEAMLESS_V1,), 101, 96),
    "seamless-m4t-v2-large": ExternalSystem(
        (SEAMLESS,),
        101,
        96,
        f"FLEURS 6x12: BLEU 20.2; 9x69: COMET 73.2; {_COVOST} 37.0/39.7/35.9;"
        f" {_INTO_ENGLISH} 42.1/23.8/39.9/22.2/42.9/40.0",
    ),
    "qwen2-audio-7b": ExternalSystem(
        ("Qwen/Qwen2-Audio-7B",), reports=f"FLEURS 6x12: BLEU 16.0; {_COVOST} 29.9/39.7/44.0"
    ),
    "qwen2.5-omni-7b": ExternalSystem(("Qwen/Qwen2.5-Omni-7B",), reports="FLEURS eng-27: COMET 73.8"),
    "qwen3-omni-30b-a3b": ExternalSystem(("Qwen/Qwen3-Omni-30B-A3B-Instruct",), 19, 119),
    "voxtral-mini-3b": ExternalSystem((VOXTRAL,), 8, 8),
    "whisper+nllb": ExternalSystem((WHISPER, NLLB), 100, 200, f"{_COVOST} 33.4/31.0/32.0; FLEURS 9x69: COMET 80.5"),
    "whisper+chat": ExternalSystem((WHISPER, CHAT), 100, None, f"FLEURS 6x12: BLEU 20.9; {_COVOST} 24.1/29.8/37.6"),
    "seamless-m4t-v2-large+nllb": ExternalSystem((SEAMLESS, NLLB), 101, 200),
    "seamless-m4t-v2-large+chat": ExternalSystem((SEAMLESS, CHAT), 101),
    "voxtral-mini-3b+nllb": ExternalSystem((VOXTRAL, NLLB), 8, 200),
    "voxtral-mini-3b+chat": ExternalSystem((VOXTRAL, CHAT), 8),
}
_CHAT_3B, _CHAT_32B = "Qwen/Qwen2.5-3B-Instruct", "Qwen/Qwen2.5-32B-Instruct"
OTHER_CHECKPOINTS: dict[tuple[str, str], ExternalSystem] = {
    ("whisper", "openai/whisper-small"): ExternalSystem(
        ("openai/whisper-small",), 99, 1, f"{_INTO_ENGLISH} 27.3/17.3/25.3/6.8/33.0/24.0"
    ),
    ("whisper", "openai/whisper-medium"): ExternalSystem(("openai/whisper-medium",), 99, 1),
    ("whisper", "openai/whisper-large-v2"): ExternalSystem(
        ("openai/whisper-large-v2",), 99, 1, f"{_INTO_ENGLISH} 36.4/26.1/36.3/18.0/40.1/30.9"
    ),
    ("whisper+chat", f"+{_CHAT_3B}"): ExternalSystem(
        (WHISPER, _CHAT_3B), 100, None, f"FLEURS 6x12: BLEU 18.8; {_COVOST} 21.1/28.1/35.0"
    ),
    ("whisper+chat", f"+{_CHAT_32B}"): ExternalSystem(
        (WHISPER, _CHAT_32B), 100, None, f"FLEURS 6x12: BLEU 23.3; {_COVOST} 28.3/35.0/41.1"
    ),
}
"""Rows of the papers' tables that are a system with another `--model` than its usual one."""


@dataclass(frozen=True)
class CatalogueEntry:
    """One model. `sources` and `targets` are None, and `hears` and `writes` count, where the checkpoint knows them.
    `parameters` and `memory_bytes` (of its weights: bases in bf16, its own in fp32) are None where it has bases that
    are not made yet; `encoder` and `llm` are those of a recipe, `llm` the checkpoints of another system; `licence` is
    that of weights that can be had, `llm_licence` that of the LLM."""

    name: str
    about: str
    sources: list[str] | None
    targets: list[str] | None
    hears: int | None
    writes: int | None
    encoder: str | None
    llm: str
    parameters: int | None
    memory_bytes: int | None
    licence: str | None
    llm_licence: str | None
    reports: str
    get: str


def catalogue_entries() -> list[CatalogueEntry]:
    """All recipes that Dragoman ships, smallest first, then the other systems."""
    found = [_entry(load_recipe(name)) for name in names()]
    others = [_external(name, f"--system {name}", other) for name, other in EXTERNAL_SYSTEMS.items()]
    others += [
        _external(f"{name} {model}", f"--system {name} --model {model}", other)
        for (name, model), other in OTHER_CHECKPOINTS.items()
    ]
    return sorted(found, key=lambda entry: (entry.parameters or 0, entry.name)) + others


def _entry(recipe: Recipe) -> CatalogueEntry:
    count = _count(recipe)
    released = [name for name, release in RELEASES.items() if release.recipe == recipe.name]
    had = [f"hub: {name}" for name in released] or (["built in"] if (BUILT_IN / recipe.name).is_dir() else [])
    return CatalogueEntry(
        name=recipe.name,
        about=recipe.about,
        sources=recipe.sources,
        targets=recipe.targets,
        hears=len(recipe.sources),
        writes=len(recipe.targets),
        encoder="its own" if recipe.encoder.name == "base" else recipe.encoder.name,
        llm="its own" if recipe.llm.name == "base" else recipe.llm.name,
        parameters=None if count is None else sum(count),
        memory_bytes=None if count is None else 2 * count[0] + 4 * count[1],
        licence=recipe.licence if had else None,
        llm_licence=HUB_MODELS[recipe.llm.name].licence if recipe.llm.name in HUB_MODELS else None,
        reports=PUBLISHED_MODELS[recipe.name].reports if recipe.name in PUBLISHED_MODELS else "",
        get=had[0] if had else f"dragoman train {recipe.name}",
    )


def _external(name: str, get: str, other: ExternalSystem) -> CatalogueEntry:
    parts = [CHECKPOINTS[checkpoint] for checkpoint in other.checkpoints]
    count = sum(part.parameters for part in parts)
    return CatalogueEntry(
        name=name,
        about="Other people's: see docs/systems.md.",
        sources=None,
        targets=None,
        hears=other.hears,
        writes=other.writes,
        encoder=None,
        llm=" + ".join(other.checkpoints),
        parameters=count,
        memory_bytes=2 * count,
        licence="; ".join(dict.fromkeys(part.licence for part in parts)),
        llm_licence=None,
        reports=other.reports,
        get=get,
    )


def _count(recipe: Recipe) -> tuple[int, int] | None:
    """Parameters of the bases, and of adapter and LoRA; a recipe that goes on from a model has that model's."""
    if recipe.name in PUBLISHED_MODELS:
        bases = HUB_MODELS[recipe.encoder.name].parameters + HUB_MODELS[recipe.llm.name].parameters
        return bases, PUBLISHED_MODELS[recipe.name].trained
    folder = BUILT_IN / (recipe.init_from or recipe.name)
    if not folder.is_dir():
        return None
    own = sum(_elements(folder / part / "model.safetensors") for part in ("encoder", "llm") if (folder / part).is_dir())
    rest = sum(_elements(path) for path in folder.rglob("*.safetensors")) - own
    return own + sum(_fetched(HUB_MODELS[name], folder) for name in fetched_bases(recipe)), rest


def _fetched(base: HubModel, folder: Path) -> int:
    """Parameters of a base, as the model in the folder has it."""
    if not base.pieces or not (folder / VOCABULARY).is_file():
        return base.parameters
    vocabulary = json.loads((folder / VOCABULARY).read_text(encoding="utf-8"))
    return base.parameters - base.width * (base.pieces - len(vocabulary["kept"]) - len(vocabulary["tags"]))


def _elements(path: Path) -> int:
    """Of all tensors of a safetensors file, by its header."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
