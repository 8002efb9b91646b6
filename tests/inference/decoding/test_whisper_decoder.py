"""Whisper's own decoder writes what transformers' `generate` writes of a whole window, and of a shorter clip the same
whatever its batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from foreign import small_whisper
from toy import LORA, model, recipe, stage
from toy import mel as speech
from transformers import AutoTokenizer, WhisperForConditionalGeneration

from dragoman.data.features import Features
from dragoman.inference.decoding.decoder import Decoder, DecodeRequest
from dragoman.inference.decoding.whisper_decoder import WhisperDecoder
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
def test_a_transcript_does_not_depend_on_its_batch(whisper: WhisperDecoder, beams: int) -> None:
    most = whisper.encoder.window_frames
    mels = [mel(whisper, frames, seed) for seed, frames in enumerate((most, most // 2, most // 4 * 2, 20))]
    languages = ["eng", "deu", "fra", "eng"]
    together = whisper(mels, languages, beams)
    alone = [whisper([one], [language], beams)[0] for one, language in zip(mels, languages, strict=True)]
    assert together == alone
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
