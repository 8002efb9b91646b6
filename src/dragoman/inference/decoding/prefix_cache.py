"""What every row of an utterance begins with: its audio tokens, and the LLM's keys and values after them; and how
likely a text is from there.

Shapes: U utterances, B rows, A audio tokens, T text tokens, D LLM width.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from dragoman.batch import IGNORED
from dragoman.data.batching import TextRow, pad_features, pad_ids, pad_rows
from dragoman.data.features import Features
from dragoman.model.llm import embed
from dragoman.model.speech_llm import SpeechLLM
from dragoman.model.splice import splice

_SCORED = 16
"""This many rows are scored at a time: logits of every place of a text are large."""


@dataclass(frozen=True)
class AudioPrefix:
    """Audio tokens (U, A, D), their valid counts (U,), the LLM's keys and values after them, and which of the U each
    request hears: requests that share their features share all this."""

    audio: Tensor
    num_audio: Tensor
    cache: DynamicCache
    audio_of_request: tuple[int, ...]

    @classmethod
    def without_audio(cls, model: SpeechLLM, requests: int) -> AudioPrefix:
        """What stands before the text where there is no speech."""
        audio, num_audio = model.lead(1)
        return cls(audio, num_audio, _fill_cache(model, audio, num_audio), (0,) * requests)

    def rows(self, requests: Sequence[int]) -> Tensor:
        """Numbers of requests -> which of the U each hears, (B,)."""
        return torch.tensor([self.audio_of_request[number] for number in requests], device=self.audio.device)

    def cache_of(self, rows: Tensor) -> DynamicCache:
        """Keys and values of these rows (B,), to be written on; those of the U stay as they are: a cache's tensors are
        replaced when it grows, never written into."""
        return select_rows(self.cache, rows)


def select_rows(cache: DynamicCache, rows: Tensor) -> DynamicCache:
    """Keys and values of these rows (B,); where nothing was read, of any. The cache given stays as it is."""
    selected = copy.copy(cache)
    selected.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in selected.layers if cache.get_seq_length() else ():  # of an LLM over several GPUs each lies on its own
        layer.batch_select_indices(rows.to(layer.keys.device))
    return selected


def encode_audio_prefix(model: SpeechLLM, features: Sequence[Features]) -> AudioPrefix:
    """Encoder, adapter and LLM over features (C, F) each, once an utterance: the same object twice is one."""
    device = next(model.parameters()).device
    unique = {id(own): own for own in features}
    numbers = {key: number for number, key in enumerate(unique)}
    padded, num_frames = pad_features(list(unique.values()))
    audio, num_audio = model.encode_audio(padded.to(device), num_frames.to(device))
    heard = tuple(numbers[id(own)] for own in features)
    return AudioPrefix(audio, num_audio, _fill_cache(model, audio, num_audio), heard)


def _fill_cache(model: SpeechLLM, audio: Tensor, num_audio: Tensor) -> DynamicCache:
    """The LLM's keys and values after audio (U, A, D)."""
    cache = DynamicCache(config=model.llm.config)
    if not audio.shape[1]:
        return cache
    nothing = torch.zeros((len(audio), 0), dtype=torch.long, device=audio.device)
    everyone = torch.arange(len(audio), device=audio.device)
    rows, mask, position_ids = splice(audio, num_audio, embed(model.llm, nothing), nothing, everyone)
    model.llm(
        inputs_embeds=rows,
        attention_mask=mask,
        position_ids=position_ids,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return cache


def log_likelihoods(model: SpeechLLM, audio_prefix: AudioPrefix, rows: Sequence[TextRow], pad_id: int) -> list[float]:
    """Of each request's answer after its prompt, to the LLM, the mean of its tokens."""
    found: list[float] = []
    for start in range(0, len(rows), _SCORED):
        numbers = range(start, min(start + _SCORED, len(rows)))
        found += _log_likelihoods(
            model, audio_prefix, audio_prefix.rows(numbers), [rows[number] for number in numbers], pad_id
        )
    return found


def _log_likelihoods(
    model: SpeechLLM, audio_prefix: AudioPrefix, audio_rows: Tensor, rows: Sequence[TextRow], pad_id: int
) -> list[float]:
    text = pad_rows(rows, pad_id).to(audio_rows.device)
    embeddings, mask, position_ids = splice(
        audio_prefix.audio, audio_prefix.num_audio, embed(model.llm, text.input_ids), text.attention_mask, audio_rows
    )
    audio = audio_prefix.audio.shape[1]
    logits = model.llm(
        inputs_embeds=embeddings[:, audio:],
        attention_mask=mask,
        position_ids=position_ids[:, audio:],
        past_key_values=audio_prefix.cache_of(audio_rows),
    ).logits
    entropy = nn.functional.cross_entropy(
        logits[:, :-1].transpose(1, 2).float(), text.labels[:, 1:], ignore_index=IGNORED, reduction="none"
    )
    return (-entropy.sum(1) / (text.labels[:, 1:] != IGNORED).sum(1)).tolist()


def ctc_log_likelihoods(model: SpeechLLM, audio_prefix: AudioPrefix, texts: Sequence[Sequence[int]]) -> list[float]:
    """Of each request's text under its audio tokens alone, by CTC, per token (one more than the text has)."""
    ids, lengths = (tensor.to(audio_prefix.audio.device) for tensor in pad_ids(texts))
    audio_rows = audio_prefix.rows(range(len(texts)))
    losses = model.ctc_loss(
        audio_prefix.audio[audio_rows], audio_prefix.num_audio[audio_rows], ids, lengths, reduction="none"
    )
    return (-losses / (lengths + 1)).tolist()
