"""The bases of a recipe, one after the other: tokenizer, language model, speech encoder. Finished parts are kept and
a part that was interrupted goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dragoman.data.corpora.tatoeba import Sentence
from dragoman.errors import DataError, DragomanError, RecipeError
from dragoman.files import atomic_folder, to_disk
from dragoman.model.llm import load_tokenizer
from dragoman.pretraining.encoder import pretrain_encoder
from dragoman.pretraining.llm import pretrain_llm
from dragoman.pretraining.tokenizer import train_tokenizer
from dragoman.progress import OnProgress, no_progress
from dragoman.recipe import BasesConfig, Recipe
from dragoman.records import read_manifest, read_rows
from dragoman.training.trainer import make_accelerator

PARTS = ("tokenizer", "llm", "encoder")


def build_bases(
    recipe: Recipe,
    data: Path,
    out: Path,
    parts: tuple[str, ...] = PARTS,
    compiled: bool = False,
    on_progress: OnProgress = no_progress,
) -> None:
    """Write `out/tokenizer`, `out/llm` and `out/encoder` in Hugging Face's formats, from the corpus in `data`
    (`text.train.jsonl`, `text.valid.jsonl`, `train.jsonl`, `valid.jsonl`)."""
    if recipe.bases is None:
        raise RecipeError(f"The recipe {recipe.name!r} has no [bases] table: its encoder and LLM are downloaded.")
    if make_accelerator("fp32").num_processes > 1:
        raise DragomanError("`dragoman bases` runs in one process; start it without torchrun.")
    makers: dict[str, Callable[[Recipe, BasesConfig, Path, Path, bool, OnProgress], None]] = {
        "tokenizer": _tokenizer,
        "llm": _llm,
        "encoder": _encoder,
    }
    for part in parts:
        if part == "encoder" and recipe.encoder.name != "base":
            continue  # it has another one
        if not (out / part).is_dir():
            makers[part](recipe, recipe.bases, data, out, compiled, on_progress)


def read_sentences(data: Path, split: str) -> list[Sentence]:
    """The corpus as text."""
    path = data / f"text.{split}.jsonl"
    if not path.is_file():
        raise DataError(f"{path} is missing; make it with `dragoman prepare tatoeba`.")
    return [row for _, row in read_rows(path, Sentence)]


def _tokenizer(
    recipe: Recipe, bases: BasesConfig, data: Path, out: Path, compiled: bool, on_progress: OnProgress
) -> None:
    texts = [
        text
        for sentence in read_sentences(data, "train")
        for code in recipe.languages
        for text in sentence.texts.get(code, ())
    ]
    tokenizer = train_tokenizer(texts, recipe.languages, bases.tokenizer.pieces)
    _finish(out / "tokenizer", tokenizer.save_pretrained)


def _llm(recipe: Recipe, bases: BasesConfig, data: Path, out: Path, compiled: bool, on_progress: OnProgress) -> None:
    llm = pretrain_llm(
        bases.llm,
        load_tokenizer(out / "tokenizer"),
        read_sentences(data, "train"),
        read_sentences(data, "valid"),
        recipe.languages,
        recipe.targets,
        out / "runs" / "llm",
        make_accelerator(bases.llm.schedule.precision),
        compiled,
        on_progress,
    )
    _finish(out / "llm", llm.half().save_pretrained)


def _encoder(
    recipe: Recipe, bases: BasesConfig, data: Path, out: Path, compiled: bool, on_progress: OnProgress
) -> None:
    encoder = pretrain_encoder(
        bases.encoder,
        recipe,
        load_tokenizer(out / "tokenizer"),
        read_manifest(data / "train.jsonl"),
        read_manifest(data / "valid.jsonl"),
        out / "runs" / "encoder",
        make_accelerator(bases.encoder.schedule.precision),
        compiled,
        on_progress,
    )
    _finish(out / "encoder", encoder.half().save_pretrained)


def _finish(folder: Path, save: Callable[[Path], object]) -> None:
    """Save a part, whole or not at all. Weights are stored in half precision, so that what the adapter is trained on
    is, to the bit, what is shipped."""
    with atomic_folder(folder) as new:
        save(new)
        to_disk(new)
