"""A model taught transcript, tags and translation as one text writes what it was taught, into every target, where the
piece at the border (`|>"`) reaches over the tag."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.utils.rnn import pad_sequence
from toy import mel, recipe, stage, write_bases
from transformers import GenerationConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from dragoman.data.examples import Examples, TextEncoder
from dragoman.data.tasks import LanguageTags, escape
from dragoman.inference.decoding.decoder import DecodedSpeech, Decoder, DecodeRequest
from dragoman.inference.decoding.generate import TextSearch
from dragoman.inference.decoding.glossary import Glossary, Term
from dragoman.model.build import LoadedModel, new_model
from dragoman.pretraining.llm import new_llm
from dragoman.records import Utterance

TARGETS = ("deu", "fra")
HEARD = [mel(120, 1), mel(64, 2), mel(90, 3), mel(40, 4)]
SAID = ["the cat sleeps", "no", 'he said "stop"', "we go home"]
WRITTEN = [
    {"deu": '"die Katze schläft"', "fra": "«le chat dort»"},
    {"deu": "nein", "fra": "...non"},
    {"deu": '"halt", sagte er', "fra": '"arrête", dit-il'},
    {"deu": "(wir gehen heim)", "fra": "nous rentrons"},
]
REQUESTS = [DecodeRequest(heard, "eng", TARGETS) for heard in HEARD]
# Qwen2's: what is neither letter, digit nor space is one stretch
QWEN = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def answer(number: int, code: str) -> str:
    return escape(SAID[number]) + LanguageTags()("eng", code) + WRITTEN[number][code]


def qwen_like() -> PreTrainedTokenizerBase:
    raw = Tokenizer(models.BPE())
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(QWEN, behavior="isolated"), as_bytes])
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    texts = [answer(number, code) for number in range(len(SAID)) for code in TARGETS] * 9
    raw.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, special_tokens=["<|pad|>", "<|end|>"])
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<|pad|>", eos_token="<|end|>")


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """An LLM that knows these answers by heart, each tokenised as one text."""
    folder = tmp_path_factory.mktemp("taught")
    chosen = recipe(sources=["eng"], targets=list(TARGETS), stages=[stage("srt")], prompt={"joint_answer": True})
    write_bases(folder, chosen)
    pieces = qwen_like()
    pieces.save_pretrained(folder / "tokenizer")
    assert chosen.bases is not None
    torch.manual_seed(0)
    new_llm(chosen.bases.llm, pieces).save_pretrained(folder / "llm")
    loaded = new_model(chosen, folder, torch.float32)
    text, model = TextEncoder(loaded.tokenizer), loaded.model.eval()
    optimiser = torch.optim.AdamW(model.llm.parameters(), lr=1e-2)
    for _ in range(200):
        embed, rows, labels = model.llm.get_input_embeddings(), [], []
        for number, heard in enumerate(HEARD):
            for code in TARGETS:
                prompt, ids = text.prompt(LanguageTags()("eng", code)), text.answer(answer(number, code))
                rows.append(torch.cat([hear(loaded, heard)[0], embed(torch.tensor([*prompt, *ids]))]))
                labels.append(torch.tensor([*[-100] * (len(rows[-1]) - len(ids)), *ids]))
        logits = model.llm(inputs_embeds=pad_sequence(rows, True)).logits[:, :-1].transpose(1, 2)
        loss = torch.nn.functional.cross_entropy(logits, pad_sequence(labels, True, -100)[:, 1:])
        if loss < 0.01:
            return loaded
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    raise AssertionError(f"It has not learnt its answers: {loss}")


@torch.no_grad()
def hear(loaded: LoadedModel, heard: Any) -> torch.Tensor:
    audio, _ = loaded.model.encode_audio(torch.from_numpy(heard)[None], torch.tensor([heard.shape[1]]))
    return audio


def one_pass(loaded: LoadedModel, beams: int, heard: Any, code: str) -> str:
    """All of an answer, by transformers' `generate` alone."""
    prompt = TextEncoder(loaded.tokenizer).prompt(LanguageTags()("eng", code))
    llm = loaded.model.llm
    rows = torch.cat([hear(loaded, heard), llm.get_input_embeddings()(torch.tensor([prompt]))], 1)
    end, pad = loaded.tokenizer.eos_token_id, loaded.tokenizer.pad_token_id
    config = GenerationConfig(num_beams=beams, max_new_tokens=60, do_sample=False, eos_token_id=end, pad_token_id=pad)
    found = llm.generate(inputs_embeds=rows, attention_mask=torch.ones(rows.shape[:2]), generation_config=config)
    return loaded.tokenizer.decode([id_ for id_ in found[0].tolist() if id_ not in (end, pad)])


