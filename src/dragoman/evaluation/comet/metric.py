"""COMET without its package: wmt22-comet-da, and every other regression checkpoint of unbabel-comet on XLM-R.

unbabel-comet 2.2.7 asks for transformers before 5 and numpy before 2, so it cannot stand beside Dragoman; its
checkpoints can. The scores equal the package's (a test holds its numbers). XCOMET and CometKiwi are other networks
and are refused. Not part of METRICS: this module loads torch, and a checkpoint of 2 GB, when it is asked for.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar, cast

import torch
from tokenizers import Encoding
from torch.nn.utils.rnn import pad_sequence

from dragoman.errors import DataError, ModelError
from dragoman.evaluation.comet.checkpoint import CometCheckpoint, read_checkpoint
from dragoman.evaluation.metrics import Metric, ScoringPair, Side
from dragoman.text.languages import Language

_log = logging.getLogger(__name__)


class Comet:
    """A COMET checkpoint, ready to score."""

    def __init__(self, checkpoint: CometCheckpoint) -> None:
        self.origin = checkpoint.origin
        self._network = checkpoint.network.eval()
        self._encoder = cast(Any, self._network.encoder["model"])
        self._tokenizer = checkpoint.tokenizer
        self.precision = "fp16" if self._encoder.dtype == torch.float16 else "fp32"
        # The package cuts two tokens below what the encoder holds, and that is two below its positions.
        self.max_tokens: int = self._encoder.config.max_position_embeddings - 4
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.max_tokens)

    @classmethod
    def load(cls, checkpoint: str | Path, device: str | None = None) -> Comet:
        """A name on the Hugging Face hub (`Unbabel/wmt22-comet-da`), a folder of that layout (`hparams.yaml`,
        `checkpoints/model.ckpt`) or a `.ckpt` file in such a folder. The encoder runs in half precision on CUDA, in
        single precision elsewhere. Nothing that the checkpoint pickles is executed.

        Raises ModelError when it cannot be found or downloaded, is not a regression checkpoint on XLM-R, or holds a
        setting or tensor that is unknown, missing or of another shape.
        """
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        return cls(read_checkpoint(checkpoint, chosen, torch.float16 if chosen.type == "cuda" else torch.float32))

    @torch.inference_mode()
    def predict(
        self,
        sources: Sequence[str],
        hypotheses: Sequence[str],
        references: Sequence[str],
        batch_size: int = 16,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[float]:
        """One score per triple, in their order, on the checkpoint's own scale; higher is better.

        `batch_size` counts triples; it changes the speed, not the scores. A text of more than `max_tokens` tokens is
        judged by its beginning, and a warning says how many there are. `on_progress` hears (triples done, total).

        Raises ModelError when a score is not a number.
        """
        sides = [self._tokenizer.encode_batch(list(texts)) for texts in (sources, hypotheses, references)]
        triples = list(zip(*sides, strict=True))
        cut = sum(bool(text.overflowing) for side in sides for text in side)
        if cut:
            _log.warning("COMET reads only the first %d tokens of a text; longer texts: %d.", self.max_tokens, cut)
        # The longest first: where memory does not suffice, it is found out at once.
        order = sorted(range(len(triples)), key=lambda number: -max(len(text.ids) for text in triples[number]))
        scores = [0.0] * len(triples)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            for number, score in zip(chosen, self._batch([triples[number] for number in chosen]), strict=True):
                scores[number] = score
            if on_progress:
                on_progress(start + len(chosen), len(order))
        if not all(map(math.isfinite, scores)):
            raise ModelError(
                f"{self.origin.name} gives a score that is not a number ({self.precision}); score on the CPU."
            )
        return scores

    def _batch(self, triples: Sequence[tuple[Encoding, ...]]) -> list[float]:
        texts = [torch.tensor(triple[side].ids) for side in range(3) for triple in triples]
        ids = pad_sequence(texts, batch_first=True, padding_value=self._encoder.config.pad_token_id)
        mask = pad_sequence([torch.ones_like(text) for text in texts], batch_first=True)
        device = self._encoder.device
        scores: list[float] = self._network(ids.to(device), mask.to(device)).tolist()
        return scores


def comet_metric(
    checkpoint: str | Path,
    *,
    device: str | None = None,
    batch_size: int = 16,
    on_progress: Callable[[int, int], None] | None = None,
) -> type[Metric]:
    """A class for `score`'s `metrics`: the mean of a checkpoint's scores, times 100. wmt22-comet-da's lie between 0 and
    1 with few exceptions, those of wmt20-comet-da have no bounds. The source that COMET sees is the reference
    transcript, never what a system heard. Loads the checkpoint now, once; arguments and errors as for Comet."""
    comet = Comet.load(checkpoint, device)

    class COMET:
        side: ClassVar[Side] = "translation"

        def __init__(self, language: Language) -> None:
            """Any language: the encoder's hundred are the same network."""

        @staticmethod
        def suits(language: Language) -> bool:
            return True

        @property
        def signature(self) -> str:
            origin = comet.origin
            packages = "|".join(f"{name}:{version(name)}" for name in ("torch", "transformers", "tokenizers"))
            return (
                f"COMET|model:{origin.name}|revision:{origin.revision}|encoder:{origin.encoder}"
                f"|precision:{comet.precision}|source:reference-transcript|scale:100|{packages}"
            )

        def score(self, pairs: Sequence[ScoringPair]) -> float:
            if not pairs:
                raise DataError("There is nothing to score; the hypotheses are empty.")
            judged = [pair for pair in pairs if pair.reference.strip()]
            if len(judged) < len(pairs):
                _log.warning("COMET cannot judge what is written where nothing is said: %d.", len(pairs) - len(judged))
            if not all(pair.source for pair in judged):
                raise DataError("COMET needs the reference transcript of every utterance; some have none.")
            sources, references = [pair.source for pair in judged], [pair.reference for pair in judged]
            hypotheses = [pair.hypothesis for pair in judged]
            scores = comet.predict(sources, hypotheses, references, batch_size, on_progress)
            return 100.0 * fmean(scores)

    return COMET
