"""A recipe -> the model as a module: frozen bases, a fresh adapter and fresh LoRA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from torch import nn
from transformers import AutoConfig, PreTrainedTokenizerBase, Wav2Vec2FeatureExtractor, WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from dragoman.errors import ModelError, first_line
from dragoman.model.adapters import make_adapter
from dragoman.model.bases import find_encoder, find_llm
from dragoman.model.bases.catalogue import FETCHABLE_BASES
from dragoman.model.bases.loading import load_pretrained
from dragoman.model.bases.location import BaseLocation
from dragoman.model.calibration import Calibration
from dragoman.model.encoder import ENCODERS, SpeechEncoder
from dragoman.model.llm import empty_llm, load_llm, width, with_lora
from dragoman.model.speech_llm import SpeechLLM
from dragoman.recipe import EncoderConfig, LlmConfig, Recipe, WaveformConfig

_BLANK = "<|blank|>"


@dataclass(frozen=True)
class LoadedModel:
    """A model with all that is needed to use it; `bases` is the folder of its own bases, if it has them; without a
    `calibration` nobody knows what its confidence is worth."""

    recipe: Recipe
    model: SpeechLLM
    tokenizer: PreTrainedTokenizerBase
    bases: Path | None
    calibration: Calibration | None = None


def new_model(
    recipe: Recipe, bases: Path | None, dtype: torch.dtype, llm_options: Mapping[str, Any] = MappingProxyType({})
) -> LoadedModel:
    """The frozen bases with a fresh adapter (and LoRA, which starts as nothing). `llm_options`: see `load_llm`."""
    own = _has_own_bases(recipe)
    if bases is None and own:
        raise no_bases(recipe)
    llm, tokenizer = load_llm(recipe.llm, bases, dtype, llm_options)
    model = assemble(recipe, load_encoder(recipe, bases, dtype), llm, tokenizer)
    return LoadedModel(recipe, model, tokenizer, bases if own else None)


def skeleton(recipe: Recipe, bases: Path | None = None) -> SpeechLLM:
    """The model without its weights (on the meta device): names, shapes and sizes, from the configs of the bases alone.
    Raises ModelError when one of them cannot be read."""
    kind, encoder_config = _encoder_class(recipe, find_encoder(recipe.encoder, bases))
    config = _config(find_llm(recipe.llm, bases))
    with torch.device("meta"):
        encoder = ENCODERS[recipe.audio.kind].of(kind(encoder_config), recipe.audio)
        adapter, llm = _fresh_parts(recipe, encoder, empty_llm(config))
        return SpeechLLM(encoder, adapter, llm, scale_audio=recipe.llm.scale_audio)


def pinned(recipe: Recipe) -> Recipe:
    """With the commits of its bases on the hub where it names no revision: those that are there now. Raises ModelError
    when one of them cannot be read."""
    parts: dict[str, EncoderConfig | LlmConfig] = {"encoder": recipe.encoder, "llm": recipe.llm}
    commits = {part: base.model_copy(update={"revision": _revision(base)}) for part, base in parts.items()}
    return recipe.model_copy(update=commits)


def _revision(base: EncoderConfig | LlmConfig) -> str | None:
    """The recipe's, or else the commit that the hub's cache holds of this base; None for what is no hub's."""
    if base.revision is not None or base.name in ("base", *FETCHABLE_BASES) or Path(base.name).exists():
        return base.revision
    _config(BaseLocation(base.name, base.name))  # puts it there
    file = try_to_load_from_cache(base.name, "config.json")
    return Path(file).parent.name if isinstance(file, str) else None


def context(recipe: Recipe, bases: Path | None) -> int | None:
    """How many positions the LLM reads at once, as far as its config says. Raises ModelError."""
    if bases is None and _has_own_bases(recipe):
        raise no_bases(recipe)
    config = _config(find_llm(recipe.llm, bases)).get_text_config()
    return getattr(config, "max_position_embeddings", None)


