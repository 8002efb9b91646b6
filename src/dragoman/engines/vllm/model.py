"""The model as vLLM runs it: encoder and adapter are ours, in float as they are; the LLM is vLLM's own of its class.

Shapes: U utterances, M mel bins, F mel frames, A audio tokens, D LLM width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from vllm.config import SpeechToTextConfig
from vllm.inputs import TokensPrompt
from vllm.model_executor.models.interfaces import SupportsMultiModal, SupportsPP, SupportsTranscription
from vllm.model_executor.models.utils import AutoWeightsLoader, init_vllm_registered_model, maybe_prefix
from vllm.model_executor.models.whisper_utils import ISO639_1_SUPPORTED_LANGS
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.tokenizers import cached_tokenizer_from_config

from dragoman.data.audio import SAMPLE_RATE
from dragoman.data.features import LogMel
from dragoman.engines.vllm.config import mel_table, tokens_of_mel
from dragoman.engines.vllm.export import AUDIO_TOKEN
from dragoman.engines.vllm.processor import DummyInputsBuilder, ProcessingInfo, Processor
from dragoman.engines.vllm.prompts import after_tags, speech_prompt
from dragoman.model.adapters import make_adapter
from dragoman.model.encoder import MelEncoder


@MULTIMODAL_REGISTRY.register_processor(Processor, info=ProcessingInfo, dummy_inputs=DummyInputsBuilder)
class DragomanForConditionalGeneration(nn.Module, SupportsMultiModal, SupportsPP, SupportsTranscription):
    """An exported model (`engines.vllm.export`). Audio embeddings go into the prompt as they are: vLLM's Gemma scales
    what it reads of the table, never what it is given, as transformers does; `scale_audio` is applied here."""

    # vLLM's own, whose types are not seen here
    configure_mm_token_handling: Callable[..., None]
    _mark_tower_model: Callable[..., Any]
    _mark_language_model: Callable[..., Any]

    supported_languages: ClassVar[Mapping[str, str]] = ISO639_1_SUPPORTED_LANGS

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__()
        self.config = config = vllm_config.model_config.hf_config
        recipe, text = config.parsed_recipe(), config.text_config
        self.audio_scale = math.sqrt(text.hidden_size) if recipe.llm.scale_audio else 1.0
        self.configure_mm_token_handling(text.vocab_size, [config.audio_token_id])
        with self._mark_tower_model(vllm_config, "audio"):
            config.encoder_config._attn_implementation = "sdpa"
            self.encoder = MelEncoder(WhisperEncoder(config.encoder_config), mel_table(recipe).padding).eval()
            self.adapter = make_adapter(recipe.adapter, self.encoder.width, text.hidden_size).eval()
        with self._mark_language_model(vllm_config):
            self.language_model = init_vllm_registered_model(
                vllm_config, hf_config=text, prefix=maybe_prefix(prefix, "language_model")
            )
        self.make_empty_intermediate_tensors = self.language_model.make_empty_intermediate_tensors

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str:
        """What a chat's text holds in the place of a recording."""
        return AUDIO_TOKEN

    def embed_multimodal(self, **inputs: Any) -> Sequence[Tensor]:
        """mel U times (M, F), num_frames (U,) -> U times (A, D)."""
        if inputs.get("mel") is None:
            return []
        num_frames = torch.as_tensor(inputs["num_frames"], device=self._weight.device).flatten()
        mel = nn.utils.rnn.pad_sequence([one.T for one in inputs["mel"]], batch_first=True).transpose(1, 2)
        audio, num_audio = self.adapter(*self.encoder(mel.to(self._weight), num_frames))
        return [one[:length] for one, length in zip(audio * self.audio_scale, num_audio.tolist(), strict=True)]

    @property
    def _weight(self) -> Tensor:
        return next(self.encoder.parameters())

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: Any = None,
        inputs_embeds: Tensor | None = None,
        **_: object,
    ) -> Any:
        """The LLM's last hidden states."""
        if intermediate_tensors is not None:
            inputs_embeds = None
        return self.language_model.model(input_ids, positions, intermediate_tensors, inputs_embeds=inputs_embeds)

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        """Next-token scores."""
        return self.language_model.compute_logits(hidden_states)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """By the names that `export` gave them."""
        return AutoWeightsLoader(self).load_weights(weights)

    @classmethod
    def get_generation_prompt(cls, stt_params: Any) -> TokensPrompt:
        """`/v1/audio/transcriptions` and `/v1/audio/translations`."""
        config = stt_params.model_config.hf_config
        tokenizer = cached_tokenizer_from_config(stt_params.model_config)
        translated = stt_params.task_type == "translate"
        target = stt_params.to_language or "en" if translated else None
        ids = speech_prompt(config, tokenizer, stt_params.language, target)
        return TokensPrompt(prompt_token_ids=ids, multi_modal_data={"audio": stt_params.audio})

    @classmethod
    def post_process_output(cls, text: str) -> str:
        """A model that writes transcript and translation in one go is asked for the translation."""
        return after_tags(text)

    @classmethod
    def get_speech_to_text_config(cls, model_config: Any, task_type: str) -> SpeechToTextConfig:
        """Longer recordings are divided by vLLM where they are quiet."""
        window_s = model_config.hf_config.parsed_recipe().audio.window_s
        return SpeechToTextConfig(sample_rate=SAMPLE_RATE, max_audio_clip_s=int(window_s))

    @classmethod
    def get_num_audio_tokens(cls, audio_duration_s: float, stt_config: Any, model_config: Any) -> int:
        """A of a recording of this length."""
        recipe = model_config.hf_config.parsed_recipe()
        features = LogMel.from_config(mel_table(recipe))
        return tokens_of_mel(recipe, features.num_frames(round(audio_duration_s * SAMPLE_RATE)))
