"""Encoder, adapter and LLM as one module. It knows tensors only: no files, no prompts, no ranks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from dragoman.model.encoder import SpeechEncoder
from dragoman.model.llm import embed, width
from dragoman.model.splice import splice


class Distils(Protocol):
    """A teacher as the model knows it, see `training.distillation`."""

    weight: float

    def divergence(self, student: nn.Module, batch: Any, logits: Tensor) -> Tensor: ...


class SpeechLLM(nn.Module):
    """`scale_audio`: see recipe.Llm. `blank_id`: the piece that stands for "nothing" in the auxiliary CTC loss, whose
    weight `ctc_weight` a stage sets, as it does the `teacher`. `lead_ids`: text in front of the audio, such as the
    beginning of a chat."""

    lead_ids: Tensor

    def __init__(
        self,
        encoder: SpeechEncoder,
        adapter: nn.Module,
        llm: Any,
        *,
        scale_audio: bool = False,
        blank_id: int = 0,
        lead_ids: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.adapter = adapter
        self.llm = llm
        self._no_split_modules = sorted({*_units(encoder.whisper), *_units(llm)})  # what FSDP shards as a whole
        self.audio_scale = math.sqrt(width(llm)) if scale_audio else 1.0
        self.blank_id = blank_id
        self.register_buffer("lead_ids", torch.tensor(lead_ids, dtype=torch.long), persistent=False)
        self.ctc_weight = 0.0
        self.teacher: Distils | None = None
        # Gemma's embeddings are louder in its first layer than in its table: measured as that layer gets them.
        pieces = llm.get_input_embeddings().num_embeddings
        some = torch.arange(0, pieces, -(-pieces // 4096), device=llm.device)
        self.embedding_std = float(embed(llm, some).detach().float().std()) if llm.device.type != "meta" else 1.0

    def hear(self, mel: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        """mel (U, M, F), num_frames (U,) -> audio (U, A, D), num_audio (U,): encoder and adapter, once an utterance; A
        counts the lead too."""
        return self.adapt(*self.encoder(mel.to(next(self.encoder.parameters()).dtype), num_frames))

    def adapt(self, frames: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        """`hear` from where the encoder has done its part: frames (U, S, E), num_frames (U,)."""
        audio, num_audio = self.adapter(frames.to(next(self.adapter.parameters()).dtype), num_frames)
        audio = audio * self.audio_scale
        if not len(self.lead_ids):
            return audio, num_audio
        lead, num_lead = self.lead(len(audio))
        return torch.cat([lead.to(audio.dtype), audio], 1), num_audio + num_lead

    def lead(self, utterances: int) -> tuple[Tensor, Tensor]:
        """What stands before the text where there is no speech: (U, A, D) and (U,), the lead alone."""
        lead = embed(self.llm, self.lead_ids).expand(utterances, -1, -1)
        return lead, torch.full((utterances,), len(self.lead_ids), device=lead.device)

    def logits(self, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        """A data.batching.Batch -> logits (B, T - 1, V) of the text's tokens from the second on, each from what stands
        before it, and what was heard: audio (U, A, D), num_audio (U,)."""
        if batch.mel is not None:
            audio, num_audio = self.hear(batch.mel, batch.num_frames)
        elif batch.frames is not None:
            audio, num_audio = self.adapt(batch.frames, batch.num_frames)
        else:
            audio, num_audio = self.lead(len(batch.num_frames))
        text = batch.text
        rows, mask, position_ids = splice(
            audio, num_audio, embed(self.llm, text.input_ids), text.attention_mask, batch.utterance_of
        )
        # The token at text place t is predicted one place before it. A prompt is never empty, so no label is lost.
        logits = self.llm(
            inputs_embeds=rows,
            attention_mask=mask,
            position_ids=position_ids,
            use_cache=False,
            logits_to_keep=text.input_ids.shape[1],
        ).logits
        return logits[:, :-1], audio, num_audio

    def forward(self, batch: Any) -> dict[str, Tensor]:
        """A data.batching.Batch -> {"loss": summed cross-entropy of the labels (+ CTC), and its parts}. With a teacher,
        the cross-entropy of rehearsed rows gives way to the divergence from it."""
        logits, audio, num_audio = self.logits(batch)
        labels = batch.text.labels[:, 1:]  # -100, torch's own mark, where nothing is learnt
        entropy = nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="none")
        entropy = entropy.view_as(labels).sum(1)
        parts = {"entropy": entropy.sum()}
        loss = parts["entropy"]
        if self.teacher is not None:
            parts["divergence"] = self.teacher.divergence(self, batch, logits)
            loss = entropy[~batch.rehearsed].sum() + self.teacher.weight * parts["divergence"]
        if self.ctc_weight:
            parts["ctc"] = self.ctc_loss(audio, num_audio, batch.transcripts, batch.transcript_lengths)
            loss = loss + self.ctc_weight * parts["ctc"]
        return {"loss": loss, **parts} if len(parts) > 1 else {"loss": loss}

    def ctc_logits(self, audio: Tensor) -> Tensor:
        """audio (U, A, D) -> (U, A, V): likeness of each audio token to each piece's embedding. Two vectors of the
        embeddings' own size score sqrt(D) when alike and about +-1 when not."""
        embeddings = self.llm.get_input_embeddings().weight.detach().float()
        with torch.autocast(audio.device.type, enabled=False):  # bf16 is too coarse to tell pieces apart
            likeness = audio.float() @ embeddings.T
        return likeness / (self.embedding_std * embeddings.std() * math.sqrt(embeddings.shape[1]))

    def ctc_loss(
        self, audio: Tensor, num_audio: Tensor, transcripts: Tensor, lengths: Tensor, reduction: str = "sum"
    ) -> Tensor:
        """CTC loss of the audio tokens against the transcripts (U, L): summed, or "none" for (U,)."""
        log_probs = self.ctc_logits(audio).log_softmax(-1).transpose(0, 1)
        return nn.functional.ctc_loss(
            log_probs,
            transcripts,
            num_audio,
            lengths,
            blank=self.blank_id,
            reduction=reduction,
            zero_infinity=reduction == "sum",  # in training, a clip too short for its text teaches nothing
        )

    def move_beside_llm(self, device: torch.device) -> None:
        """Put on `device` all but the LLM, which may be spread over several and is put where it belongs by loading."""
        self.encoder.to(device)
        self.adapter.to(device)
        self.lead_ids = self.lead_ids.to(device)

    def checkpoint_activations(self) -> None:
        """In training keep what goes into each layer of encoder and LLM alone, and compute the rest once more for the
        gradient: the same gradient from less memory. Transformers' own would do so in training mode only, in which
        frozen parts never are."""
        for layer in [layer for layer in self.modules() if isinstance(layer, GradientCheckpointingLayer)]:
            layer.forward = partial(_checkpointed, layer.forward)

    def train(self, mode: bool = True) -> SpeechLLM:
        """Only what is trained leaves evaluation mode: no dropout in frozen parts."""
        super().train(False)
        self.training = mode
        self.adapter.train(mode and _is_trained(self.adapter))
        for part in (self.encoder, self.llm):
            for name, module in part.named_modules():
                if name.endswith("lora_dropout"):
                    module.train(mode and _is_trained(part))
        return self


def _units(module: nn.Module) -> list[str]:
    return list(getattr(module, "_no_split_modules", None) or [])


def _is_trained(part: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in part.parameters())


def _checkpointed(forward: Callable[..., Any], *args: Any, **options: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **options)
    return checkpoint(forward, *args, use_reentrant=False, **options)
