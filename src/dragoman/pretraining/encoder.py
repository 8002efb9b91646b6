"""A small Whisper-shaped encoder, pre-trained on speech with CTC: letters, which converge first, and the tokenizer's
pieces, so that a frame's vector says which piece it belongs to. Both heads are dropped afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from dragoman.data.audio import load_audio
from dragoman.data.augment import AugmentedFeatures
from dragoman.data.batching import pad_features, pad_ids
from dragoman.data.features import Features, speech_features
from dragoman.data.sampling import Step, StepSampler, row_random
from dragoman.errors import RecipeError, needs_extra
from dragoman.model.encoder import MelEncoder, SpeechEncoder
from dragoman.progress import OnProgress, no_progress
from dragoman.recipe import EncoderBaseConfig, LogMelConfig, Recipe
from dragoman.records import Utterance
from dragoman.training.inputs.steps import stream_of_steps
from dragoman.training.options import RunOptions
from dragoman.training.trainer import TrainingJob, fit, make_accelerator

_BLANK = 0
_VALIDATED = 500


@dataclass(frozen=True)
class CtcBatch:
    """mel (U, M, F) and num_frames (U,); letters (U, L) and pieces (U, P), padded, with their lengths (U,)."""

    mel: Tensor
    num_frames: Tensor
    letters: Tensor
    letter_lengths: Tensor
    pieces: Tensor
    piece_lengths: Tensor

    @property
    def num_targets(self) -> int:
        return int(self.letter_lengths.sum())

    @property
    def num_rows(self) -> int:
        return len(self.mel)

    def to(self, device: torch.device) -> CtcBatch:
        return CtcBatch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


class CtcEncoder(nn.Module):
    """The encoder with a linear head for letters and one for pieces; blank is 0 in both."""

    def __init__(self, encoder: SpeechEncoder, letters: int, pieces: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.letters = nn.Linear(encoder.width, letters)
        self.pieces = nn.Linear(encoder.width, pieces)

    def forward(self, batch: CtcBatch) -> dict[str, Tensor]:
        frames, lengths = self.encoder(batch.mel, batch.num_frames)
        letters = _ctc(self.letters(frames), lengths, batch.letters, batch.letter_lengths)
        pieces = _ctc(self.pieces(frames), lengths, batch.pieces, batch.piece_lengths)
        return {"loss": letters + pieces, "letters": letters, "pieces": pieces}


def _ctc(logits: Tensor, lengths: Tensor, labels: Tensor, label_lengths: Tensor) -> Tensor:
    log_probs = logits.float().log_softmax(-1).transpose(0, 1)
    return nn.functional.ctc_loss(
        log_probs, labels, lengths, label_lengths, blank=_BLANK, reduction="sum", zero_infinity=True
    )


def new_whisper_encoder(base: EncoderBaseConfig, recipe: Recipe) -> WhisperEncoder:
    """Random weights in Whisper's shape; sinusoidal positions as Whisper's."""
    if not isinstance(recipe.audio, LogMelConfig):
        raise RecipeError(f"audio.kind: an encoder in Whisper's shape hears log-mel, not {recipe.audio.kind}.")
    config = WhisperConfig(
        num_mel_bins=recipe.audio.mel_bins,
        d_model=base.hidden,
        encoder_layers=base.layers,
        encoder_attention_heads=base.heads,
        encoder_ffn_dim=base.feed_forward,
        max_source_positions=recipe.audio.window_frames,
    )
    return WhisperEncoder(config)


class CtcBatches:
    """Utterances -> CTC batches."""

    def __init__(
        self,
        utterances: Sequence[Utterance],
        letters: dict[str, int],
        tokenizer: PreTrainedTokenizerBase,
        features: AugmentedFeatures,
        seed: int = 0,
    ) -> None:
        self.utterances = utterances
        self.letters = letters
        self.tokenizer = tokenizer
        self.features, self.seed = features, seed
        self.lengths = [round(100 * (utterance.duration_s or 0)) for utterance in utterances]

    def batch(self, epoch: int, numbers: Sequence[int]) -> CtcBatch:
        chosen = [self.utterances[number] for number in numbers]
        mel, num_frames = pad_features([self._mel(epoch, number) for number in numbers])
        letters = pad_ids([[self.letters[c] for c in spoken(u.text) if c in self.letters] for u in chosen])
        pieces = pad_ids([self.tokenizer(u.text, add_special_tokens=False).input_ids for u in chosen])
        return CtcBatch(mel, num_frames, *letters, *pieces)

    def micro_batches(self, share: Step) -> list[CtcBatch]:
        """One process's share of a step, at once; the last share of an epoch may be empty."""
        return [self.batch(int(share.visit[0]), share.item.tolist())] if len(share.item) else []

    def _mel(self, epoch: int, number: int) -> Features:
        utterance = self.utterances[number]
        waveform = load_audio(utterance.audio, utterance.start_s, utterance.duration_s, language=utterance.language)
        return self.features(waveform, row_random(self.seed, epoch, number))