def assemble(recipe: Recipe, encoder: SpeechEncoder, llm: Any, tokenizer: PreTrainedTokenizerBase) -> SpeechLLM:
    """Encoder and LLM at hand -> the whole model, with fresh adapter and LoRA."""
    adapter, llm = _fresh_parts(recipe, encoder, llm)
    blank = tokenizer.convert_tokens_to_ids(_BLANK) if _BLANK in tokenizer.get_vocab() else tokenizer.pad_token_id
    model = SpeechLLM(
        encoder,
        adapter,
        llm,
        scale_audio=recipe.llm.scale_audio,
        blank_id=int(blank),
        lead_ids=tokenizer(recipe.prompt.before_audio).input_ids if recipe.prompt.before_audio else (),
    )
    norm = getattr(adapter, "norm", None)
    if norm is not None:
        # The adapter starts out as loud as what the LLM is used to read.
        nn.init.constant_(norm.weight, model.embedding_std / model.audio_scale)
    return model


def _config(place: BaseLocation) -> Any:
    try:
        return AutoConfig.from_pretrained(place.weights, revision=place.revision)
    except (OSError, ValueError) as error:
        raise ModelError(f"The config of {str(place.weights)!r} cannot be loaded: {first_line(error)}") from error


def _fresh_parts(recipe: Recipe, encoder: SpeechEncoder, llm: Any) -> tuple[nn.Module, Any]:
    """A fresh adapter, and the LLM with fresh LoRA; the encoder gets its LoRA in place."""
    adapter = make_adapter(recipe.adapter, encoder.width, width(llm))
    if recipe.encoder.lora is not None:
        encoder.backbone = with_lora(encoder.backbone, recipe.encoder.lora)
    return adapter, llm if recipe.llm.lora is None else with_lora(llm, recipe.llm.lora)


def _has_own_bases(recipe: Recipe) -> bool:
    return "base" in (recipe.llm.name, recipe.encoder.name) or recipe.llm.vocabulary is not None


def no_bases(recipe: Recipe) -> ModelError:
    return ModelError(
        f"The recipe {recipe.name!r} has bases of its own: make them with `dragoman bases`, name them with --bases."
    )


def load_encoder(recipe: Recipe, bases: Path | None, dtype: torch.dtype) -> SpeechEncoder:
    """The frozen encoder. Raises ModelError where it hears otherwise than the recipe says."""
    place = find_encoder(recipe.encoder, bases)
    encoder = ENCODERS[recipe.audio.kind].of(_load_backbone(recipe, place, dtype), recipe.audio)
    encoder.check(recipe.audio)
    if isinstance(recipe.audio, WaveformConfig):
        _check_normalised(recipe.audio, place)
    return encoder


def _encoder_class(recipe: Recipe, place: BaseLocation) -> tuple[Any, Any]:
    """The class of the encoder's backbone and its config, without the masks of its pre-training: the vector that stands
    in them is often missing, and never heard here."""
    config, models = _config(place), ENCODERS[recipe.audio.kind].models
    if config.model_type not in models:
        raise ModelError(
            f"encoder.name: {str(place.weights)!r} is a {config.model_type}; the recipe's audio.kind, "
            f"{recipe.audio.kind}, is heard by {' or '.join(models)}."
        )
    if config.model_type != "whisper":
        config.mask_time_prob = config.mask_feature_prob = 0.0
    return models[config.model_type], config


def _load_backbone(recipe: Recipe, place: BaseLocation, dtype: torch.dtype) -> Any:
    kind, config = _encoder_class(recipe, place)
    options = {"config": config, "revision": place.revision, "dtype": dtype}
    if kind is WhisperEncoder and not place.own:  # checkpoints of Whisper have its decoder too
        return load_pretrained(WhisperModel, place.weights, what="The encoder", **options).get_encoder()
    return load_pretrained(kind, place.weights, what="The encoder", own=place.own, **options)


def _check_normalised(audio: WaveformConfig, place: BaseLocation) -> None:
    """Raise ModelError where the checkpoint says otherwise; not all say it."""
    try:
        found, _ = Wav2Vec2FeatureExtractor.get_feature_extractor_dict(place.weights, revision=place.revision)
    except OSError:
        return
    if found.get("do_normalize", audio.normalise) != audio.normalise:
        wanted, said = str(not audio.normalise).lower(), str(audio.normalise).lower()
        raise ModelError(f"audio.normalise: {place.weights} was trained with {wanted}, the recipe says {said}.")
