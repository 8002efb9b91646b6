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

from dragoman.batch import Batch
from dragoman.model.encoder import SpeechEncoder
from dragoman.model.llm import embed, width
from dragoman.model.splice import splice

LOGITS_AT_ONCE = 2**27
"""In fp32 half a GiB, and as much for their gradient: 883 tokens of a vocabulary of 152,000."""


class DistillationTeacher(Protocol):
    """A teacher as the model knows it, see `training.distillation`."""

    weight: float

    def divergence(self, student: SpeechLLM, batch: Batch, logits: Tensor) -> Tensor: ...


class SpeechLLM(nn.Module):
    """`scale_audio`: see recipe.LlmConfig. `blank_id`: the piece that stands for "nothing" in the auxiliary CTC loss. A
    stage sets the loss's `ctc_weight` and `ctc_sampled` (see recipe.Stage) and the `teacher`. `lead_ids`: text in front
    of the audio, such as the beginning of a chat."""

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
        self._no_split_modules = sorted({*_units(encoder.backbone), *_units(llm)})  # what FSDP shards as a whole
        self.audio_scale = math.sqrt(width(llm)) if scale_audio else 1.0
        self.blank_id = blank_id
        self.register_buffer("lead_ids", torch.tensor(lead_ids, dtype=torch.long), persistent=False)
        self.ctc_weight = 0.0
        self.ctc_sampled: int | None = None
        self.teacher: DistillationTeacher | None = None
        # Gemma's embeddings are louder in its first layer than in its table: measured as that layer gets them.
        pieces = llm.get_input_embeddings().num_embeddings
        some = torch.arange(0, pieces, -(-pieces // 4096), device=llm.device)
        self.embedding_std, self.table_std = 1.0, 1.0
        if llm.device.type != "meta":
            self.embedding_std = float(embed(llm, some).detach().float().std())
            self.table_std = float(llm.get_input_embeddings().weight.detach().float().std())

    def encode_audio(self, features: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        """Features (U, C, F), num_frames (U,) -> audio (U, A, D), num_audio (U,): encoder and adapter, once an
        utterance; A counts the lead too."""
        return self.adapt(*self.encoder(features.to(next(self.encoder.parameters()).dtype), num_frames))

    def adapt(self, frames: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        """`encode_audio` from where the encoder has done its part: frames (U, S, E), num_frames (U,)."""
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

    def audio(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """A batch -> what is heard: audio (U, A, D), num_audio (U,)."""
        if batch.features is not None:
            return self.encode_audio(batch.features, batch.num_frames)
        if batch.frames is not None:
            return self.adapt(batch.frames, batch.num_frames)
        return self.lead(len(batch.num_frames))

    def logits(self, batch: Batch, audio: Tensor, num_audio: Tensor) -> Tensor:
        """A batch and what is heard -> logits (N, V) of the N tokens that have a label, row by row, each
        from what stands before it. The head is most of a small LLM's work: it sees no other places."""
        return self._llm(batch, audio, num_audio, lambda hidden: hidden.flatten(0, 1)[batch.text.learnt][None])[0]

    def _llm(self, batch: Batch, audio: Tensor, num_audio: Tensor, seen: Callable[[Tensor], Tensor]) -> Tensor:
        """The LLM's logits (1, N, V) of what `seen` lets the head see (1, N, D) of the hidden states of the text
        (B, T, D)."""
        text = batch.text
        rows, mask, position_ids = splice(
            audio, num_audio, embed(self.llm, text.input_ids), text.attention_mask, batch.utterance_of
        )
        head = self.llm.get_output_embeddings()
        only = head.register_forward_pre_hook(lambda _, hidden: (seen(hidden[0]), *hidden[1:]))
        try:
            logits: Tensor = self.llm(
                inputs_embeds=rows,
                attention_mask=mask,
                position_ids=position_ids,
                use_cache=False,
                logits_to_keep=text.input_ids.shape[1],
            ).logits
        finally:
            only.remove()
        return logits

    def entropies(self, batch: Batch, audio: Tensor, num_audio: Tensor) -> Tensor:
        """The cross-entropy of each of the N tokens that have a label (N,). Where N x V logits are many they are made
        a part at a time, and once more for the gradient: the same gradient, without holding them all."""
        labels = batch.text.learnt_labels
        pieces = self.llm.get_output_embeddings().weight.shape[0]
        if len(labels) * pieces <= LOGITS_AT_ONCE or not _is_plain_head(self.llm):
            return _entropies(self.logits(batch, audio, num_audio), labels)
        kept: list[Tensor] = []

        def seen(hidden: Tensor) -> Tensor:
            kept.append(hidden.flatten(0, 1)[batch.text.learnt])
            return hidden[:1, :1]  # the LLM's own call of its head gets one place, for nothing

        self._llm(batch, audio, num_audio, seen)
        size = max(1, LOGITS_AT_ONCE // pieces)
        parts = zip(torch.split(kept[0], size), torch.split(labels, size), strict=True)
        return torch.cat([checkpoint(self._head_entropies, *part, use_reentrant=False) for part in parts])

    def _head_entropies(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """hidden (N, D), labels (N,) -> (N,)."""
        logits = self.llm.get_output_embeddings()(hidden)
        if cap := getattr(self.llm.config.get_text_config(), "final_logit_softcapping", None):  # Gemma 2's
            logits = torch.tanh(logits / cap) * cap
        return _entropies(logits, labels)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """A batch -> {"loss": summed cross-entropy of the labels (+ CTC), and its parts}. With a teacher,
        the cross-entropy of rehearsed rows gives way to the divergence from it. Without rows the LLM is left out."""
        audio, num_audio = self.audio(batch)
        if not batch.text.num_rows:
            return {"loss": self.ctc_weight * self.ctc_of(batch, audio, num_audio)}
        if self.teacher is None:
            parts = {"entropy": self.entropies(batch, audio, num_audio).sum()}
            loss = parts["entropy"]
        else:
            logits, text = self.logits(batch, audio, num_audio), batch.text
            entropy = _entropies(logits, text.learnt_labels)
            rehearsed = batch.rehearsed[text.learnt // text.labels.shape[1]]
            parts = {"entropy": entropy.sum(), "divergence": self.teacher.divergence(self, batch, logits[rehearsed])}
            loss = entropy[~rehearsed].sum() + self.teacher.weight * parts["divergence"]
        if self.ctc_weight and (batch.features is not None or batch.frames is not None):
            parts["ctc"] = self.ctc_of(batch, audio, num_audio)
            loss = loss + self.ctc_weight * parts["ctc"]
        return {"loss": loss, **parts} if len(parts) > 1 else {"loss": loss}

    def ctc_of(self, batch: Batch, audio: Tensor, num_audio: Tensor) -> Tensor:
        """The summed CTC loss of a batch; in training over a sample of the pieces, if a stage says so."""
        if self.ctc_sampled is None or not self.training:
            return self.ctc_loss(audio, num_audio, batch.transcripts, batch.transcript_lengths)
        pieces, numbers = self._sampled(batch.transcripts)
        return self._ctc(self.ctc_logits(audio, pieces), num_audio, numbers, batch.transcript_lengths, 0, "sum")

    def _sampled(self, transcripts: Tensor) -> tuple[Tensor, Tensor]:
        """Blank first, those of the transcripts (U, L), others at random -> pieces (P,), and the places of the
        transcripts' among them (U, L)."""
        own = torch.unique(transcripts)
        size = self.llm.get_input_embeddings().num_embeddings
        drawn = torch.unique(torch.randint(size, (int(self.ctc_sampled or 0),)).to(own.device))
        blank = own.new_tensor([self.blank_id])
        own = own[own != self.blank_id]
        others = drawn[~torch.isin(drawn, own) & (drawn != self.blank_id)]
        return torch.cat([blank, own, others]), 1 + torch.searchsorted(own, transcripts)

    def ctc_logits(self, audio: Tensor, pieces: Tensor | None = None) -> Tensor:
        """audio (U, A, D) -> (U, A, V), or (U, A, P) of `pieces` (P,): likeness of each audio token to each piece's
        embedding. Two vectors of the embeddings' own size score sqrt(D) when alike and about +-1 when not."""
        embeddings = self.llm.get_input_embeddings().weight.detach()
        embeddings = (embeddings if pieces is None else embeddings[pieces]).float()
        if (blank := getattr(self.adapter, "ctc_blank", None)) is not None:
            place = self.blank_id if pieces is None else 0
            row = blank.float() / blank.float().norm() * self.table_std * math.sqrt(len(blank))
            embeddings = torch.cat([embeddings[:place], row[None], embeddings[place + 1 :]])
        with torch.autocast(audio.device.type, enabled=False):  # bf16 is too coarse to tell pieces apart
            likeness = audio.float() @ embeddings.T
        return likeness / (self.embedding_std * self.table_std * math.sqrt(embeddings.shape[1]))

    def ctc_loss(
        self, audio: Tensor, num_audio: Tensor, transcripts: Tensor, lengths: Tensor, reduction: str = "sum"
    ) -> Tensor:
        """CTC loss of the audio tokens against the transcripts (U, L): summed, or "none" for (U,)."""
        return self._ctc(self.ctc_logits(audio), num_audio, transcripts, lengths, self.blank_id, reduction)

    def _ctc(
        self, logits: Tensor, num_audio: Tensor, transcripts: Tensor, lengths: Tensor, blank: int, reduction: str
    ) -> Tensor:
        return nn.functional.ctc_loss(
            logits.log_softmax(-1).transpose(0, 1),
            transcripts,
            num_audio,
            lengths,
            blank=blank,
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


def _entropies(logits: Tensor, labels: Tensor) -> Tensor:
    """logits (N, V), labels (N,) -> cross-entropies (N,)."""
    return nn.functional.cross_entropy(logits.float(), labels, reduction="none")


def _is_plain_head(llm: Any) -> bool:
    """Whether nothing but Gemma's cap comes behind the head: Cohere's and Granite's models divide what it says."""
    config = llm.config.get_text_config()
    return not any(getattr(config, name, None) for name in ("logit_scale", "logits_scaling"))


def _units(module: nn.Module) -> list[str]:
    return list(getattr(module, "_no_split_modules", None) or [])


def _is_trained(part: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in part.parameters())


def _checkpointed(forward: Callable[..., Any], *args: Any, **options: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **options)
    return checkpoint(forward, *args, use_reentrant=False, **options)
