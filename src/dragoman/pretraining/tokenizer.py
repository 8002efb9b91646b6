"""A tokenizer of our own: byte-pair pieces with byte fallback, so that no text is unknown to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

# Sentence marks stand alone, else every word would be learnt with and without each of them.
_MARKS = Regex(r'[.,!?;:"«»…。、，？！]')
PAD, EOS, BLANK = "<|pad|>", "<|end|>", "<|blank|>"


def train_tokenizer(texts: Iterable[str], languages: Sequence[str], pieces: int) -> PreTrainedTokenizerFast:
    """`pieces` byte-pair pieces beside the special ones: pad, end, blank (for CTC) and one tag a language.

    A tag is one piece; the 256 bytes stand in for characters that were never seen.
    """
    special = [PAD, EOS, BLANK, *(f"<|{code}|>" for code in languages)]
    raw = Tokenizer(models.BPE())
    raw.normalizer = normalizers.NFC()
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="always"), pre_tokenizers.Split(_MARKS, behavior="isolated")]
    )
    raw.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=pieces, show_progress=False))
    return PreTrainedTokenizerFast(
        tokenizer_object=_with_bytes(raw, special),
        pad_token=PAD,
        eos_token=EOS,
        additional_special_tokens=special[2:],
    )


def _with_bytes(raw: Tokenizer, special: list[str]) -> Tokenizer:
    """Special pieces first, then the 256 bytes, then what was learnt."""
    learnt = json.loads(raw.to_str())["model"]
    by_rank = sorted(learnt["vocab"], key=learnt["vocab"].__getitem__)
    vocabulary = {piece: rank for rank, piece in enumerate([*special, *(f"<0x{b:02X}>" for b in range(256)), *by_rank])}
    merges = [tuple(pair) for pair in learnt["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, fuse_unk=False))
    tokenizer.normalizer = raw.normalizer
    tokenizer.pre_tokenizer = raw.pre_tokenizer
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="always"), decoders.Fuse()]
    )
    tokenizer.add_special_tokens(special)
    return tokenizer