def spoken(text: str) -> str:
    """What of a text can be heard: lower-case letters, with spaces and apostrophes between them."""
    kept = "".join(c if c.isalpha() or c == "'" else " " for c in text.lower())
    return " ".join(kept.split())


def pretrain_encoder(
    base: EncoderBaseConfig,
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[Utterance],
    valid: Sequence[Utterance],
    folder: Path,
    options: RunOptions,
    on_progress: OnProgress = no_progress,
) -> WhisperEncoder:
    """Train (or go on training) the encoder in `folder`; returns it without the heads."""
    accelerator = make_accelerator(base.schedule.precision)
    alphabet = sorted({letter for utterance in train for letter in spoken(utterance.text)})
    letters = {letter: number for number, letter in enumerate(alphabet, 1)}
    features = speech_features(recipe.audio)
    rows = CtcBatches(train, letters, tokenizer, AugmentedFeatures(features, base.augment), base.schedule.seed)
    held_out = CtcBatches(valid, letters, tokenizer, AugmentedFeatures(features, None))
    torch.manual_seed(base.schedule.seed)
    whisper = new_whisper_encoder(base, recipe)
    encoder = MelEncoder(whisper, recipe.audio.padding)
    module = CtcEncoder(encoder, len(letters) + 1, len(tokenizer))
    order = StepSampler(rows.lengths, base.schedule.batch, base.schedule.seed)
    job = TrainingJob(
        label="speech encoder",
        module=module,
        stream=stream_of_steps(order, rows.micro_batches, accelerator, options.workers),
        schedule=base.schedule,
        folder=folder,
        options=options,
        validate=partial(_letter_errors, module, held_out, accelerator.device),
        on_progress=on_progress,
        ids=lambda step: [train[number].id for number in order.step(step).item],
    )
    fit(job, accelerator)
    return whisper


def _letter_errors(module: CtcEncoder, rows: CtcBatches, device: torch.device) -> dict[str, float]:
    """Character error rate of the greedy reading, and the loss, on held-out speech."""
    with needs_extra("Training", "train"):
        import jiwer

    names = {number: letter for letter, number in rows.letters.items()}
    references, readings, loss, targets = [], [], 0.0, 0
    stride = max(1, len(rows.utterances) // _VALIDATED)  # a manifest may be in the order of languages
    chosen = range(0, len(rows.utterances), stride)
    for start in range(0, len(chosen), 32):
        numbers = chosen[start : start + 32]
        batch = rows.batch(0, numbers).to(device)
        loss, targets = loss + float(module(batch)["loss"]), targets + batch.num_targets
        frames, lengths = module.encoder(batch.mel, batch.num_frames)
        best = module.letters(frames).argmax(-1)
        readings += [
            "".join(names[n] for n in collapse(row[:size].tolist())) for row, size in zip(best, lengths, strict=True)
        ]
        references += [spoken(rows.utterances[number].text) for number in numbers]
    return {"loss": loss / max(targets, 1), "cer": float(jiwer.cer(references, readings))}


def collapse(frames: Sequence[int], blank: int = _BLANK) -> list[int]:
    """CTC's reading: repeats merged, blanks removed."""
    merged = [n for at, n in enumerate(frames) if at == 0 or n != frames[at - 1]]
    return [n for n in merged if n != blank]
