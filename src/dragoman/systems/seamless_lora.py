"""SeamlessM4T-v2 fine-tuned by LoRA on speech with translations, as LLM-SRT does for comparison (its Table 13).

B rows of an utterance and one target each, S frames of features, T tokens.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from dragoman.batch import IGNORED
from dragoman.data.audio import load_audio
from dragoman.data.index import ManifestIndex
from dragoman.data.sampling import Rows, Step
from dragoman.errors import DataError
from dragoman.files import atomic_folder
from dragoman.inference.recordings import Speech
from dragoman.systems.seamless import Seamless

# LLM-SRT, Table 13: rank, alpha, dropout and layers of SeamlessM4T-v2's LoRA; these layers are the text decoder's.
_LORA = {"r": 32, "lora_alpha": 64, "lora_dropout": 0.2, "target_modules": r".*_proj", "bias": "none"}


@dataclass(frozen=True)
class SeamlessBatch:
    """features (B, S, 160) with their mask (B, S) and lengths (B,); labels (B, T): language, text, end, then -100."""

    features: Tensor
    mask: Tensor
    lengths: Tensor
    labels: Tensor

    @property
    def num_targets(self) -> int:
        return int((self.labels != IGNORED).sum())

    @property
    def num_rows(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> SeamlessBatch:
        return SeamlessBatch(*(getattr(self, field.name).to(device) for field in fields(self)))


class SeamlessLora(nn.Module):
    """The system with LoRA beside its frozen weights: a batch -> {"loss": summed cross-entropy}. `seed` decides where
    LoRA starts."""

    def __init__(self, system: Seamless, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.model = get_peft_model(system.part.model, LoraConfig(**_LORA))
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        # a tuple hides the system from nn.Module: it holds the model already
        name = system.part.name
        self._system, self.name = (system,), os.path.abspath(name) if os.path.isdir(name) else name

    def forward(self, batch: SeamlessBatch) -> dict[str, Tensor]:
        self._system[0].lengths = batch.lengths
        config = self.model.config
        start = torch.full_like(batch.labels[:, :1], config.decoder_start_token_id)
        before = torch.cat([start, batch.labels[:, :-1]], 1)
        logits = self.model(
            input_features=batch.features.to(self.model.dtype),
            attention_mask=batch.mask,
            decoder_input_ids=before.masked_fill(before == IGNORED, config.pad_token_id),
            use_cache=False,
        ).logits
        loss = nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), batch.labels.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        return {"loss": loss}

    def train(self, mode: bool = True) -> SeamlessLora:
        """Dropout is LoRA's alone; the frozen parts stay as they are used."""
        super().train(False)
        self.training = mode
        for name, module in self.named_modules():
            if "lora_dropout" in name:
                module.train(mode)
        return self

    def save(self, folder: Path) -> None:
        """In PEFT's format, whole or not at all, as `--model` takes it. It names the checkpoint it stands beside."""
        self.model.peft_config["default"].base_model_name_or_path = self.name
        with atomic_folder(folder) as new:
            self.model.save_pretrained(new, save_embedding_layers=False)
            (new / "README.md").unlink(missing_ok=True)


class TranslatedSpeech:
    """Every utterance of a manifest with every translation that is wanted, a row each; made into batches. `unheard`:
    how many utterances are in languages that the system does not hear, and are left out. `micro_batch` rows at most are
    made into a batch."""

    def __init__(self, system: Seamless, index: ManifestIndex, targets: Sequence[str], micro_batch: int = 16) -> None:
        known = [index.numbers[code] for code in system.sources if code in index.numbers]
        heard = np.isin(index.language, known)
        self.system, self.index, self.unheard = system, index, int((~heard).sum())
        self.micro_batch = micro_batch
        self.rows = [
            (row, code) for row in np.flatnonzero(heard).tolist() for code in index.target_codes(row) if code in targets
        ]
        if not self.rows:
            raise DataError(f"{index.manifest}: has no translation into {', '.join(targets)}; name other targets.")
        seconds = [index.duration_s[row] for row, _ in self.rows]
        self.lengths = [round(100 * float(value)) if value == value else 0 for value in seconds]

    def batch(self, numbers: Rows) -> SeamlessBatch:
        made = [self._row(*self.rows[int(number)]) for number in numbers]
        features = pad_sequence([features for features, _, _ in made], batch_first=True)
        masks = pad_sequence([mask for _, mask, _ in made], batch_first=True)
        labels = pad_sequence([labels for _, _, labels in made], batch_first=True, padding_value=IGNORED)
        lengths = torch.tensor([len(features) for features, _, _ in made])
        return SeamlessBatch(features, masks, lengths, labels)

    def ids(self, step: Step) -> list[str]:
        """Those of the utterances in a step."""
        return [self.index.row(self.rows[int(number)][0]).id for number in step.item]

    def micro_batches(self, share: Step) -> list[SeamlessBatch]:
        """One process's share of a step."""
        return [self.batch(part.item) for part in share.cut(self.micro_batch)]

    def _row(self, row: int, target: str) -> tuple[Tensor, Tensor, Tensor]:
        utterance = self.index.utterance(row, [target])
        samples = load_audio(utterance.audio, utterance.start_s, utterance.duration_s, language=utterance.language)
        found = self.system.features(Speech(samples, utterance.language))
        labels = self.system.labels(utterance.translations[target], target)
        return found["input_features"], found["attention_mask"], labels
