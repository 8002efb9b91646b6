"""Every system behind the door, as a small random model in the true format: what holds for one holds for all."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign import SMALL, small_speech2text, tekken
from shapes import sizes_of_others
from transformers import (
    AutoProcessor,
    SeamlessM4TForSpeechToText,
    SeamlessM4Tv2ForSpeechToText,
    Speech2TextForConditionalGeneration,
)

from dragoman.catalogue import CHECKPOINTS, EXTERNAL_SYSTEMS, HUB_MODELS, OTHER_CHECKPOINTS
from dragoman.cli.evaluation.evaluate import evaluate
from dragoman.data.audio import SAMPLE_RATE, load_audio
from dragoman.data.synthesis import write_flac
from dragoman.errors import DataError, LanguageError, ModelError
from dragoman.inference.recordings import Speech
from dragoman.records import Utterance, write_rows
from dragoman.systems import SYSTEMS, find_system
from dragoman.systems.audio_llm import AudioLlm
from dragoman.systems.base import System
from dragoman.systems.cascade import Cascade, _pairs
from dragoman.systems.machine_translation import _FLORES, Nllb, _beyond
from dragoman.systems.seamless import Seamless
from dragoman.systems.speech2text import _direction_of
from dragoman.systems.voxtral import Voxtral
from dragoman.text.languages import LANGUAGES, SETS, find
from dragoman.vad import VadOptions, speech_segments

VIDEO = Path(__file__).parents[2] / "examples" / "english-video.mp4"
TARGETS = {"whisper": ("eng",), "speech2text": ("eng",)}


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models seldom end by themselves."""
    monkeypatch.setattr("dragoman.systems.pretrained.MAX_NEW_TOKENS", 8)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {name: str(make(tmp_path_factory.mktemp("small"))) for name, make in SMALL.items()}


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest, checkpoints: dict[str, str]) -> System:
    return SYSTEMS[request.param].from_pretrained(checkpoints[request.param], device="cpu", batch_size=8)


