"""The LLM alone is asked as the recipe asks, and the transcript stands where speech would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from toy import model, recipe, stage

from dragoman.data.tasks import said
from dragoman.inference.text_translator import TextTranslator
from dragoman.records import Utterance

SAID = "the cat sleeps"
IN_WORDS = {"before_audio": "we go ", "worded": {"st": " home, {source}, {target}? "}}
MT_IN_WORDS = {"before_audio": "we go ", "worded": {"st": "no", "mt": " {target}: {transcript}, no? "}}
ASKED: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({}, (f"{SAID}<|eng|><|fra|>",)),
    (IN_WORDS, ("we go ", f"{SAID} home, English, French? ")),
    (MT_IN_WORDS, ("we go ", f" French: {SAID}, no? ")),
]


@pytest.mark.parametrize(("prompt", "asked"), ASKED)
def test_it_is_asked_as_the_recipe_asks(prompt: dict[str, Any], asked: tuple[str, ...], tmp_path: Path) -> None:
    """Token by token, after the text that stands before the audio and what asks for the translation."""
    loaded = model(tmp_path, recipe(stages=[stage("st")], prompt=prompt))
    pieces, llm = loaded.tokenizer, loaded.model.llm
    utterance = Utterance(id="a", audio="", language="eng", text=SAID)
    (found,) = TextTranslator(loaded, beam_size=1)([utterance], ["fra"])
    ids = [id for text in asked for id in pieces(text, add_special_tokens=False).input_ids]
    start = len(ids)
    with torch.no_grad():
        while len(ids) < start + loaded.recipe.decoding.max_new_tokens and pieces.eos_token_id not in ids[start:]:
            ids.append(int(llm(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    written = pieces.decode([id for id in ids[start:] if id != pieces.eos_token_id])
    assert found.translation == said(written).strip()
