"""A small language model for many-to-many translation, pre-trained on text in the task formats.

In the place of audio it reads a corrupted copy of the transcript: pieces with blanks between them, some repeated,
dropped or replaced, as an adapter trained with CTC writes them. A frozen model that has learnt to copy from such a
prefix, and to trust it only so far, can be steered by an adapter later.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

from dragoman.batch import IGNORED, TextRows
from dragoman.data.batching import TextRow, pad_rows
from dragoman.data.corpora.tatoeba import Sentence
from dragoman.data.sampling import Step, StepSampler, row_random
from dragoman.data.tasks import LanguageTags, TaskItem, build
from dragoman.pretraining.tokenizer import BLANK
from dragoman.progress import OnProgress, no_progress
from dragoman.recipe import LlmBaseConfig, Recipe
from dragoman.training.inputs.steps import stream_of_steps
from dragoman.training.options import RunOptions
from dragoman.training.trainer import TrainingJob, fit, make_accelerator

# What a batch reads (task, with something in the place of audio?) and how often. All rows of a batch read the same, so
# that they are of one length; translation from clean text is what takes longest to learn and costs least.
_FORMATS = (("smt", False), ("smt", True), ("srt", True), ("asr", True))
_SHARES = (0.6, 0.05, 0.2, 0.15)
_VALIDATED = 1000
CONTEXT = 2048
"""Tokens that the model reads."""


@dataclass(frozen=True)
class SentencePair:
    """A sentence in two languages, each with its variants, which take turns over the epochs."""

    source: str
    target: str
    transcripts: tuple[str, ...]
    translations: tuple[str, ...]
    turn: int

    def item(self, epoch: int) -> TaskItem:
        turn = self.turn + epoch
        return TaskItem(
            self.source,
            self.target,
            self.transcripts[turn % len(self.transcripts)],
            self.translations[turn % len(self.translations)],
        )


class SummedLoss(nn.Module):
    """A causal LM as the training loop wants it: the sum of the label tokens' cross-entropies."""

    def __init__(self, llm: nn.Module) -> None:
        super().__init__()
        self.llm = llm

    def forward(self, batch: TextRows) -> dict[str, Tensor]:
        logits = self.llm(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False).logits
        labels = batch.labels[:, 1:].flatten()
        loss = nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(), labels, ignore_index=IGNORED, reduction="sum"
        )
        return {"loss": loss}


def new_llm(base: LlmBaseConfig, tokenizer: PreTrainedTokenizerBase) -> Qwen2ForCausalLM:
    """Random weights in Qwen2's shape; input and output embeddings are one matrix."""
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=base.hidden,
        intermediate_size=base.feed_forward,
        num_hidden_layers=base.layers,
        num_attention_heads=base.heads,
        num_key_value_heads=base.heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.04,
    )
    return Qwen2ForCausalLM(config)


def pretrain_llm(
    base: LlmBaseConfig,
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[Sentence],
    valid: Sequence[Sentence],
    folder: Path,
    options: RunOptions,
    on_progress: OnProgress = no_progress,
) -> Qwen2ForCausalLM:
    """Train (or go on training) the LM in `folder`; returns it."""
    accelerator = make_accelerator(base.schedule.precision)
    torch.manual_seed(base.schedule.seed)
    module = SummedLoss(new_llm(base, tokenizer))
    rows, held_out = (
        SentencePairBatches(directed_pairs(texts, recipe.languages, recipe.targets), tokenizer, base.schedule.seed)
        for texts in (train, valid)
    )
    order = StepSampler(rows.lengths, base.schedule.batch, base.schedule.seed)
    job = TrainingJob(
        label="language model",
        module=module,
        stream=stream_of_steps(order, rows.micro_batches, accelerator),
        schedule=base.schedule,
        folder=folder,
        options=options,
        validate=partial(_mean_loss, module, held_out, accelerator.device),
        on_progress=on_progress,
    )
    fit(job, accelerator)
    return module.llm


def directed_pairs(sentences: Sequence[Sentence], sources: Sequence[str], targets: Sequence[str]) -> list[SentencePair]:
    """Every ordered pair of languages a sentence has; as many turns as the larger number of variants, at most 3."""
    pairs = []
    for sentence in sentences:
        for source, target in itertools.permutations(sentence.texts, 2):
            if source in sources and target in targets:
                one, other = sentence.texts[source], sentence.texts[target]
                turns = min(3, max(len(one), len(other)))
                pairs += [SentencePair(source, target, one, other, turn) for turn in range(turns)]
    return pairs


class SentencePairBatches:
    """Turns numbered pairs into batches; format, variants and corruption follow from seed, epoch and numbers."""

    def __init__(self, pairs: Sequence[SentencePair], tokenizer: PreTrainedTokenizerBase, seed: int) -> None:
        self.pairs = pairs
        self.tokenizer = tokenizer
        self.seed = seed
        self.blank = tokenizer.convert_tokens_to_ids(BLANK)
        self.lengths = [len(p.transcripts[0]) + len(p.translations[0]) for p in pairs]

    def batch(self, epoch: int, numbers: Sequence[int]) -> TextRows:
        random = row_random(self.seed, epoch, int(numbers[0]))
        task, heard = _FORMATS[random.choice(len(_FORMATS), p=_SHARES)]
        rows = [self._row(epoch, int(number), task, heard) for number in numbers]
        return pad_rows(rows, self.tokenizer.pad_token_id)

    def micro_batches(self, share: Step) -> list[TextRows]:
        """One process's share of a step, at once; the last share of an epoch may be empty."""
        return [self.batch(int(share.visit[0]), share.item.tolist())] if len(share.item) else []

    def _row(self, epoch: int, number: int, task: str, heard: bool) -> TextRow:
        item = self.pairs[number].item(epoch)
        prompt, answer = (self._ids(text) for text in build(task, item, LanguageTags()))
        if heard:
            random = row_random(self.seed, epoch, number)
            prompt = stand_in(self._ids(item.transcript), self.blank, len(self.tokenizer), random) + prompt
        return TextRow(tuple(prompt), (*answer, self.tokenizer.eos_token_id))

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)


def stand_in(ids: Sequence[int], blank: int, vocabulary: int, random: np.random.Generator) -> list[int]:
    """A copy of a transcript as a CTC adapter would hear it, 3 to 30 % of its pieces wrong."""
    wrong = random.uniform(0.03, 0.3)
    heard: list[int] = []
    for piece in ids:
        fate = random.random()
        if fate < wrong / 3:
            continue
        shown = int(random.integers(vocabulary)) if fate < wrong else piece
        heard += [shown] * (1 + int(random.random() < 0.15))
        heard += [blank] * int(random.integers(0, 3))
    return heard


def _mean_loss(module: SummedLoss, rows: SentencePairBatches, device: torch.device) -> dict[str, float]:
    total, targets = 0.0, 0
    chosen = range(0, len(rows.pairs), max(1, len(rows.pairs) // _VALIDATED))
    for start in range(0, len(chosen), 64):
        batch = rows.batch(0, chosen[start : start + 64])
        total += float(module(batch.to(device))["loss"])
        targets += batch.num_targets
    return {"loss": total / max(targets, 1)}
