"""The real bases, where they were fetched: what they hear, write and divide."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jiwer
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, WhisperForConditionalGeneration, WhisperProcessor

from dragoman.data.audio import load_audio
from dragoman.model.bases.cache import sealed
from dragoman.model.bases.fetch import fetch_base, is_fetched
from dragoman.model.bases.vocabulary import choose_vocabulary, trim_llm, trim_tokenizer

pytestmark = [pytest.mark.base_model, pytest.mark.slow]
DATA = Path(__file__).parents[4] / "shared" / "data"
CLIP = DATA / "speech-dev" / "commonvoice_en" / "common_voice_en_1.mp3"
SENTENCES = DATA / "tatoeba" / "dev.jsonl"


def base(name: str) -> Path:
    if not is_fetched(name):
        pytest.skip(f"{name} is not here; run `dragoman fetch {name}`")
    return fetch_base(name)


def needed(path: Path) -> Path:
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    return path


@pytest.fixture(scope="module")
def gemma() -> tuple[Any, Any]:
    folder = base("gemma-3-270m")
    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval(), AutoTokenizer.from_pretrained(folder)


def sentences(count: int, start: int = 0) -> list[str]:
    rows = [json.loads(line) for line in needed(SENTENCES).read_text(encoding="utf-8").splitlines()]
    texts = [text for row in rows for code in ("eng", "deu", "fra") for text in _texts(row.get(code, ()))]
    return texts[start : start + count]


def _texts(given: str | list[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


@torch.inference_mode()
def test_whisper_hears_a_person() -> None:
    folder = base("whisper-base")
    processor, model = (
        WhisperProcessor.from_pretrained(folder),
        WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32),
    )
    features = processor(load_audio(needed(CLIP)), sampling_rate=16000, return_tensors="pt").input_features
    said = model.generate(features.to(model.dtype), language="en", task="transcribe", max_new_tokens=40)
    (text,) = processor.batch_decode(said, skip_special_tokens=True)
    assert jiwer.wer("i'm interested only in the present", text.lower().strip(" .")) <= 0.34


@torch.inference_mode()
@pytest.mark.parametrize(
    ("sentence", "entropy"),
    [
        ("The capital of France is Paris, and the capital of Germany is Berlin.", 2.216),
        ("In 1969, two men walked on the moon for the first time in history.", 2.113),
        ("Paris moon the the, capital walked history 1969 is Berlin men and of on.", 4.0),
    ],
)
def test_gemma_knows_a_sentence_from_its_words(gemma: tuple[Any, Any], sentence: str, entropy: float) -> None:
    """A token's mean cross-entropy, measured with transformers' own reading of the same file."""
    llm, tokenizer = gemma
    ids = tokenizer(sentence, return_tensors="pt").input_ids
    found = float(llm(ids, labels=ids).loss)
    assert found > entropy if entropy > 3 else found == pytest.approx(entropy, abs=0.1)


@torch.inference_mode()
def test_gemma_trimmed_divides_and_says_the_same(gemma: tuple[Any, Any]) -> None:
    llm, tokenizer = gemma
    texts, held_out = sentences(3000), sentences(500, 3000)
    vocabulary = choose_vocabulary(tokenizer, texts, ["<|eng|>", "<|deu|>"], most_frequent=50_000)
    smaller = trim_tokenizer(tokenizer, vocabulary)
    number = {old: new for new, old in enumerate(vocabulary.kept)}
    for text in texts[:500]:
        assert smaller(text).input_ids == [number[piece] for piece in tokenizer(text).input_ids]
    pieces = [set(tokenizer(text).input_ids) for text in held_out]
    assert sum(used <= number.keys() for used in pieces) >= 0.6 * len(held_out)
    assert sum(len(used & number.keys()) for used in pieces) >= 0.9 * sum(map(len, pieces))
    ids = torch.tensor([tokenizer(texts[0]).input_ids])
    before = llm(ids).logits[..., list(vocabulary.kept)]
    trim_llm(llm, tokenizer, vocabulary)
    after = llm(torch.tensor([smaller(texts[0]).input_ids])).logits[..., : len(vocabulary.kept)]
    torch.testing.assert_close(after, before, atol=0.1, rtol=0.02)
    assert llm.num_parameters() < 150e6


def test_what_was_fetched_is_unchanged() -> None:
    for name in ("whisper-base", "gemma-3-270m"):
        assert sealed(base(name)) == base(name)


def test_nothing_of_small_is_left_to_be_made_once_it_is_fetched(tmp_path: Path) -> None:
    cache = tmp_path / "assets/dragoman/bases/1"
    cache.mkdir(parents=True)
    for name in ("whisper-base", "gemma-3-270m"):
        (cache / name).symlink_to(base(name))
    command = [sys.executable, "-m", "dragoman", "fetch", "small"]
    done = subprocess.run(command, env=os.environ | {"HF_HOME": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = [path for path in map(Path, done.stdout.splitlines()) if not path.is_symlink()]
    assert [path.parent for path in made] == [cache] and sealed(made[0]) is not None
