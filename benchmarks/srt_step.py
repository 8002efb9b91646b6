"""Training steps of SRT: our loop (clips as long as they are, several targets behind one pass of the encoder, logits
where there are labels) against Hugging Face's Trainer on the same batches, and against the authors' way in that Trainer
(windows of 30 s, a row for each target, logits of every place). The shapes are LLM-SRT-3B's, as deep and as wide as the
options say; weights are random. Every turn of each ends with a checkpoint."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import CLOCKS
from shapes import CONFIGS, WHISPER_LARGE, encoder_of, llm_of
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from dragoman.data.batching import Batch, Example, TextRow, collate
from dragoman.model.adapters import make_adapter
from dragoman.model.llm import embed, width
from dragoman.model.speech_llm import SpeechLLM
from dragoman.model.splice import splice
from dragoman.model.trainable import train_only
from dragoman.recipe import Recipe, Schedule, load_recipe
from dragoman.training.monitoring.throughput import peak_memory
from dragoman.training.trainer import TrainingJob, fit, make_accelerator


def main(given: Sequence[str] | None = None) -> None:
    options = _options(given)
    torch.set_num_threads(options.threads)
    recipe = load_recipe("llm-srt-3b")
    recipe = recipe.model_copy(update={"audio": recipe.audio.model_copy(update={"padding": "trimmed"})})
    model = _model(recipe, options).to(options.device)
    examples = examples_of(recipe, model.llm.config.vocab_size, options.batch, options.targets)
    apart = [replace(windowed(recipe, one), rows=(row,)) for one in examples for row in one.rows]
    ways = {
        "ours": lambda: _ours(model, collate(examples, 0), options),
        "Trainer, the same batches": lambda: _trainer(SameLoss(model), collate(examples, 0), options),
        "Trainer, as the authors do": lambda: _trainer(AllLogits(model), collate(apart, 0), options),
    }
    samples = options.batch * options.targets * options.steps
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(options.turns + 1):  # the first is to warm up
        for name, run in ways.items():
            began = CLOCKS[options.clock]()
            run()
            if turn:
                rates[name].append(samples / (CLOCKS[options.clock]() - began))
    for name, found in rates.items():
        times = sorted(own / other for own, other in zip(rates["ours"], found, strict=True))[len(found) // 2]
        print(f"{name}: {sorted(found)[len(found) // 2]:.2f} samples/s; ours is {times:.2f} x as fast")
    print(f"peak memory of all: {peak_memory(torch.device(options.device)) / 1e9:.2f} GB")


def _options(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=2, help="of encoder and LLM")
    parser.add_argument("--narrower", type=int, default=8, help="width, heads and vocabulary are divided by this")
    parser.add_argument("--batch", type=int, default=4, help="utterances in a step")
    parser.add_argument("--targets", type=int, default=4, help="of each")
    parser.add_argument("--steps", type=int, default=4, help="in a turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: what was computed, on a busy machine")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    return parser.parse_args(given)


def _model(recipe: Recipe, options: argparse.Namespace) -> SpeechLLM:
    by, table = options.narrower, CONFIGS[recipe.llm.name][2]
    narrow = {
        key: table[key] // by for key in ("hidden_size", "intermediate_size", "vocab_size", "num_attention_heads")
    }
    encoder = {key: value // by for key, value in WHISPER_LARGE.items()}
    heard = encoder_of(
        recipe, **{**encoder, "encoder_layers": options.layers, "encoder_attention_heads": 20 // by or 1}
    )
    llm = llm_of(recipe, **{**narrow, "num_hidden_layers": options.layers, "num_key_value_heads": 1})
    model = SpeechLLM(heard, make_adapter(recipe.adapter, heard.width, width(llm)), llm)
    train_only(model, ["adapter"])
    return model


def examples_of(recipe: Recipe, vocabulary: int, batch: int, targets: int) -> list[Example]:
    """Clips of 3 to 9 s, FLEURS' and CoVoST-2's; 2 tokens of prompt, 60 of transcript and translation."""
    random = np.random.default_rng(0)

    def row() -> TextRow:
        return TextRow(
            tuple(random.integers(2, vocabulary, 2).tolist()), tuple(random.integers(2, vocabulary, 60).tolist())
        )

    return [
        Example(
            random.normal(size=(recipe.audio.mel_bins, 2 * int(frames))).astype(np.float32),
            tuple(row() for _ in range(targets)),
        )
        for frames in random.integers(150, 450, batch)
    ]


def windowed(recipe: Recipe, example: Example) -> Example:
    """Padded to the window."""
    assert example.features is not None
    missing = 2 * recipe.audio.window_frames - example.features.shape[1]
    return replace(example, features=np.pad(example.features, ((0, 0), (0, missing))))


def _ours(model: SpeechLLM, batch: Batch, options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        schedule = Schedule(steps=options.steps, batch=options.batch, learning_rate=1e-4, precision=_precision(options))
        job = TrainingJob("srt", model, lambda done: _forever(batch), schedule, Path(folder))
        fit(job, make_accelerator(schedule.precision))


def _forever(batch: Batch) -> Iterator[list[Batch]]:
    return repeat([batch])


def _precision(options: argparse.Namespace) -> Any:
    return "fp32" if options.device == "cpu" else "bf16"


class SameLoss(nn.Module):
    """Our model's own loss, as the Trainer wants it."""

    def __init__(self, model: SpeechLLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        batch = batch.to(next(self.model.parameters()).device)
        return {"loss": self.model(batch)["loss"] / len(batch.text.learnt)}

    def state_dict(self, *given: Any, **named: Any) -> dict[str, Any]:
        """What a checkpoint holds: the adapter, which alone learns, as in ours."""
        return self.model.adapter.state_dict(*given, **named)


class AllLogits(SameLoss):
    """The LLM's own loss: logits of every place, of audio and padding too."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        batch = batch.to(next(self.model.parameters()).device)
        audio, num_audio = self.model.audio(batch)
        text = batch.text
        rows, mask, _ = splice(
            audio, num_audio, embed(self.model.llm, text.input_ids), text.attention_mask, batch.utterance_of
        )
        silent = torch.full(rows.shape[:2], -100, device=rows.device)
        silent[:, audio.shape[1] :] = text.labels
        return {"loss": self.model.llm(inputs_embeds=rows, attention_mask=mask, labels=silent).loss}


def _trainer(module: SameLoss, batch: Batch, options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            max_steps=options.steps,
            per_device_train_batch_size=1,
            logging_steps=10,
            save_steps=options.steps,  # one checkpoint at the end, as ours writes
            report_to=[],
            use_cpu=options.device == "cpu",
            bf16=options.device != "cpu",
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        )
        data: Any = [batch] * options.steps
        Trainer(module, arguments, data_collator=lambda found: {"batch": found[0]}, train_dataset=data).train()


if __name__ == "__main__":
    main()
