"""The public class with the built-in model, on the recordings that come with Dragoman."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from toy import model, recipe, stage

from dragoman import Translator
from dragoman.data.audio import SAMPLE_RATE, load_audio
from dragoman.data.synthesis import write_flac
from dragoman.errors import AudioError, LanguageError
from dragoman.evaluation.metrics import METRICS, Pair
from dragoman.records import read_manifest

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
UTTERANCES = read_manifest(EXAMPLES / "manifest.jsonl")


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator.from_pretrained("tiny", device="cpu")


def test_it_tells_the_language_and_hears_most_words(translator: Translator) -> None:
    results = [translator.translate(utterance.audio, to="all") for utterance in UTTERANCES]
    told = [result.language == utterance.language for result, utterance in zip(results, UTTERANCES, strict=True)]
    assert sum(told) >= len(told) - 1
    pairs = [Pair(result.transcript, utterance.text) for result, utterance in zip(results, UTTERANCES, strict=True)]
    errors = METRICS["WER"]("eng").score(pairs)
    assert errors < 50


def test_segments_follow_one_another_within_the_recording(translator: Translator) -> None:
    video = next(utterance for utterance in UTTERANCES if utterance.audio.endswith("mp4"))
    segments = translator.translate(video.audio, to=["de", "French"], language="English").segments
    times = [time for segment in segments for time in (segment.start_s, segment.end_s)]
    assert len(segments) == 4 and times == sorted(times) and times[-1] <= 9.0
    assert all(set(segment.translations) == {"deu", "fra"} for segment in segments)


def test_a_stream_is_the_translation_as_it_comes(translator: Translator) -> None:
    video = next(utterance for utterance in UTTERANCES if utterance.audio.endswith("mp4"))
    whole = translator.translate(video.audio, to="all").segments
    assert list(translator.stream(video.audio, to="all")) == whole


def test_each_segment_has_its_language_in_a_multilingual_recording(translator: Translator, tmp_path: Path) -> None:
    spoken = [next(u for u in UTTERANCES if u.language == code) for code in ("eng", "fra", "eng")]
    pause = np.zeros(SAMPLE_RATE, np.float32)
    write_flac(tmp_path / "a.flac", np.concatenate([part for u in spoken for part in (load_audio(u.audio), pause)]))
    result = translator.translate(tmp_path / "a.flac", to=["eng", "nld"], multilingual=True)
    told = [language for language, _ in itertools.groupby(segment.language for segment in result.segments)]
    assert told == ["eng", "fra", "eng"] and result.language == "eng" and result.targets == ("eng", "nld")
    for segment in result.segments:
        assert set(segment.translations) == ({"nld"} if segment.language == "eng" else {"eng", "nld"})
    assert result.translations["eng"].startswith(result.segments[0].transcript)
    with pytest.raises(LanguageError, match="no one language"):
        translator.translate(tmp_path / "a.flac", to="nld", language="eng", multilingual=True)


def test_one_that_cannot_be_read_does_not_stop_the_others(translator: Translator, tmp_path: Path) -> None:
    (tmp_path / "bad.mp3").write_bytes(b"no audio")
    good = UTTERANCES[0].audio
    first, bad, last = translator.translate_each([good, tmp_path / "bad.mp3", good], to="all")
    assert first.get() == last.get()
    with pytest.raises(AudioError, match=r"bad\.mp3"):
        bad.get()


def test_a_long_utterance_is_divided_and_put_together(translator: Translator) -> None:
    long = [utterance for utterance in UTTERANCES if utterance.text.count(".") + utterance.text.count("?") >= 4]
    hypotheses = translator(long, ["eng", "deu"])
    wanted = [(u.id, code) for u in long for code in ("eng", "deu") if code != u.language]
    assert [(h.id, h.target) for h in hypotheses] == wanted
    assert all(len(h.transcript.split()) > 8 and h.raw.count("\n") >= 2 for h in hypotheses)


def test_a_language_to_itself_is_refused(translator: Translator) -> None:
    with pytest.raises(LanguageError, match="Source and target are both 'eng'"):
        translator.translate(UTTERANCES[0].audio, to="English", language="en")


def test_without_a_transcript_the_language_must_be_named(tmp_path: Path) -> None:
    direct = Translator(model(tmp_path, recipe(stages=[stage("st")])))
    with pytest.raises(LanguageError, match="toy cannot tell what is spoken"):
        direct.translate(UTTERANCES[0].audio, to="deu")
