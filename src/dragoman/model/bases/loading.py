"""Base models and tokenizers by transformers, strictly: what does not fit is an error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging

from dragoman.errors import ModelError, first_line

_ODD = {
    "missing_keys": "is missing",
    "mismatched_keys": "has another shape than its config says",
    "unexpected_keys": "is not in the model",
}


def load_pretrained(kind: Any, name: str | Path, *, what: str, own: bool = False, **options: Any) -> Any:
    """`kind.from_pretrained`, strictly: weights that are missing are an error, and in a folder that Dragoman wrote so
    are weights that are left over (a checkpoint on the hub may hold more than the part that is used)."""
    try:
        model, found = kind.from_pretrained(name, output_loading_info=True, ignore_mismatched_sizes=True, **options)
    except SafetensorError as error:
        damage = f"its weights are damaged or cut short ({first_line(error)}); get them again"
        raise ModelError(f"{what} {str(name)!r} cannot be loaded: {damage}.") from error
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise ModelError(f"{what} {str(name)!r} cannot be loaded: {first_line(error)}") from error
    for kind_of_error, sentence in _ODD.items():
        odd = [key[0] if isinstance(key, tuple) else key for key in found[kind_of_error]]
        if odd and (own or kind_of_error != "unexpected_keys"):
            raise ModelError(f"{what} {str(name)!r}: tensor {min(odd)!r} {sentence}.")
    return model


@contextmanager
def without_bars() -> Iterator[None]:
    """Without transformers' own bars and notes, which speak of what nobody has named."""
    level, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if had_bars:
            logging.enable_progress_bar()


def load_tokenizer(name: str | Path, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder or on the hub; one without a padding token pads with the end token."""
    if isinstance(name, Path) and not name.is_dir():
        raise ModelError(f"{name} is missing; make it with `dragoman bases`, or get the model's folder again.")
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name, revision=revision)
    except json.JSONDecodeError as error:
        damage = f"it is damaged ({first_line(error)}); get it again"
        raise ModelError(f"The tokenizer {str(name)!r} cannot be loaded: {damage}.") from error
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"The tokenizer {str(name)!r} cannot be loaded: {first_line(error)}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
