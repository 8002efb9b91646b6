"""What vLLM does with a recording before the model: log-mel, and a place in the prompt for each audio embedding.

Shapes: N samples at 16 kHz, M mel bins, F mel frames, A audio tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.parse import AudioProcessorItems, MultiModalDataParser
from vllm.multimodal.processing import (
    BaseDummyInputsBuilder,
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    PromptReplacement,
)

from dragoman.data.audio import SAMPLE_RATE
from dragoman.data.features import LogMel
from dragoman.engines.vllm.config import DragomanConfig, mel_table, tokens_of_mel
from dragoman.engines.vllm.export import AUDIO_TOKEN


class AudioParser(MultiModalDataParser):
    """Beside recordings it takes log-mels (M, F), which a Translator has made already."""

    def _parse_audio_data(self, data: Any) -> Any:
        items = data if isinstance(data, list) else [data]
        if all(isinstance(item, np.ndarray) and item.ndim == 2 for item in items):
            return AudioProcessorItems(items)  # mixed down to one channel otherwise
        return super()._parse_audio_data(data)


class ProcessingInfo(BaseProcessingInfo):
    """What a model takes: one recording, at most as long as its window. There is no processor of transformers' here:
    the features are our own."""

    @cached_property
    def config(self) -> DragomanConfig:
        return self.ctx.get_hf_config(DragomanConfig)

    @cached_property
    def features(self) -> LogMel:
        return LogMel.from_config(mel_table(self.config.parsed_recipe()))

    @cached_property
    def window_tokens(self) -> int:
        """A of the longest recording."""
        return tokens_of_mel(self.config.parsed_recipe(), self.features.num_frames(self.features.max_samples))

    def get_data_parser(self) -> MultiModalDataParser:
        # PyAV is a dependency of ours; vLLM's default, torchaudio, has no build for a CPU
        return AudioParser(target_sr=SAMPLE_RATE, target_channels=1, audio_resample_method="pyav")

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        return {"audio": 1}

    def get_supported_mm_processor_kwargs(self) -> dict[str, set[str]]:
        return {}

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int]) -> Mapping[str, int]:
        return {"audio": self.window_tokens}


class DummyInputsBuilder(BaseDummyInputsBuilder[ProcessingInfo]):
    """The most that a prompt can hold, for vLLM to measure its memory with."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        return AUDIO_TOKEN * mm_counts.get("audio", 0)

    def get_dummy_mm_data(self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Mapping[str, Any]) -> Any:
        count, most = mm_counts.get("audio", 0), self.info.features.max_samples
        return {"audio": self._get_dummy_audios(length=most, num_audios=count, overrides=mm_options.get("audio"))}


class Processor(BaseMultiModalProcessor[ProcessingInfo]):
    """Recordings (N,), or log-mels as they are -> `mel` (M, F) and `num_frames`; `<|audio|>` in the prompt becomes A of
    itself."""

    def _call_hf_processor(self, hf_data: Mapping[str, Any], hf_kwargs: Mapping[str, object]) -> BatchFeature:
        given = [np.asarray(audio, dtype=np.float32) for audio in hf_data["audio"]]
        mels = [audio if audio.ndim == 2 else self.info.features(audio) for audio in given]
        frames = torch.tensor([mel.shape[1] for mel in mels])
        return BatchFeature({"mel": [torch.from_numpy(mel) for mel in mels], "num_frames": frames})

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, MultiModalFieldConfig]:
        return {name: MultiModalFieldConfig.batched("audio") for name in ("mel", "num_frames")}

    def _get_prompt_updates(
        self, mm_items: Any, hf_processor_mm_kwargs: Mapping[str, object], out_mm_kwargs: Any
    ) -> Sequence[PromptReplacement]:
        config = self.info.config
        recipe = config.parsed_recipe()
        frames = out_mm_kwargs.get_data().get("num_frames")

        def audio_tokens(item: int) -> list[int]:
            assert frames is not None
            return [config.audio_token_id] * tokens_of_mel(recipe, int(frames[item]))

        return [PromptReplacement(modality="audio", target=[config.audio_token_id], replacement=audio_tokens)]
