"""Decoding many targets at once, in batches, from a shared cache gives what one at a time from scratch gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import LORA, Q_FORMER, STACKED, mel, model, recipe, stage
from transformers import GenerationConfig

from dragoman.data.examples import TextEncoder
from dragoman.data.tasks import TASKS, LanguageTags, TaskItem, escape, said
from dragoman.inference.decoding.decoder import DecodedSpeech, Decoder, DecodeRequest
from dragoman.inference.decoding.glossary import Glossary, Term
from dragoman.inference.decoding.phrases import occurs
from dragoman.model.build import LoadedModel
from dragoman.text.repetition import has_loop

TARGETS = ("deu", "fra")
REQUESTS = [
    DecodeRequest(mel(120, 1), "eng", TARGETS),
    DecodeRequest(mel(44, 2), "eng", ("fra",)),
    DecodeRequest(mel(200, 3), "deu", ("fra", "eng")),
    DecodeRequest(mel(90, 4), "fra", ()),
    DecodeRequest(mel(90, 5), "eng", ("fra", "deu")),
]
STAGES = {"asr": [], "srt": [stage("srt")]}


@pytest.fixture(params=["asr", "srt"])
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> LoadedModel:
    """A model whose transcripts come by the ASR prompt, and one whose last stage knew only the SRT prompt."""
    return toy_model(tmp_path, STAGES[request.param])


def toy_model(folder: Path, stages: list[Any], adapter: Any = STACKED, **over: Any) -> LoadedModel:
    llm = {"name": "base", "lora": LORA}
    chosen = recipe(stages=stages, adapter=adapter, llm=llm, encoder={"name": "base"}, **over)
    assert chosen.transcribes == (not stages or "asr" in stages[-1]["tasks"])
    loaded = model(folder, chosen)
    with torch.no_grad():
        for name, parameter in loaded.model.llm.named_parameters():
            # Loud layers: what is written depends on what is heard, and sums in another order do not change it.
            parameter *= 6.0 if parameter.ndim == 2 and ".lora_" not in name else 1.0
        loaded.model.llm.get_input_embeddings().weight[loaded.tokenizer.eos_token_id] *= 1.5
    return loaded


def texts(decoded: DecodedSpeech) -> tuple[Any, ...]:
    said = {code: (t.text, t.raw, t.truncated, t.looped, t.missed) for code, t in decoded.translations.items()}
    return decoded.transcript, decoded.truncated, said


def assert_same(one: list[DecodedSpeech], other: list[DecodedSpeech]) -> None:
    assert [texts(decoded) for decoded in one] == [texts(decoded) for decoded in other]
    assert scores(one) == pytest.approx(scores(other), abs=1e-4)


def scores(found: list[DecodedSpeech]) -> list[float]:
    return [
        score for d in found for score in (d.score, *(d.translations[code].score for code in sorted(d.translations)))
    ]


@pytest.mark.parametrize("beams", [1, 3])
def test_a_batch_gives_what_one_by_one_gives(beams: int, loaded: LoadedModel) -> None:
    decoder = Decoder(loaded, beams, 8)
    together = decoder(REQUESTS)
    assert_same(together, [decoder([request])[0] for request in REQUESTS])
    assert_same(together, decoder(REQUESTS[::-1])[::-1])
    assert_same(together, Decoder(loaded, beams, 8, max_rows=2)(REQUESTS))
    if loaded.recipe.transcribes:  # a random model does not keep the SRT format
        assert len({decoded.transcript for decoded in together}) > 2


@pytest.mark.parametrize("adapter", [STACKED, Q_FORMER], ids=lambda table: table["kind"])
@pytest.mark.parametrize("beams", [1, 3])
def test_many_targets_in_one_pass_are_single_passes(beams: int, adapter: Any, tmp_path: Path) -> None:
    decoder = Decoder(toy_model(tmp_path, [], adapter), beams, 8)
    heard = mel(150, 6)
    (both,) = decoder([DecodeRequest(heard, "eng", TARGETS)])
    (swapped,) = decoder([DecodeRequest(heard, "eng", TARGETS[::-1])])
    assert list(swapped.translations) == ["fra", "deu"]
    assert texts(swapped) == texts(both)
    for code in TARGETS:
        (single,) = decoder([DecodeRequest(heard, "eng", (code,))])
        assert texts(single) == (*texts(both)[:2], {code: texts(both)[2][code]})


@pytest.mark.parametrize("beams", [1, 3])
def test_the_shared_cache_gives_what_plain_generation_gives(beams: int, loaded: LoadedModel) -> None:
    """The whole sequence written out in embeddings, one row at a time, through `generate` and nothing else."""
    (decoded,) = Decoder(loaded, beams, 8)([REQUESTS[0]])
    text, tags = TextEncoder(loaded.tokenizer), LanguageTags()
    task = TASKS["asr" if loaded.recipe.transcribes else "srt"]
    item = TaskItem("eng", "deu")
    first = plain(loaded, beams, text.prompt(task.prompt(item, tags)))
    parsed = task.parse(first, item, tags).transcript
    assert decoded.transcript == (said(first.partition(tags("eng", "deu"))[0]) if parsed is None else parsed).strip()
    for code, translation in decoded.translations.items():
        if decoded.transcript:
            prompt = text.prompt(tags("eng", code)) + text.plain(escape(decoded.transcript) + tags("eng", code))
            assert (
                translation.raw == escape(decoded.transcript) + tags("eng", code) + plain(loaded, beams, prompt).strip()
            )


@torch.no_grad()
def test_the_score_is_the_mean_log_probability_of_the_transcript(loaded: LoadedModel) -> None:
    text = TextEncoder(loaded.tokenizer)
    for request in REQUESTS:
        (decoded,) = Decoder(loaded, 1, 8)([request])
        if loaded.recipe.transcribes:
            prompt, answer = text.prompt(LanguageTags()(request.source)), text.answer(escape(decoded.transcript))
        else:
            others = [*request.targets, *(code for code in loaded.recipe.targets if code != request.source)]
            both = LanguageTags()(request.source, others[0])
            prompt, answer = text.prompt(both), text.plain(escape(decoded.transcript) + both)
        audio, _ = loaded.model.encode_audio(
            torch.from_numpy(request.features)[None], torch.tensor([request.features.shape[1]])
        )
        rows = torch.cat([audio, loaded.model.llm.get_input_embeddings()(torch.tensor([[*prompt, *answer]]))], 1)
        predicted = loaded.model.llm(inputs_embeds=rows).logits[0, -len(answer) - 1 : -1].log_softmax(-1)
        expected = predicted[range(len(answer)), list(answer)].mean()
        assert decoded.score == pytest.approx(float(expected), abs=1e-4)


@torch.no_grad()
def test_a_language_is_as_likely_as_its_transcript_to_the_llm_and_to_the_audio_alone(tmp_path: Path) -> None:
    loaded = toy_model(tmp_path, [stage("asr", ctc_weight=0.5)])
    decoder = Decoder(loaded, 1, 4)
    together = zip(decoder(REQUESTS), decoder.likelihoods(REQUESTS, 1), strict=True)
    for request, (decoded, likely) in zip(REQUESTS, together, strict=True):
        ids = loaded.tokenizer(escape(decoded.transcript), add_special_tokens=False).input_ids
        audio, num_audio = loaded.model.encode_audio(
            torch.from_numpy(request.features)[None], torch.tensor([request.features.shape[1]])
        )
        log_probs = loaded.model.ctc_logits(audio)[0].log_softmax(-1)
        loss = torch.nn.functional.ctc_loss(
            log_probs, torch.tensor(ids), num_audio, torch.tensor([len(ids)]), loaded.model.blank_id, "sum"
        )
        assert likely == pytest.approx(decoded.score - float(loss) / (len(ids) + 1), abs=1e-3)


@torch.no_grad()
def plain(loaded: LoadedModel, beams: int, ids: tuple[int, ...]) -> str:
    llm, end = loaded.model.llm, loaded.tokenizer.eos_token_id
    audio, _ = loaded.model.encode_audio(
        torch.from_numpy(REQUESTS[0].features)[None], torch.tensor([REQUESTS[0].features.shape[1]])
    )
    rows = torch.cat([audio, llm.get_input_embeddings()(torch.tensor([ids]))], 1)
    how = GenerationConfig(
        num_beams=beams, max_new_tokens=8, do_sample=False, eos_token_id=end, pad_token_id=loaded.tokenizer.pad_token_id
    )
    (found,) = llm.generate(
        inputs_embeds=rows, attention_mask=torch.ones(rows.shape[:2]), generation_config=how
    ).tolist()
    written = found[: found.index(end)] if end in found else found
    return loaded.tokenizer.decode([n for n in written if n != loaded.tokenizer.pad_token_id])


def script(loaded: LoadedModel, *answers: str) -> None:
    """Make the LM say these answers, one a search, whatever it hears; after the last word comes the end, always."""
    end = loaded.tokenizer.eos_token_id
    written = [[*loaded.tokenizer(answer, add_special_tokens=False).input_ids, end] for answer in answers]
    scripts = [[], *written]  # first the audio is read
    state = {"generation": -1, "step": 0}

    def speak(_: Any, __: Any, arguments: dict[str, Any], output: Any) -> Any:
        if arguments.get("input_ids") is None:  # the audio, or the prompt after it
            if not arguments.get("logits_to_keep"):  # all of a text is scored
                return output
            state.update(generation=state["generation"] + 1, step=0)
        ids = scripts[state["generation"]]
        output.logits = torch.full_like(output.logits, -50.0)
        output.logits[:, -1:, ids[min(state["step"], len(ids) - 1)] if ids else end] = 50.0
        state["step"] += 1
        return output

    loaded.model.llm.get_base_model().register_forward_hook(speak, with_kwargs=True)


@pytest.mark.parametrize("stages", STAGES.values(), ids=STAGES)
def test_the_limit_marks_what_it_stops_and_nothing_else(stages: list[Any], tmp_path: Path) -> None:
    loaded = toy_model(tmp_path, stages)
    written = "the cat sleeps" if not stages else "the cat sleeps<|eng|><|deu|>die Katze schläft"
    lengths = [
        len(loaded.tokenizer(text, add_special_tokens=False).input_ids) + 1 for text in (written, "le chat dort")
    ]
    request = [DecodeRequest(mel(60), "eng", TARGETS)]
    for limit in (max(lengths), max(lengths) - 1):
        script(loaded, written, "le chat dort")
        (found,) = Decoder(loaded, 1, limit)(request)
        # what is cut off behind the tags is not the transcript's
        assert found.truncated == (limit < lengths[0] and "<|" not in written)
        if not found.truncated:
            assert found.transcript == "the cat sleeps"
            assert {code: t.text for code, t in found.translations.items()} == dict.fromkeys(TARGETS, "le chat dort")
            assert found.translations["deu"].raw == "the cat sleeps<|eng|><|deu|>le chat dort"
            assert {t.truncated for t in found.translations.values()} == {limit < lengths[1]}
        loaded.model.llm.get_base_model()._forward_hooks.clear()


def test_what_looks_like_a_tag_comes_back_as_text(tmp_path: Path) -> None:
    loaded = toy_model(tmp_path, [])
    script(loaded, r"a <\|b", r"c <\|d")
    (found,) = Decoder(loaded, 1, 40)([DecodeRequest(mel(60), "eng", TARGETS)])
    assert found.transcript == "a <|b" and found.translations["fra"].text == "c <|d"
    assert found.translations["fra"].raw == r"a <\|b<|eng|><|fra|>c <\|d"


def test_silence_has_no_translation(tmp_path: Path) -> None:
    loaded = toy_model(tmp_path, [])
    script(loaded, "")
    (silent,) = Decoder(loaded, 1, 5)([DecodeRequest(mel(60), "eng", TARGETS)])
    assert (silent.transcript, silent.truncated) == ("", False)
    assert {code: (t.text, t.truncated) for code, t in silent.translations.items()} == dict.fromkeys(
        TARGETS, ("", False)
    )


DIRECT = {"asr": stage("st", tasks={"st": 0.5, "asr": 0.5}), "none": stage("st")}
IN_WORDS = {
    "before_audio": "the cat ",
    "worded": {"asr": " home, {source}? ", "st": " go home: {source}, {target}? "},
}


@pytest.mark.parametrize("transcribes", DIRECT)
@pytest.mark.parametrize("prompt", [{}, IN_WORDS])
def test_direct_translation_is_what_the_st_prompt_gives(transcribes: str, prompt: Any, tmp_path: Path) -> None:
    """Token by token without a cache: [text before the audio][audio][prompt] -> translation, no transcript in it."""
    loaded = toy_model(tmp_path, [DIRECT[transcribes]], prompt=prompt)
    decoded = Decoder(loaded, 1, 5)(REQUESTS[:2])
    assert [bool(d.transcript) for d in decoded] == [transcribes == "asr"] * 2
    speech_llm, pieces = loaded.model, loaded.tokenizer
    embed = speech_llm.llm.get_input_embeddings()
    lead = prompt.get("before_audio", "")
    words = prompt["worded"]["st"].format(source="English", target="French") if prompt else "<|eng|><|fra|>"
    request, found = REQUESTS[1], decoded[1].translations["fra"]
    with torch.no_grad():
        frames, num = speech_llm.encoder(
            torch.tensor(request.features)[None], torch.tensor([request.features.shape[1]])
        )
        audio, _ = speech_llm.adapter(frames, num)
        before, after = (pieces(text, return_tensors="pt").input_ids for text in (lead, words))
        rows = torch.cat([embed(before.long()), audio, embed(after)], 1)
        written: list[int] = []
        while len(written) < 5 and pieces.eos_token_id not in written:
            written.append(int(speech_llm.llm(inputs_embeds=rows).logits[0, -1].argmax()))
            rows = torch.cat([rows, embed(torch.tensor([written[-1:]]))], 1)
    text = pieces.decode([token for token in written if token != pieces.eos_token_id])
    assert found.raw == text.strip() and found.text == said(text).strip()
    assert found.truncated == (pieces.eos_token_id not in written)


SMT = [stage("smt"), stage("srt")]


@pytest.mark.parametrize("beams", [1, 2])
def test_a_known_transcript_is_translated_with_the_speech(beams: int, tmp_path: Path) -> None:
    """By the task smt: what plain generation gives after [audio][transcript, tags], alone and in a batch; its own
    transcripts are translated as if they had been known."""
    loaded = toy_model(tmp_path, SMT)
    decoder = Decoder(loaded, beams, 5, smt=True)
    texts = ["we go home", "no", "es regnet <|deu|> heute", "", "the cat"]
    known = [replace(request, transcript=text) for request, text in zip(REQUESTS, texts, strict=True)]
    together = decoder(known)
    assert [found.transcript for found in together] == texts
    for request, found in zip(known, together, strict=True):
        assert_same(decoder([request]), [found])
        for code, translation in found.translations.items():
            item = TaskItem(request.source, code, found.transcript)
            prompt = TASKS["smt"].prompt(item, LanguageTags.from_prompt(loaded.recipe.prompt))
            assert translation.raw.startswith(prompt)
            assert translation.raw.removeprefix(prompt) == after(loaded, request.features, prompt, beams, 5)
    own = decoder(REQUESTS)
    again = decoder([replace(r, transcript=f.transcript) for r, f in zip(REQUESTS, own, strict=True)])
    assert [found.translations for found in own] == [found.translations for found in again]
    assert [f.transcript for f in own] == [f.transcript for f in Decoder(loaded, beams, 5)(REQUESTS)]


def after(loaded: LoadedModel, mel: Any, prompt: str, beams: int, most: int) -> str:
    """What transformers' own search writes behind the audio and a prompt."""
    model, pieces = loaded.model, loaded.tokenizer
    with torch.no_grad():
        frames, num = model.encoder(torch.tensor(mel)[None], torch.tensor([mel.shape[1]]))
        audio, _ = model.adapter(frames, num)
        ids = pieces(prompt, return_tensors="pt").input_ids
        rows = torch.cat([audio, model.llm.get_input_embeddings()(ids)], 1)
        ends = {"eos_token_id": pieces.eos_token_id, "pad_token_id": pieces.pad_token_id}
        how = GenerationConfig(do_sample=False, num_beams=beams, max_new_tokens=most, **ends)
        written = model.llm.generate(inputs_embeds=rows, generation_config=how)
    return pieces.decode(written[0], skip_special_tokens=True).strip()


