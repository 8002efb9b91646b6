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

from dragoman.data.batching import IGNORED, Mel, Row, pad_ids, pad_mels, pad_rows
from dragoman.model.llm import embed
from dragoman.model.speech_llm import SpeechLLM
from dragoman.model.splice import splice

_SCORED = 16
"""So many rows are scored at a time: logits of every place of a text are large."""


@dataclass(frozen=True)
class Heard:
    """Audio tokens (U, A, D), their valid counts (U,), the LLM's keys and values after them, and which of the U each
    request hears: requests that share a mel share all this."""

    audio: Tensor
    num_audio: Tensor
    cache: DynamicCache
    heard_by: tuple[int, ...]

    @classmethod
    def nothing(cls, model: SpeechLLM, requests: int) -> Heard:
        """What stands before the text where there is no speech."""
        audio, num_audio = model.lead(1)
        return cls(audio, num_audio, _read(model, audio, num_audio), (0,) * requests)

    def rows(self, requests: Sequence[int]) -> Tensor:
        """Numbers of requests -> which of the U each hears, (B,)."""
        return torch.tensor([self.heard_by[number] for number in requests], device=self.audio.device)

    def cache_of(self, rows: Tensor) -> DynamicCache:
        """Keys and values of these rows (B,), to be written on; those of the U stay as they are: a cache's tensors are
        replaced when it grows, never written into."""
        if not self.cache.get_seq_length():  # nothing was read
            return copy.copy(self.cache)
        grown = copy.copy(self.cache)
        grown.layers = [copy.copy(layer) for layer in self.cache.layers]
        for layer in grown.layers:  # of an LLM over several GPUs each lies on its own
            layer.batch_select_indices(rows.to(layer.keys.device))
        return grown


def hear(model: SpeechLLM, mels: Sequence[Mel]) -> Heard:
    """Encoder, adapter and LLM over the audio, once a mel: the same object twice is one mel."""
    device = next(model.parameters()).device
    unique = {id(mel): mel for mel in mels}
    numbers = {key: number for number, key in enumerate(unique)}
    mel, num_frames = pad_mels(list(unique.values()))
    audio, num_audio = model.hear(mel.to(device), num_frames.to(device))
    return Heard(audio, num_audio, _read(model, audio, num_audio), tuple(numbers[id(mel)] for mel in mels))


def _read(model: SpeechLLM, audio: Tensor, num_audio: Tensor) -> DynamicCache:
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


def log_likelihoods(model: SpeechLLM, heard: Heard, rows: Sequence[Row], pad_id: int) -> list[float]:
    """Of each request's answer after its prompt, to the LLM, the mean of its tokens."""
    found: list[float] = []
    for start in range(0, len(rows), _SCORED):
        numbers = range(start, min(start + _SCORED, len(rows)))
        found += _log_likelihoods(model, heard, heard.rows(numbers), [rows[number] for number in numbers], pad_id)
    return found


def _log_likelihoods(model: SpeechLLM, heard: Heard, of: Tensor, rows: Sequence[Row], pad_id: int) -> list[float]:
    text = pad_rows(rows, pad_id).to(of.device)
    embeddings, mask, position_ids = splice(
        heard.audio, heard.num_audio, embed(model.llm, text.input_ids), text.attention_mask, of
    )
    audio = heard.audio.shape[1]
    logits = model.llm(
        inputs_embeds=embeddings[:, audio:],
        attention_mask=mask,
        position_ids=position_ids[:, audio:],
        past_key_values=heard.cache_of(of),
    ).logits
    entropy = nn.functional.cross_entropy(
        logits[:, :-1].transpose(1, 2).float(), text.labels[:, 1:], ignore_index=IGNORED, reduction="none"
    )
    return (-entropy.sum(1) / (text.labels[:, 1:] != IGNORED).sum(1)).tolist()


def ctc_log_likelihoods(model: SpeechLLM, heard: Heard, texts: Sequence[Sequence[int]]) -> list[float]:
    """Of each request's text under its audio tokens alone, by CTC, per token (one more than the text has)."""
    ids, lengths = (tensor.to(heard.audio.device) for tensor in pad_ids(texts))
    of = heard.rows(range(len(texts)))
    losses = model.ctc_loss(heard.audio[of], heard.num_audio[of], ids, lengths, reduction="none")
    return (-losses / (lengths + 1)).tolist()
