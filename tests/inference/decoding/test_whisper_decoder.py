"""Whisper's own decoder writes what transformers' `generate` writes of a whole window, and of a shorter clip the same
whatever its batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign import small_whisper
from toy import LORA, model, recipe, stage, write_bases
from toy import mel as speech
from transformers import AutoTokenizer, WhisperForConditionalGeneration

from dragoman.data.features import Features
from dragoman.inference.decoding import whisper_decoder
from dragoman.inference.decoding.decoder import Decoder, DecodeRequest
from dragoman.inference.decoding.whisper_decoder import WhisperDecoder, _looping
from dragoman.inference.language_id import LanguageIdentifier, WhisperLanguageIdentifier
from dragoman.inference.translator import Translator
from dragoman.model.build import new_model
from dragoman.recipe import TranslateFrom


@pytest.fixture
def whisper(tmp_path: Path) -> WhisperDecoder:
    folder = small_whisper(tmp_path)
    return WhisperDecoder(
        WhisperForConditionalGeneration.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    )


def mel(whisper: WhisperDecoder, frames: int, seed: int) -> Features:
    """(M, F) of a random clip."""
    random = np.random.default_rng(seed)
    return random.normal(size=(whisper.encoder.mel_bins, frames)).astype(np.float32)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_transcript_does_not_depend_on_its_batch(
    whisper: WhisperDecoder, beams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = whisper.encoder.window_frames
    mels = [mel(whisper, frames, seed) for seed, frames in enumerate((most, most // 2, most // 4 * 2, 20))]
    languages = ["eng", "deu", "fra", "eng"]
    together = whisper(mels, languages, beams)
    alone = [whisper([one], [language], beams)[0] for one, language in zip(mels, languages, strict=True)]
    assert together == alone
    monkeypatch.setattr(whisper_decoder, "_MOST_FRAMES", most)  # the first by itself, then two that are shorter
    assert [(part.start, part.stop) for part in whisper._parts(mels)] == [(0, 1), (1, 3), (3, 4)]
    assert whisper(mels, languages, beams) == together
    assert len({output.text for output in together}) > 1  # what is written depends on what is heard


def test_a_whole_window_is_transcribed_as_by_transformers(whisper: WhisperDecoder) -> None:
    mels = [mel(whisper, whisper.encoder.window_frames, seed) for seed in range(3)]
    found = whisper.whisper.generate(
        torch.from_numpy(np.stack(mels)), language=["en", "de", "fr"], task="transcribe", return_timestamps=False
    )
    texts = [text.strip() for text in whisper.tokenizer.batch_decode(found, skip_special_tokens=True)]
    ours = [output.text for output in whisper(mels, ["eng", "deu", "fra"], 1)]
    assert [one[: len(other)] for one, other in zip(ours, texts, strict=True)] == texts


def test_what_runs_to_the_limit_is_heard_again_in_the_whole_window(whisper: WhisperDecoder) -> None:
    clip, size = mel(whisper, 20, 1), whisper.encoder.window_frames
    window = np.pad(clip, ((0, 0), (0, size - 20)), constant_values=float(clip.min()))
    (trimmed,) = whisper._transcripts([clip], ["eng"], 1)
    assert trimmed.truncated  # this one knows no end
    (found,) = whisper([clip], ["eng"], 1)
    assert found == whisper([window], ["eng"], 1)[0] != trimmed


def test_languages_are_told_by_the_first_token(whisper: WhisperDecoder) -> None:
    mels = [mel(whisper, whisper.encoder.window_frames, seed) for seed in range(3)]
    sources = list(whisper.languages)
    scores = whisper.language_scores(mels, sources)
    assert scores.exp().sum(1).tolist() == pytest.approx([1.0] * 3)
    detected = whisper.whisper.detect_language(torch.from_numpy(np.stack(mels)))
    assert [whisper.languages[sources[at]] for at in scores.argmax(1).tolist()] == detected.tolist()


@pytest.mark.parametrize("translate_from", ["speech", "transcript"])
def test_its_transcripts_are_translated_with_the_speech_or_without(
    whisper: WhisperDecoder, translate_from: TranslateFrom, tmp_path: Path
) -> None:
    """The result does not depend on the batch, and without the speech not on what the adapter hears."""
    loaded = model(tmp_path / "toy", recipe(stages=[stage("smt", ctc_weight=0.1)], llm={"name": "base", "lora": LORA}))
    decoder = Decoder(loaded, 1, 8, whisper=whisper, translate_from=translate_from)
    mels = [mel(whisper, whisper.encoder.window_frames - 20 * number, number) for number in range(3)]

    def requests(seed: int) -> list[DecodeRequest]:
        heard = [speech(60 + 20 * number, seed + number) for number in range(3)]
        return [
            DecodeRequest(one, "eng", ("deu", "fra"), whisper_mel=own) for one, own in zip(heard, mels, strict=True)
        ]

    def texts(asked: Sequence[DecodeRequest]) -> list[tuple[str, dict[str, str]]]:
        found = decoder(asked)
        return [
            (one.transcript, {code: translation.text for code, translation in one.translations.items()})
            for one in found
        ]

    together = texts(requests(0))
    assert together == [texts([one])[0] for one in requests(0)]
    assert [said for said, _ in together] == [output.text for output in whisper(mels, ["eng"] * 3, 1)]
    few = Decoder(loaded, 1, 8, max_rows=2, whisper=whisper, translate_from=translate_from)(requests(0))
    assert [{code: one.text for code, one in found.translations.items()} for found in few] == [
        translations for _, translations in together
    ]
    if translate_from == "transcript":
        assert texts(requests(5)) == together


@pytest.mark.parametrize("lora", [None, LORA])
def test_a_model_that_hears_through_whisper_asks_its_decoder_for_the_language(
    lora: dict[str, Any] | None, tmp_path: Path
) -> None:
    """Where Whisper knows the languages and its encoder was not trained; else the model transcribes in each."""
    folder = small_whisper(tmp_path / "whisper", mel_bins=80)
    audio = {"mel_bins": 80, "window_s": 30.0, "padding": "trimmed"}
    chosen = recipe(audio=audio, encoder={"name": str(folder), "lora": lora})
    bases = write_bases(tmp_path / "bases", recipe(), seed=0)
    translator = Translator(new_model(chosen, bases, torch.float32), beam_size=1)
    waveforms = list(np.random.default_rng(0).normal(size=(3, 16_000)).astype(np.float32))
    found = translator.identify(waveforms)
    assert sum(found.values()) == pytest.approx(1.0)
    if lora is not None:
        assert isinstance(translator.identifier, LanguageIdentifier)
        return
    assert isinstance(translator.identifier, WhisperLanguageIdentifier)
    whisper = WhisperDecoder.load(chosen, torch.device("cpu"), torch.float32)
    scores = whisper.language_scores(whisper.features.batch(waveforms), chosen.sources).sum(0).softmax(0)
    assert found == pytest.approx(dict(zip(chosen.sources, scores.tolist(), strict=True)))


def test_a_loop_is_seen_when_it_was_said_four_times_over() -> None:
    def looping(*ids: int) -> bool:
        return _looping(torch.tensor([[*range(100, 100 - len(ids) + 24), *ids][:24]])) == [0]

    assert looping(*[7] * 12) and not looping(*[7] * 11)
    assert looping(*[7, 8, 9] * 4) and not looping(*[7, 8, 9] * 3) and not looping(*[7, 8, 9] * 3, 7, 8, 1)
    assert looping(*[1, 2, 3, 4, 5, 6] * 4) and not looping(*[1, 2, 3, 4, 5, 6] * 3)
    assert _looping(torch.full((1, 23), 7)) == []  # it looks at every eighth token
    assert _looping(torch.tensor([[7] * 16, list(range(16))])) == [0]


def test_only_what_is_heard_again_is_stopped_where_it_loops(
    whisper: WhisperDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = whisper.encoder.window_frames
    clips = [mel(whisper, size, 1), mel(whisper, 20, 2)]
    expected = whisper(clips, ["eng", "deu"], 1)
    monkeypatch.setattr(whisper_decoder, "_looping", lambda ids: list(range(len(ids))))  # all does, at its first token
    assert whisper(clips, ["eng", "deu"], 1)[0] == expected[0]
    (stopped,) = whisper._transcripts(clips[1:], ["deu"], 1, whisper_decoder._loops_of([True]))
    assert stopped.truncated and len(stopped.text) <= 1


@pytest.mark.parametrize("beams", [1, 3])
def test_where_nothing_is_said_nothing_is_written(
    whisper: WhisperDecoder, beams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks what Whisper says of the first place; both thresholds have to be passed."""
    mels = [mel(whisper, whisper.encoder.window_frames, seed) for seed in range(2)]
    frames, valid = whisper._hear(mels)
    model = whisper_decoder._WhisperStepModel(whisper.whisper, frames, valid, whisper._prompts(["eng", "deu"]))
    with torch.no_grad(), whisper_decoder._attending(whisper.whisper, lambda: valid):
        model.start()
        known = whisper.whisper.generation_config
        start = torch.tensor([[known.decoder_start_token_id]] * 2)
        theirs = whisper.whisper(input_features=torch.from_numpy(np.stack(mels)), decoder_input_ids=start).logits[:, 0]
    expected = theirs.softmax(-1)[:, known.no_timestamps_token_id - 1]
    torch.testing.assert_close(torch.tensor(model.no_speech), expected, rtol=1e-4, atol=1e-7)

    spoken = [one.text for one in whisper(mels, ["eng", "deu"], beams)]
    monkeypatch.setattr(whisper_decoder, "_NO_SPEECH", float(expected.min() + expected.max()) / 2)
    assert [one.text for one in whisper(mels, ["eng", "deu"], beams)].count("") == 1  # random texts are unlikely
    monkeypatch.setattr(whisper_decoder, "_DOUBTED", -100.0)
    assert [one.text for one in whisper(mels, ["eng", "deu"], beams)] == spoken and "" not in spoken
