"""An LLM without the pieces that nobody will read or write: vocabulary trimming (Ushio et al. 2023,
https://aclanthology.org/2023.findings-emnlp.981/). The head is most of a small LLM's work and memory.

Byte pairs merge step by step, so a piece needs those that it is merged from; with all of them kept, every text that
needs no other piece is divided exactly as before. N pieces of the whole vocabulary, K kept, D width.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from dragoman.errors import ModelError
from dragoman.files import atomic_folder
from dragoman.model.bases.cache import cache_folder, exclusive_lock, seal, sealed
from dragoman.model.bases.loading import load_pretrained, load_tokenizer, without_bars

if TYPE_CHECKING:
    from dragoman.model.bases.location import BaseLocation

_TOGETHER = 4096
_COMMON = 20
"""A character that comes less often in the texts decides nothing."""
_SPACE = "▁"
_SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")


@dataclass(frozen=True)
class TrimmedVocabulary:
    """`kept` (K,) ids of the whole vocabulary, sorted; `tags` are pieces of their own that it gains, one after the
    other behind them."""

    kept: tuple[int, ...]
    tags: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> TrimmedVocabulary:
        """Raises ModelError."""
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            return cls(tuple(map(int, stored["kept"])), tuple(map(str, stored["tags"])))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path}: is not the list of a model's pieces; the folder is incomplete.") from error

    def to_json(self) -> str:
        return json.dumps({"tags": self.tags, "kept": self.kept}, ensure_ascii=False)


def choose_vocabulary(
    tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], tags: Sequence[str], most_frequent: int = 0
) -> TrimmedVocabulary:
    """The pieces that these texts need; of the `most_frequent` of the whole vocabulary, which stands in the order of
    frequency, those that are spelt with characters of the texts; bytes and special tokens."""
    parts = _TokenizerParts(tokenizer)
    kept = parts.always() | parts.used(tags)
    characters: Counter[str] = Counter()
    texts = iter(texts)
    while batch := list(islice(texts, _TOGETHER)):
        kept |= parts.used(batch)
        characters.update(chain.from_iterable(batch))
    common = {character for character, count in characters.items() if count >= _COMMON}
    kept |= parts.spelt(common | {_SPACE}, most_frequent)
    known = tokenizer.get_vocab()
    return TrimmedVocabulary(tuple(sorted(parts.with_origins(kept))), tuple(tag for tag in tags if tag not in known))


class _TokenizerParts:
    """A byte-pair tokenizer taken apart. Characters that no text holds are spelt in bytes: those of GPT-2's alphabet,
    which stand for all characters, or such pieces as <0x0A>, which stand in for those that have no piece."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        whole = _as_json(tokenizer)
        model = whole["model"]
        if model["type"] != "BPE":
            raise ModelError(f"llm.vocabulary: only byte-pair tokenizers can be trimmed; this one is {model['type']}.")
        self.ids: dict[str, int] = model["vocab"]
        self.names = {number: piece for piece, number in self.ids.items()}
        self.ranks = {_pair(merge): rank for rank, merge in enumerate(model["merges"])}
        self.unknown: str | None = model["unk_token"]
        self.of_bytes = '"ByteLevel"' in json.dumps([whole["pre_tokenizer"], whole["decoder"]])

    def always(self) -> set[int]:
        special = [getattr(self.tokenizer, f"{name}_id") for name in _SPECIAL] + [self.ids.get(self.unknown or "")]
        alphabet = set(ByteLevel.alphabet()) if self.of_bytes else set()
        spelling = {number for piece, number in self.ids.items() if piece in alphabet or _is_byte(piece)}
        return {number for number in special if number is not None} | spelling

    def spelt(self, characters: set[str], most_frequent: int) -> set[int]:
        if self.of_bytes:
            bytewise = ByteLevel(add_prefix_space=False, use_regex=False)
            characters = {symbol for character in characters for symbol in bytewise.pre_tokenize_str(character)[0][0]}
        special = set(self.tokenizer.get_added_vocab())
        return {
            number
            for piece, number in self.ids.items()
            if number < most_frequent and piece not in special and characters >= set(piece)
        }

    def used(self, texts: Sequence[str]) -> set[int]:
        return {number for ids in self.tokenizer(list(texts)).input_ids for number in ids} if texts else set()

    def with_origins(self, kept: set[int]) -> set[int]:
        """And what each is merged from, on the way that byte pairs take: inside a piece the merges are those of the
        piece by itself, since none goes over its border."""
        found = set(kept)
        for number in kept:
            symbols = list(self.names.get(number, ""))
            while len(symbols) > 1:
                rank, at = min((self.ranks.get(pair, len(self.ranks)), at) for at, pair in enumerate(pairwise(symbols)))
                if rank == len(self.ranks):
                    break  # bytes, special tokens
                symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
                found.add(self.ids[symbols[at]])
            found |= {self.ids[symbol] for symbol in self.names.get(number, "") if symbol in self.ids}
        return found


def _pair(merge: Any) -> tuple[str, str]:
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return first, second