def insist(loaded: LoadedModel, text: str, times: int) -> None:
    """Make the LM say this over and over, or till it is stopped; it would end rather than say anything else."""
    end, ids = loaded.tokenizer.eos_token_id, loaded.tokenizer(text, add_special_tokens=False).input_ids * times
    state = {"step": 0}

    def speak(_: Any, __: Any, arguments: dict[str, Any], output: Any) -> Any:
        state["step"] = 0 if arguments.get("input_ids") is None else state["step"] + 1
        output.logits = torch.full_like(output.logits, -50.0)
        output.logits[:, -1:, end] = 0.0
        output.logits[:, -1:, ids[state["step"]] if state["step"] < len(ids) else end] = 20.0
        return output

    loaded.model.llm.get_base_model().register_forward_hook(speak, with_kwargs=True)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize(("times", "held"), [(3, False), (40, True)])
def test_a_loop_is_not_closed(times: int, held: bool, beams: int, tmp_path: Path) -> None:
    loaded = toy_model(tmp_path, [])
    insist(loaded, "the cat sleeps", times)
    decoder = Decoder(loaded, beams, 60)
    together = decoder(REQUESTS[:2])
    for decoded in together:
        assert decoded.looped == held and not has_loop(decoded.transcript)
        assert decoded.transcript.startswith(" ".join(["the cat sleeps"] * 3))
        assert {(t.looped, has_loop(t.text)) for t in decoded.translations.values()} == {(held, False)}
    assert_same(together, [decoder([request])[0] for request in REQUESTS[:2]])


