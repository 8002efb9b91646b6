"""The bases of a recipe, one after the other: tokenizer, language model, speech encoder. Finished parts are kept and
a part that was interrupted goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from dragoman.data.corpora.tatoeba import Sentence
from dragoman.data.index.selection import too_much_for
from dragoman.errors import DataError, DragomanError, RecipeError
from dragoman.files import atomic_folder, only_run, to_disk
from dragoman.model.bases.loading import load_tokenizer
from dragoman.pretraining.encoder import pretrain_encoder
from dragoman.pretraining.llm import CONTEXT, pretrain_llm
from dragoman.pretraining.tokenizer import train_tokenizer
from dragoman.progress import OnProgress, no_progress
from dragoman.recipe import BasesConfig, Recipe
from dragoman.records import Utterance, read_manifest, read_rows
from dragoman.training.inputs.proportion import report_misfits
from dragoman.training.options import RunOptions
from dragoman.training.trainer import make_accelerator

PARTS = ("tokenizer", "llm", "encoder")
_MOST_TOKENS = CONTEXT // 4
"""Of a text: the language model reads a transcript twice, once with blanks in it, and writes a translation."""


@dataclass(frozen=True)
class BaseJob:
    """The bases of a recipe on this machine."""

    recipe: Recipe
    bases: BasesConfig
    data: Path
    out: Path
    options: RunOptions
    on_progress: OnProgress


def build_bases(
    recipe: Recipe,
    data: Path,
    out: Path,
    options: RunOptions = RunOptions(),
    *,
    parts: tuple[str, ...] = PARTS,
    on_progress: OnProgress = no_progress,
) -> None:
    """Write `out/tokenizer`, `out/llm` and `out/encoder` in Hugging Face's formats, from the corpus in `data`
    (`text.train.jsonl`, `text.valid.jsonl`, `train.jsonl`, `valid.jsonl`). Raises OutputError while another run has
    `out`, and DataError, before the first step, for rows that have more text than fits, unless the options
    skip them."""
    if recipe.bases is None:
        raise RecipeError(f"The recipe {recipe.name!r} has no [bases] table: its encoder and LLM are downloaded.")
    makers: dict[str, Callable[[BaseJob], None]] = {"tokenizer": _tokenizer, "llm": _llm, "encoder": _encoder}
    job = BaseJob(recipe, recipe.bases, data, out, options, on_progress)
    with only_run(out):
        if make_accelerator("fp32").num_processes > 1:
            raise DragomanError("`dragoman bases` runs in one process; start it without torchrun.")
        own = [part for part in parts if part != "encoder" or recipe.encoder.name == "base"]
        wanted = [part for part in own if not (out / part).is_dir()]
        if "encoder" in wanted:  # the last: what is wrong with its data is reported first
            _speech(job, "train")
        for part in wanted:
            makers[part](job)


def read_sentences(data: Path, split: str) -> list[Sentence]:
    """The corpus as text."""
    path = data / f"text.{split}.jsonl"
    if not path.is_file():
        raise DataError(f"{path} is missing; make it with `dragoman prepare tatoeba`.")
    return [row for _, row in read_rows(path, Sentence)]


def _text(job: BaseJob, split: str, tokenizer: PreTrainedTokenizerBase) -> list[Sentence]:
    """The corpus as text, without sentences that are too long for the language model."""
    sentences = read_sentences(job.data, split)
    misfits = {one.id: reason for one in sentences if (reason := _too_long(one, tokenizer))}
    report_misfits(str(job.data / f"text.{split}.jsonl"), misfits, len(sentences), job.options.skip_bad)
    return [one for one in sentences if one.id not in misfits]


def _too_long(sentence: Sentence, tokenizer: PreTrainedTokenizerBase) -> str | None:
    texts = [text for texts in sentence.texts.values() for text in texts]
    longest = max(texts, key=len, default="")
    if len(longest.encode("utf-8", "replace")) <= _MOST_TOKENS:  # no tokenizer makes more pieces
        return None
    tokens = len(tokenizer(longest, add_special_tokens=False).input_ids)
    return f"{tokens:,} tokens, of which {_MOST_TOKENS:,} fit" if tokens > _MOST_TOKENS else None


def _speech(job: BaseJob, split: str) -> list[Utterance]:
    """The spoken corpus, without utterances whose text cannot have been said in their time."""
    path = job.data / f"{split}.jsonl"
    utterances = read_manifest(path)
    misfits = {one.id: reason for one in utterances if (reason := too_much_for(one.duration_s, len(one.text)))}
    report_misfits(str(path), misfits, len(utterances), job.options.skip_bad)
    return [one for one in utterances if one.id not in misfits]


def _tokenizer(job: BaseJob) -> None:
    texts = [
        text
        for sentence in read_sentences(job.data, "train")
        for code in job.recipe.languages
        for text in sentence.texts.get(code, ())
    ]
    tokenizer = train_tokenizer(texts, job.recipe.languages, job.bases.tokenizer.pieces)
    _finish(job.out / "tokenizer", tokenizer.save_pretrained)


def _llm(job: BaseJob) -> None:
    tokenizer = load_tokenizer(job.out / "tokenizer")
    llm = pretrain_llm(
        job.bases.llm,
        job.recipe,
        tokenizer,
        _text(job, "train", tokenizer),
        _text(job, "valid", tokenizer),
        job.out / "runs" / "llm",
        job.options,
        job.on_progress,
    )
    _finish(job.out / "llm", llm.half().save_pretrained)


def _encoder(job: BaseJob) -> None:
    encoder = pretrain_encoder(
        job.bases.encoder,
        job.recipe,
        load_tokenizer(job.out / "tokenizer"),
        _speech(job, "train"),
        _speech(job, "valid"),
        job.out / "runs" / "encoder",
        job.options,
        job.on_progress,
    )
    _finish(job.out / "encoder", encoder.half().save_pretrained)


def _finish(folder: Path, save: Callable[[Path], object]) -> None:
    """Save a part, whole or not at all. Weights are stored in half precision, so that what the adapter is trained on
    is, to the bit, what is shipped."""
    with atomic_folder(folder) as new:
        save(new)
        to_disk(new)
