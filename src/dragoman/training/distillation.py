"""A model as it once was, beside the model that it has become: what is frozen is the same and is held once."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dragoman.batch import Batch
from dragoman.model.speech_llm import SpeechLLM


class Teacher:
    """Learning without forgetting (Li and Hoiem 2016): the student is pulled towards what it said before.

    `tensors` are the student's trained parts by their names in it, as they were. The loss of a rehearsed row is
    `weight` times the divergence KL(teacher || student), in the place of the cross-entropy.
    """

    def __init__(self, student: SpeechLLM, tensors: Mapping[str, Tensor], weight: float) -> None:
        own = dict(student.named_parameters())
        self.tensors = {f"model.{name}": tensor.to(own[name].dtype) for name, tensor in tensors.items()}
        self.weight = weight

    def divergence(self, student: SpeechLLM, batch: Batch, logits: Tensor) -> Tensor:
        """KL(teacher || student) over the labels of a batch's rehearsed rows, summed; `logits` (N, V) are the student's
        of these."""
        if not batch.rehearsed.any():
            return logits.new_zeros((), dtype=torch.float32)
        return nn.functional.kl_div(
            logits.float().log_softmax(-1),
            self._logits(student, batch.rehearsed_part()).float().log_softmax(-1),
            reduction="sum",
            log_target=True,
        )

    @torch.no_grad()
    @torch.compiler.disable
    def _logits(self, student: SpeechLLM, batch: Batch) -> Tensor:
        device = batch.rehearsed.device
        self.tensors = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        training = student.training
        student.eval()  # a teacher drops nothing out
        logits: Tensor = functional_call(_Logits(student), self.tensors, (batch,))
        student.train(training)
        return logits


class _Logits(nn.Module):
    """`functional_call` asks for a module that is called."""

    def __init__(self, model: SpeechLLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        return self.model.logits(batch, *self.model.audio(batch))