@pytest.mark.parametrize("beams", [1, 3])
def test_decoding_as_in_the_papers_bans_ngrams_or_nothing(beams: int, tmp_path: Path) -> None:
    loaded = toy_model(tmp_path, [])
    insist(loaded, "the cat sleeps", 40)
    free = Decoder(loaded, beams, 40, no_repeat_ngram_size=0)(REQUESTS[:2])
    for decoded in free:
        assert has_loop(decoded.transcript) and not decoded.looped and decoded.truncated
    size = len(loaded.tokenizer("the cat sleeps", add_special_tokens=False).input_ids)
    banned = Decoder(loaded, beams, 40, no_repeat_ngram_size=size)(REQUESTS[:2])
    for decoded in banned:
        assert decoded.transcript.startswith("the cat sleeps") and decoded.transcript.count("the cat sleeps") == 1
        assert all(
            not t.text.startswith("the cat sleeps") for t in decoded.translations.values()
        )  # that is said already


@pytest.mark.parametrize("beams", [1, 3])
def test_words_and_terms_are_written_and_a_batch_is_one_by_one(beams: int, tmp_path: Path) -> None:
    """A random model says nothing of itself: whatever is asked for comes out of the bias alone."""
    loaded = toy_model(tmp_path, [])
    first = Decoder(loaded, beams, 12)(REQUESTS)
    # what one transcript says is to be translated so; the others do not say it
    word = max(first[0].transcript.split(), key=len)
    glossary = Glossary((Term(word, "Katze", None, "deu"), Term("no such word", "chat")))
    requests = [replace(request, glossary=glossary) for request in REQUESTS]
    decoder = Decoder(loaded, beams, 12)
    together = decoder(requests)
    assert_same(together, [decoder([request])[0] for request in requests])
    for before, after in zip(first, together, strict=True):
        assert after.transcript == before.transcript
        for code, translation in after.translations.items():
            asked = code == "deu" and occurs(word, after.transcript)
            assert translation.missed == (("Katze",) if asked and not occurs("Katze", translation.text) else ())
            if not asked or translation.missed:
                assert translation.text == before.translations[code].text
    hot = [replace(request, hotwords=("Katze", "Frau Holle")) for request in REQUESTS]
    assert_same(decoder(hot), [decoder([request])[0] for request in hot])
