"""A trimmed LLM reads and writes as the whole one does, as long as no other piece is needed."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from dragoman.errors import ModelError
from dragoman.model.bases import VOCABULARY, find_llm
from dragoman.model.bases.vocabulary import TrimmedVocabulary, choose_vocabulary, trim_llm, trim_tokenizer
from dragoman.model.llm import load_llm
from dragoman.pretraining.tokenizer import train_tokenizer
from dragoman.recipe import LlmConfig

ENGLISH = ("the cat sleeps on the table", "we go home again", "it rains again today", "the table is at home")
OTHERS = (
    "die Katze schläft auf dem Tisch",
    "le chat dort sur la table encore",
    "кошка спит на столе",
    "猫在桌子上睡觉",
)
HELD_OUT = ("the cat is home", "we sleep again", "it rains on the table", "the home on the table", "today we go home")
TAGS = ("<|ita|>", "<|por|>")


def byte_fallback() -> PreTrainedTokenizerBase:
    """As Gemma's: pieces like <0x0A> stand in for characters without one."""
    return train_tokenizer([*ENGLISH, *OTHERS] * 3, ["eng", "deu"], 220)


def byte_level() -> PreTrainedTokenizerBase:
    """As Qwen's and Llama's: all is spelt in 256 signs, and a template writes the beginning."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    raw.train_from_iterator([*ENGLISH, *OTHERS] * 3, trainer)
    raw.add_special_tokens(["<s>", "</s>"])
    template = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", raw.token_to_id("<s>"))])
    raw.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>")


def gemma(pieces: int) -> Any:
    return Gemma3ForCausalLM(Gemma3TextConfig(vocab_size=pieces, head_dim=16, query_pre_attn_scalar=16, **SHAPE))


def qwen(pieces: int) -> Any:
    """Its head is its own, and it has more rows than pieces."""
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=pieces + 16, tie_word_embeddings=False, **SHAPE))


SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
         "intermediate_size": 48, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 1}  # fmt: skip
KINDS = {"gemma": (byte_fallback, gemma), "qwen": (byte_level, qwen)}


class Trimmed:
    """A whole LLM beside what is left of it."""

    def __init__(self, kind: str) -> None:
        tokenizer, model = KINDS[kind]
        with TemporaryDirectory() as folder:  # as it comes from a folder of such a model
            model(300).config.save_pretrained(folder)
            tokenizer().save_pretrained(folder)
            self.whole = AutoTokenizer.from_pretrained(folder)
        self.vocabulary = choose_vocabulary(self.whole, ENGLISH, TAGS)
        self.smaller = trim_tokenizer(self.whole, self.vocabulary)
        torch.manual_seed(0)
        self.llm = model(len(self.whole)).eval()
        torch.manual_seed(0)
        self.small_llm = model(len(self.whole)).eval()
        trim_llm(self.small_llm, self.whole, self.vocabulary)

    def is_enough(self, text: str) -> bool:
        return set(self.whole(text).input_ids) <= set(self.vocabulary.kept)

    def pieces(self, text: str) -> tuple[list[str], list[str]]:
        both = (self.whole, self.smaller)
        one, other = (pieces.convert_ids_to_tokens(pieces(text).input_ids) for pieces in both)
        return one, other


@pytest.fixture(scope="module", params=KINDS)
def trimmed(request: pytest.FixtureRequest) -> Trimmed:
    return Trimmed(request.param)


def test_it_is_smaller_and_divides_its_texts_as_before(trimmed: Trimmed) -> None:
    assert 256 < len(trimmed.smaller) == len(trimmed.vocabulary.kept) + len(TAGS) < 0.9 * len(trimmed.whole)
    for text in ENGLISH:
        whole, smaller = trimmed.pieces(text)
        assert whole == smaller and len(whole) < len(text)


WORDS = st.sampled_from([word for text in (*ENGLISH, *OTHERS) for word in text.split()])


@given(st.one_of(st.text(max_size=20), st.lists(st.one_of(WORDS, st.text(max_size=3)), max_size=8).map(" ".join)))
def test_any_text_comes_back_and_one_that_needs_no_other_piece_is_divided_as_before(text: str) -> None:
    assume("<" not in text)  # what looks like a tag is one
    for trimmed in EVERY:
        whole, smaller = trimmed.pieces(text)
        if trimmed.is_enough(text):
            assert whole == smaller
        both = [
            pieces.decode(pieces(text, add_special_tokens=False).input_ids)
            for pieces in (trimmed.whole, trimmed.smaller)
        ]
        assert both[0] == both[1]


EVERY = [Trimmed(kind) for kind in KINDS]


def test_texts_held_out_are_mostly_divided_as_before(trimmed: Trimmed) -> None:
    same = [whole == smaller for whole, smaller in map(trimmed.pieces, HELD_OUT)]
    assert sum(same) >= 4
    far = [whole == smaller for whole, smaller in map(trimmed.pieces, OTHERS)]
    assert not any(far)  # something was left out


@torch.no_grad()
def test_the_logits_of_kept_pieces_are_those_of_the_whole_llm(trimmed: Trimmed) -> None:
    kept = list(trimmed.vocabulary.kept)
    for text in ENGLISH:
        before = trimmed.llm(torch.tensor([trimmed.whole(text).input_ids])).logits[..., kept]
        after = trimmed.small_llm(torch.tensor([trimmed.smaller(text).input_ids])).logits[..., : len(kept)]
        torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)
        assert before.std() > 0.01


def test_a_tag_is_one_piece_and_begins_as_the_mean_of_its_own(trimmed: Trimmed) -> None:
    weights, whole = (llm.get_input_embeddings().weight for llm in (trimmed.small_llm, trimmed.llm))
    usual = whole[list(trimmed.vocabulary.kept)].norm(dim=1).mean()
    for tag in TAGS:
        (piece,) = trimmed.smaller(tag, add_special_tokens=False).input_ids
        mean = whole[trimmed.whole(tag, add_special_tokens=False).input_ids].mean(0)
        assert len(trimmed.whole(tag, add_special_tokens=False).input_ids) > 1
        torch.testing.assert_close(weights[piece], mean / mean.norm() * usual)
        assert trimmed.smaller.convert_ids_to_tokens(trimmed.smaller(f"cat{tag}").input_ids)[-1] == tag


def test_a_tag_that_is_a_piece_already_stays_it() -> None:
    tokenizer = byte_fallback()
    vocabulary = choose_vocabulary(tokenizer, ENGLISH, ["<|eng|>", *TAGS])
    smaller = trim_tokenizer(tokenizer, vocabulary)
    assert vocabulary.tags == TAGS
    bytes_ = tokenizer.convert_tokens_to_ids([f"<0x{byte:02X}>" for byte in range(256)])
    assert {tokenizer.pad_token_id, tokenizer.eos_token_id, *bytes_} <= set(choose_vocabulary(tokenizer, [], []).kept)
    assert smaller.convert_ids_to_tokens(smaller("<|eng|>").input_ids) == ["<|eng|>"]


def test_frequent_pieces_are_kept_where_the_texts_hold_their_characters(trimmed: Trimmed) -> None:
    texts = [text for text in ENGLISH for _ in range(30)]
    more = choose_vocabulary(trimmed.whole, texts, TAGS, most_frequent=len(trimmed.whole))
    gained = {trimmed.whole.convert_ids_to_tokens(piece) for piece in set(more.kept) - set(trimmed.vocabulary.kept)}
    assert gained and set("".join(gained)) <= set("".join(ENGLISH)) | {"▁", "Ġ"}


def test_what_is_left_is_an_llm_like_any_other(trimmed: Trimmed, tmp_path: Path) -> None:
    trimmed.small_llm.save_pretrained(tmp_path)
    trimmed.smaller.save_pretrained(tmp_path)
    llm, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer("the cat sleeps", return_tensors="pt").input_ids
    assert ids.tolist() == [trimmed.smaller("the cat sleeps").input_ids]
    assert torch.equal(llm(ids).logits, trimmed.small_llm(ids).logits)
    assert tokenizer.eos_token == trimmed.whole.eos_token and tokenizer(TAGS[0]).input_ids[-1:] == [len(tokenizer) - 2]


# ------------------------------------------------------------------------------------------- in a recipe


@pytest.fixture
def settings(cache: Path, tmp_path: Path) -> LlmConfig:
    """A recipe's table whose LLM is a folder; the model's folder beside it says what is left."""
    for kept in (EVERY[0].llm, EVERY[0].whole):
        kept.save_pretrained(tmp_path / "whole")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / VOCABULARY).write_text(EVERY[0].vocabulary.to_json())
    return LlmConfig(name=str(tmp_path / "whole"), vocabulary={"texts": ["train"]})


def test_it_is_trimmed_once_and_anew_for_other_weights(settings: LlmConfig, cache: Path, tmp_path: Path) -> None:
    llm, tokenizer = load_llm(settings, tmp_path / "model", torch.float32)
    assert torch.equal(llm.lm_head.weight, EVERY[0].small_llm.lm_head.weight)
    assert tokenizer(ENGLISH[0]).input_ids == EVERY[0].smaller(ENGLISH[0]).input_ids
    place = find_llm(settings, tmp_path / "model")
    written = (Path(place.weights) / "model.safetensors").stat().st_mtime_ns
    assert find_llm(settings, tmp_path / "model") == place
    assert (Path(place.weights) / "model.safetensors").stat().st_mtime_ns == written
    gemma(len(EVERY[0].whole)).save_pretrained(settings.name)
    assert find_llm(settings, tmp_path / "model").weights != place.weights
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 2


def test_without_its_list_or_with_a_changed_file_it_is_one_sentence(settings: LlmConfig, tmp_path: Path) -> None:
    folder = Path(find_llm(settings, tmp_path / "model").weights)
    (folder / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=rf"config\.json: was changed since it was made; remove {folder} to make it"):
        find_llm(settings, tmp_path / "model")
    for there in ("{}", "[1]", json.dumps({"tags": [], "kept": "x"})):
        (tmp_path / "model" / VOCABULARY).write_text(there)
        with pytest.raises(ModelError, match="is not the list of a model's pieces; the folder is incomplete"):
            find_llm(settings, tmp_path / "model")
    (tmp_path / "model" / VOCABULARY).write_text(TrimmedVocabulary((0, 1, 9999), ()).to_json())
    with pytest.raises(
        ModelError, match=r"The model's list of pieces belongs to another LLM: .*whole lacks some of them"
    ):
        find_llm(settings, tmp_path / "model")
    (tmp_path / "model" / VOCABULARY).unlink()
    with pytest.raises(ModelError, match="is missing, which lists the pieces that are kept of"):
        find_llm(settings, tmp_path / "model")


def test_a_tokenizer_whose_class_adds_pieces_is_refused(settings: LlmConfig, tmp_path: Path) -> None:
    tokenizer = byte_level()  # no Qwen's
    qwen(len(tokenizer)).save_pretrained(settings.name)
    tokenizer.save_pretrained(settings.name)
    vocabulary = choose_vocabulary(tokenizer, ENGLISH, TAGS)
    (tmp_path / "model" / VOCABULARY).write_text(vocabulary.to_json())
    with pytest.raises(ModelError, match=r"the tokenizer of .*whole cannot be trimmed\.$"):
        find_llm(settings, tmp_path / "model")


def test_a_list_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "list").write_text(EVERY[0].vocabulary.to_json())
    assert TrimmedVocabulary.read(tmp_path / "list") == EVERY[0].vocabulary
