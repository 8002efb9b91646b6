"""How training uses its machine. What is learnt, the recipe says; nothing here is part of that. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunOptions:
    """How any training uses its machine, that of bases and of other systems too.

    `workers` processes prepare batches; with 0 they are prepared in the training process. `skip_bad` leaves out rows
    that have more text than fits, instead of an error. `compiled`: the model is compiled first. There are `save_every`
    steps from one checkpoint to the next. `profile` writes a trace of three steps (see `monitoring.profiling`).
    """

    workers: int = 1
    skip_bad: bool = False
    compiled: bool = False
    save_every: int = 200
    profile: bool = False


@dataclass(frozen=True)
class TrainOptions(RunOptions):
    """How the stages of a recipe use their machine.

    `micro_batch` utterances and `micro_tokens` tokens, audio and text, are what the LLM takes at once; None: any
    number of tokens. `checkpoint_activations` keeps less of each layer and computes it twice. `features` is what the
    encoder heard in the data (see `encoding.encode`), read in the place of audio.
    """

    micro_batch: int = 64
    micro_tokens: int | None = None
    checkpoint_activations: bool = False
    features: Path | None = None