@pytest.fixture(scope="session")
def utterances(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    """Noise of different lengths and loudness in three languages."""
    folder = tmp_path_factory.mktemp("audio")
    random = np.random.default_rng(0)
    rows = []
    for number, (code, seconds) in enumerate([("deu", 1.2), ("fra", 0.4), ("eng", 2.0), ("deu", 0.7)]):
        samples = random.normal(scale=0.05 * (number + 1), size=round(seconds * SAMPLE_RATE)).clip(-1, 1)
        write_flac(folder / f"{number}.flac", samples.astype(np.float32))
        rows.append(Utterance(id=str(number), audio=str(folder / f"{number}.flac"), language=code))
    return rows


def as_heard(system: System, utterances: list[Utterance]) -> list[Utterance]:
    """In languages that it hears: what is not, is taken for one of them."""
    own = system.sources
    return [u if u.language in own else u.model_copy(update={"language": next(iter(own))}) for u in utterances]


def test_there_is_a_small_one_of_each_under_its_own_name() -> None:
    assert set(SMALL) == set(SYSTEMS) == set(EXTERNAL_SYSTEMS)
    assert all(kind.name == name for name, kind in SYSTEMS.items())
    for name, kind in SYSTEMS.items():
        parts = (kind.asr, kind.mt) if issubclass(kind, Cascade) else (kind,)
        assert EXTERNAL_SYSTEMS[name].checkpoints == tuple(part.checkpoint.name for part in parts)
    for (name, model), other in OTHER_CHECKPOINTS.items():
        usual = EXTERNAL_SYSTEMS[name].checkpoints
        named = zip(*_pairs(model), strict=True) if len(usual) == 2 else [(model,)]
        assert other.checkpoints == tuple(given or own for (given,), own in zip(named, usual, strict=True))


def test_a_cascade_knows_what_its_recogniser_can_before_it_is_loaded() -> None:
    cascades = [kind for kind in SYSTEMS.values() if issubclass(kind, Cascade)]
    assert {kind.identifies_language for kind in cascades} == {True, False}
    for kind in cascades:
        assert kind.identifies_language is kind.asr.identifies_language
        assert kind.writes_transcripts


def test_they_are_as_large_as_listed() -> None:
    instructed = {name for name in CHECKPOINTS if name.startswith("Qwen/Qwen2.5-") and name.endswith("B-Instruct")}
    assert dict(sizes_of_others()) == {
        name: base.parameters for name, base in CHECKPOINTS.items() if name not in instructed
    }
    for name in instructed:  # a recipe's LLM, under another name
        assert CHECKPOINTS[name].parameters == HUB_MODELS[name.removesuffix("-Instruct")].parameters


def test_a_batch_is_one_by_one(system: System, utterances: list[Utterance]) -> None:
    targets, utterances = TARGETS.get(system.name, ("deu", "eng")), as_heard(system, utterances)
    together = system(utterances, targets)
    expected = [(u.id, u.language, code) for u in utterances for code in targets if code != u.language]
    assert [(row.id, row.source, row.target) for row in together] == expected
    assert [row for utterance in utterances for row in system([utterance], targets)] == together
    assert len({row.translation for row in together}) > 1, "what it writes does not depend on what it hears"
    assert {bool(row.transcript) for row in together} == {system.writes_transcripts}


@pytest.mark.skipif(not VIDEO.is_file(), reason=f"{VIDEO} is absent: there is no speech to divide")
def test_a_long_recording_is_divided_and_joined(checkpoints: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dragoman.systems.whisper.Whisper.window_s", 3.0)
    whisper = find_system("whisper").from_pretrained(checkpoints["whisper"], device="cpu", batch_size=2)
    (row,) = whisper([Utterance(id="a", audio=str(VIDEO), language="deu")], ["eng"])
    options = VadOptions(max_speech_duration_s=3.0, min_silence_duration_ms=2000)
    parts = [Speech(part.samples, "deu") for part in speech_segments([load_audio(VIDEO)], options)]
    one_by_one = [whisper.decode([part], ["eng"])[0] for part in parts]
    assert len(parts) > 2
    assert row.raw == "\n".join(part.translations["eng"].raw for part in one_by_one)
    assert row.transcript == " ".join(part.transcript for part in one_by_one if part.transcript)


def test_what_it_does_not_speak_is_one_sentence(system: System, utterances: list[Utterance]) -> None:
    silent, deaf = set(LANGUAGES) - set(system.targets), set(LANGUAGES) - set(system.sources)
    if silent:
        with pytest.raises(LanguageError, match=re.escape(f"{system.name} does not write ")):
            system(utterances, [min(silent)])
    if deaf:
        with pytest.raises(LanguageError, match=re.escape(f"{system.name} does not hear ")):
            system([utterances[0].model_copy(update={"language": min(deaf)})], ["eng"])


def test_what_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no system 'whisperer'; choose among whisper, "):
        find_system("whisperer")
    with pytest.raises(ModelError, match="cannot be loaded"):
        find_system("whisper").from_pretrained(str(tmp_path), device="cpu")
    with pytest.raises(ModelError, match=r"name them as in openai/whisper-large-v3\+facebook/nllb-200-3\.3B"):
        find_system("whisper+nllb").from_pretrained("openai/whisper-tiny", device="cpu")


def test_a_plus_in_a_folders_name_divides_no_cascade(tmp_path: Path) -> None:
    (tmp_path / "c++").mkdir()
    assert _pairs(f"{tmp_path}/c+++a/b") == [(f"{tmp_path}/c++", "a/b")]
    assert _pairs("a/b+c/d") == [("a/b", "c/d")] and _pairs("+") == [("", "")]
    assert _pairs("a/b") == _pairs("a/b+c+d") == []


def test_another_kind_of_checkpoint_and_too_large_a_one_are_refused(
    checkpoints: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whisper, chat = checkpoints["whisper+chat"].split("+")
    for name, model in {
        "seamless-m4t-v2-large": whisper,
        "seamless-m4t-large": chat,
        "whisper": chat,
        "whisper+nllb": checkpoints["whisper+chat"],
    }.items():
        with pytest.raises(ModelError, match=r"is a checkpoint of '(whisper|qwen2)', which this system cannot use"):
            find_system(name).from_pretrained(model, device="cpu")
    weights = find_system("whisper").from_pretrained(whisper, device="cpu").parts[0].num_parameters
    for free, advice in ((3 * weights, "; it would fit with compute type bfloat16"), (weights, "; free some memory")):
        monkeypatch.setattr("dragoman.systems.pretrained.free_ram", lambda free=free: free)
        with pytest.raises(ModelError, match=rf"take 0\.0 GB, but 0\.0 GB of RAM is free{advice}.* smaller checkpoint"):
            find_system("whisper").from_pretrained(whisper, device="cpu")


def test_how_it_is_held_is_as_asked(system: System, checkpoints: dict[str, str], utterances: list[Utterance]) -> None:
    model = checkpoints[system.name]
    assert {part.model.dtype for part in system.parts} == {torch.float32}
    held = SYSTEMS[system.name].from_pretrained(model, device="cpu", compute_type="bfloat16")
    assert {part.model.dtype for part in held.parts} == {torch.bfloat16}
    (row,) = held(as_heard(held, utterances[:1]), ["eng"])
    assert row.translation
    for wrong, says in (
        ({"compute_type": "int8"}, "int8 is for our own models; others take float32, bfloat16, float16"),
        ({"compute_type": "float8"}, "no compute type 'float8'"),
        ({"device": "auto"}, "device auto is for our own models; name another, such as cuda or cpu"),
    ):
        with pytest.raises(ModelError, match=says):
            SYSTEMS[system.name].from_pretrained(model, **{"device": "cpu", **wrong})


def test_nllb_knows_all_our_languages_by_its_own_names() -> None:
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

    assert set(_FLORES) == set(SETS["fleurs-102"]) and set(_FLORES.values()) <= set(FAIRSEQ_LANGUAGE_CODES)
    further = _beyond(FAIRSEQ_LANGUAGE_CODES)
    assert further["quy"] == "quy_Latn" and not set(further) & set(_FLORES)
    assert "ace" not in further  # in Arabic or in Latin letters: nothing says in which


def test_whisper_s_languages_are_ours() -> None:
    from transformers.models.whisper.tokenization_whisper import LANGUAGES as theirs

    found = [find(code).code for code in theirs]
    assert len(set(found)) == len(theirs) == 100 and {"jav", "nob", "nno", "yue", "haw", "eus"} < set(found)


def test_evaluate_takes_any_system(
    checkpoints: dict[str, str], utterances: list[Utterance], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        row.model_copy(update={"text": "a b", "translations": {"eng": "the cat sleeps here"}}) for row in utterances
    ]
    write_rows(tmp_path / "manifest.jsonl", rows)
    asked = {"to": ["eng"], "metric": ["BLEU"], "workers": 1, "device": "cpu", "out": tmp_path / "out"}
    model = checkpoints["whisper+nllb"]
    evaluate(manifest=tmp_path / "manifest.jsonl", system="whisper+nllb", model=model, **asked)
    assert "deu-eng" in capsys.readouterr().out
    account = json.loads((tmp_path / "out" / "run.json").read_text())
    assert account["model"] == f"whisper+nllb {model}" and account["hypotheses"] == 3
    with pytest.raises(DataError, match="begun with another system"):
        evaluate(manifest=tmp_path / "manifest.jsonl", system="whisper", model=checkpoints["whisper"], **asked)
    with pytest.raises(DataError, match="--text is for our own models"):
        evaluate(manifest=tmp_path / "manifest.jsonl", system="whisper", text=True, **asked)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("seamless-m4t-medium", SeamlessM4TForSpeechToText),
        ("seamless-m4t-v2-large", SeamlessM4Tv2ForSpeechToText),
    ],
)
def test_seamless_alone_is_what_transformers_makes_of_it(name: str, kind: Any, checkpoints: dict[str, str]) -> None:
    """We change what a batch does at a clip's end, and nothing else."""
    model, processor = kind.from_pretrained(checkpoints[name]), AutoProcessor.from_pretrained(checkpoints[name])
    system = find_system(name).from_pretrained(checkpoints[name], device="cpu")
    for size in (16000, 16160):  # an even and an odd number of filter banks
        samples = np.random.default_rng(size).normal(scale=0.1, size=size).astype(np.float32)
        inputs = processor(audio=samples, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        ids = model.generate(**inputs, tgt_lang="arb", num_beams=5, max_new_tokens=8)
        (found,) = system.decode([Speech(samples, "deu")], ["ara"])
        assert found.translations["ara"].text == processor.decode(ids[0], skip_special_tokens=True).strip() != ""


def test_a_speech2text_alone_is_what_transformers_makes_of_it(checkpoints: dict[str, str], tmp_path: Path) -> None:
    """Of one direction, and of several, where the target is the first token."""
    several = str(small_speech2text(tmp_path, "mustc"))
    for folder, target in ((checkpoints["speech2text"], "eng"), (several, "nld")):
        model = Speech2TextForConditionalGeneration.from_pretrained(folder)
        processor = AutoProcessor.from_pretrained(folder)
        first = {"forced_bos_token_id": processor.tokenizer.lang_code_to_id["nl"]} if target == "nld" else {}
        system = find_system("speech2text").from_pretrained(folder, device="cpu")
        for size in (16000, 16160, 16320, 16480):  # every remainder of two strides of 2
            samples = np.random.default_rng(size).normal(scale=0.1, size=size).astype(np.float32)
            inputs = processor(audio=samples, sampling_rate=SAMPLE_RATE, return_tensors="pt")
            ids = model.generate(**inputs, num_beams=5, max_new_tokens=8, **first)
            (found,) = system.decode([Speech(samples, next(iter(system.sources)))], [target])
            said = processor.tokenizer.decode(ids[0][1 + len(first) :], skip_special_tokens=True).strip()
            assert found.translations[target].text == said != ""
    assert list(system.sources) == ["eng"]
    assert list(system.targets) == ["deu", "fra", "ita", "nld", "por", "ron", "rus", "spa"]


def test_what_a_speech2text_hears_is_in_its_name(checkpoints: dict[str, str], tmp_path: Path) -> None:
    system = find_system("speech2text").from_pretrained(checkpoints["speech2text"], device="cpu")
    assert (list(system.sources), list(system.targets)) == (["fra"], ["eng"])
    assert _direction_of("facebook/s2t-small-covost2-en-fa-st") == ("eng", "fas")
    for name in ("facebook/s2t-small-librispeech-asr", "s2t-small-covost2-xx-qq-st", str(tmp_path)):
        with pytest.raises(ModelError, match="only its name can tell; name it as the hub does"):
            _direction_of(name)


def test_no_code_from_the_hub_is_run() -> None:
    with pytest.raises(ModelError, match="its network is code on the hub, in none of transformers' classes"):
        find_system("Qwen-Audio")


def test_prompts_are_their_authors(checkpoints: dict[str, str]) -> None:
    hear = "Listen to the provided German speech and produce a translation in Chinese text."
    place = "<|audio_bos|><|AUDIO|><|audio_eos|>"
    prompts = {
        "qwen2-audio-7b": f"{place}Detect the language and translate the speech into Mandarin: <|de|>",
        "qwen2.5-omni-7b": "<|im_start|>system\nYou are a speech translation model.<|im_end|>\n"
        f"<|im_start|>user\n{hear}{place}<|im_end|>\n<|im_start|>assistant\n",
        "qwen3-omni-30b-a3b": f"<|im_start|>user\n{place}{hear}<|im_end|>\n<|im_start|>assistant\n",
    }
    for name, prompt in prompts.items():
        system = find_system(name).from_pretrained(checkpoints[name], device="cpu")
        assert isinstance(system, AudioLlm) and system.asked("deu", "cmn") == prompt


def test_voxtral_is_asked_as_mistral_common_does(checkpoints: dict[str, str]) -> None:
    """With the real vocabulary, mistral-common 1.13.1 asks for a German transcript by 1 3 25, 375 x 24, 4 9909 1058
    1558 34: start, instruction, recording, its end, "lang:de", transcribe. Here 40 + n is the n-th of some tokens."""
    voxtral = find_system("voxtral-mini-3b").from_pretrained(checkpoints["voxtral-mini-3b"], device="cpu")
    assert isinstance(voxtral, Voxtral)
    silence = np.zeros(SAMPLE_RATE, dtype=np.float32)

    def asked(prompt: str) -> tuple[list[int], str, list[int]]:
        """Special tokens before the text, the text, special tokens after it."""
        (ids,) = voxtral.inputs([prompt], [silence])["input_ids"].tolist()
        text = [number for number, token in enumerate(ids) if token >= 40]
        said = b"".join(base64.b64decode(tekken()["vocab"][ids[number] - 40]["token_bytes"]) for number in text)
        assert text == list(range(text[0], text[-1] + 1))
        return ids[: text[0]], said.decode(), ids[text[-1] + 1 :]

    recording = [1, 3, 25, *[24] * 375]
    assert asked(voxtral.heard("deu")) == ([*recording, 4], "lang:de", [34])
    instruction = "Translate the German speech into French. Answer with the translation alone."
    assert asked(voxtral.asked("deu", "fra")) == (recording, instruction, [4])
    (ids,) = voxtral.inputs([voxtral.heard("ast")], [silence])["input_ids"].tolist()  # no code of two letters
    assert ids == [*recording, 4, 34]


def test_any_recogniser_and_any_translator_make_a_cascade(checkpoints: dict[str, str]) -> None:
    seamless = Seamless.from_pretrained(checkpoints["seamless-m4t-v2-large"], device="cpu")
    nllb = Nllb.from_pretrained(checkpoints["whisper+nllb"].split("+")[1], device="cpu")
    samples = np.random.default_rng(5).normal(scale=0.1, size=(2, 12000)).astype(np.float32)
    speech = [Speech(samples[0], "deu"), Speech(samples[1], "fra")]
    found = Cascade(seamless, nllb).decode(speech, ["eng"])
    for part, decoded in zip(speech, found, strict=True):
        (said,) = seamless.transcribe([part])
        nllb.part.processor.src_lang = f"{part.language}_Latn"  # which the call itself does not heed
        inputs = nllb.part.processor(said.text, return_tensors="pt")
        ids = nllb.part.model.generate(
            **inputs,
            forced_bos_token_id=nllb.part.processor.convert_tokens_to_ids("eng_Latn"),
            num_beams=4,
            max_new_tokens=8,
        )
        written = nllb.part.processor.decode(ids[0], skip_special_tokens=True).strip()
        assert decoded.transcript == said.text != "" and decoded.translations["eng"].text == written != ""