def _is_byte(piece: str) -> bool:
    return len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")


def _as_json(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError("llm.vocabulary: this LLM's tokenizer is not a fast one, and cannot be trimmed.")
    found: dict[str, Any] = json.loads(backend.to_str())
    return found


def trim_tokenizer(tokenizer: PreTrainedTokenizerBase, vocabulary: TrimmedVocabulary) -> PreTrainedTokenizerBase:
    """The tokenizer of the kept pieces, numbered anew in their order, with the tags behind them."""
    whole = _as_json(tokenizer)
    model = whole["model"]
    number = {old: new for new, old in enumerate(vocabulary.kept)}
    model["vocab"] = {piece: number[old] for piece, old in model["vocab"].items() if old in number}
    model["merges"] = [
        merge
        for merge in model["merges"]
        if all(piece in model["vocab"] for piece in (*_pair(merge), "".join(_pair(merge))))
    ]
    added = [entry | {"id": number[entry["id"]]} for entry in whole["added_tokens"] if entry["id"] in number]
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    added += [{"id": len(number) + at, "content": tag, **plain} for at, tag in enumerate(vocabulary.tags)]
    whole["added_tokens"] = added
    after = whole["post_processor"] or {}
    for processor in (after, *after.get("processors", ())):
        for token in processor.get("special_tokens", {}).values():
            token["ids"] = [number[old] for old in token["ids"]]
    special = {name: getattr(tokenizer, name) for name in _SPECIAL if getattr(tokenizer, name) is not None}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(whole)), **special)


@torch.no_grad()
def trim_llm(llm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, vocabulary: TrimmedVocabulary) -> None:
    """Leave the LLM the embeddings (K + tags, D) and the head of the kept pieces, in place. A tag's embedding is the
    mean of those of the text that it is, made as long as embeddings are on average. `tokenizer` is the whole one."""
    kept = torch.tensor(vocabulary.kept)
    tags = [torch.tensor(tokenizer(tag, add_special_tokens=False).input_ids) for tag in vocabulary.tags]
    layers = (llm.get_input_embeddings(), llm.get_output_embeddings())
    rows = [_rows(layer.weight, kept, tags) for layer in layers]
    llm.resize_token_embeddings(len(rows[0]), mean_resizing=False)
    for layer, weight in zip((llm.get_input_embeddings(), llm.get_output_embeddings()), rows, strict=True):
        layer.weight.copy_(weight)  # the same twice where they are tied
    number = {old: new for new, old in enumerate(vocabulary.kept)}
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        old = getattr(llm.config, name, None)
        setattr(llm.config, name, number.get(old) if isinstance(old, int) else None)
    llm.generation_config = GenerationConfig()


def trimmed_llm(identity: str, vocabulary: Path, find_whole: Callable[[], BaseLocation]) -> Path:
    """The folder of a trimmed LLM and its tokenizer in the user's cache, made first if it is not there.

    `identity` tells the whole LLM from others, `find_whole` finds it, `vocabulary` is the file that names the pieces
    that are left. Raises ModelError, OutputError.
    """
    key = sha256(identity.encode() + vocabulary.read_bytes()).hexdigest()[:16]
    folder = cache_folder() / f"trimmed-{key}"
    if (found := sealed(folder)) is not None:
        return found
    whole = find_whole()
    with exclusive_lock(folder):
        if sealed(folder) is None:
            _write_trimmed(whole, TrimmedVocabulary.read(vocabulary), folder)
    return folder


def _write_trimmed(whole: BaseLocation, vocabulary: TrimmedVocabulary, folder: Path) -> None:
    options: dict[str, Any] = {"revision": whole.revision, "dtype": "auto"}
    with without_bars():
        tokenizer = load_tokenizer(whole.tokenizer, whole.revision)
        llm = load_pretrained(AutoModelForCausalLM, whole.weights, what="The LLM", **options)
        if max(vocabulary.kept, default=0) >= llm.get_input_embeddings().num_embeddings:
            raise ModelError(f"The model's list of pieces belongs to another LLM: {whole.weights} lacks some of them.")
        trim_llm(llm, tokenizer, vocabulary)
        smaller = trim_tokenizer(tokenizer, vocabulary)
        with atomic_folder(folder) as new:
            llm.save_pretrained(new)
            smaller.save_pretrained(new)
            if len(load_tokenizer(new)) != llm.get_input_embeddings().num_embeddings:  # a class that adds its own
                raise ModelError(f"llm.vocabulary: the tokenizer of {whole.tokenizer} cannot be trimmed.")
            seal(new)


def _rows(weight: torch.Tensor, kept: torch.Tensor, tags: Sequence[torch.Tensor]) -> torch.Tensor:
    rows = weight[kept].float()
    length = rows.norm(dim=1).mean()
    means = [weight[ids].float().mean(0) for ids in tags]
    new = [mean / mean.norm() * length for mean in means]
    return torch.cat([rows, torch.stack(new)]).to(weight.dtype) if new else rows.to(weight.dtype)