def raw(found: DecodedSpeech) -> dict[str, str]:
    return {code: translation.raw for code, translation in found.translations.items()}


def scores(found: list[DecodedSpeech]) -> list[float]:
    every = [score for one in found for score in (one.score, *(one.translations[code].score for code in TARGETS))]
    return [score for score in every if score is not None]


def test_pieces_reach_over_the_border() -> None:
    pieces = qwen_like()
    joint, apart = (TextEncoder(pieces).answer(*parts) for parts in (('a<|deu|>"b',), ("a<|deu|>", '"b')))
    assert joint != apart
    assert '|>"' in pieces.convert_ids_to_tokens(list(joint))


@pytest.mark.parametrize("beams", [1, 3])
def test_every_target_is_what_one_pass_over_the_whole_writes(beams: int, taught: LoadedModel) -> None:
    decoder = Decoder(taught, beams, 60)
    together = decoder(REQUESTS)
    for number, (heard, found) in enumerate(zip(HEARD, together, strict=True)):
        whole = {code: one_pass(taught, beams, heard, code) for code in TARGETS}
        assert raw(found) == whole == {code: answer(number, code) for code in TARGETS}
        assert found.transcript == SAID[number]
        assert not found.truncated
        assert [found.translations[code].text for code in TARGETS] == list(WRITTEN[number].values())
    for other in ([decoder([request])[0] for request in REQUESTS], Decoder(taught, beams, 60, max_rows=2)(REQUESTS)):
        assert [(found.transcript, raw(found)) for found in other] == [(one.transcript, raw(one)) for one in together]
        assert scores(other) == pytest.approx(scores(together), abs=1e-4)
    assert min(scores(together)) > -0.1


def test_a_translation_apart_from_the_tag_is_not_what_was_taught(taught: LoadedModel) -> None:
    """What healing is for; our own training tokenises apart, and so does the decoding of its models."""
    prompt = taught.recipe.prompt.model_copy(update={"joint_answer": False})
    apart = Decoder(replace(taught, recipe=taught.recipe.model_copy(update={"prompt": prompt})), 1, 60)
    assert any(raw(found) != {code: answer(at, code) for code in TARGETS} for at, found in enumerate(apart(REQUESTS)))


def test_what_is_begun_known_or_asked_for_is_healed_too(taught: LoadedModel) -> None:
    decoder = Decoder(taught, 1, 60)
    glossary = Glossary((Term("cat", "Katze", "eng", "deu"),))
    expected = {code: answer(0, code) for code in TARGETS}
    begun = {"deu": '"die', "fra": "«le chat", "transcript": "the cat"}
    for request in (
        replace(REQUESTS[0], transcript=SAID[0]),
        replace(REQUESTS[0], hotwords=("cat",)),
        replace(REQUESTS[0], glossary=glossary),
        replace(REQUESTS[0], prefixes=begun),
    ):
        (found,) = decoder([request])
        assert (found.transcript, raw(found)) == (SAID[0], expected)
        assert not any(found.translations[code].missed for code in TARGETS)


def test_the_first_target_costs_no_second_search(taught: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    search = TextSearch.__call__

    def counted(self: TextSearch, heard: Any, requests: Any, *given: Any, **more: Any) -> Any:
        rows.append(len(requests))
        return search(self, heard, requests, *given, **more)

    monkeypatch.setattr(TextSearch, "__call__", counted)
    Decoder(taught, 1, 60)([replace(request, targets=("deu",)) for request in REQUESTS])
    assert sum(rows) == len(REQUESTS)


def test_what_the_limit_cuts_behind_the_tags_is_the_translations(taught: LoadedModel) -> None:
    length = len(taught.tokenizer(answer(0, "deu")).input_ids)
    (found,) = Decoder(taught, 1, length)(REQUESTS[:1])
    assert not found.truncated
    assert found.translations["deu"].truncated
    assert found.translations["deu"].text == WRITTEN[0]["deu"]


def test_training_goes_on_as_the_checkpoint_was_taught(taught: LoadedModel) -> None:
    utterance = Utterance(id="a", audio="a.wav", language="eng", text=SAID[0], translations=WRITTEN[0])
    only_text = taught.recipe.stages[0].model_copy(update={"data": []})
    row = Examples([], only_text, taught.recipe, taught.tokenizer)._row("srt", utterance, "deu")
    assert row.answer == TextEncoder(taught.tokenizer).answer(answer(0, "deu"))
