"""The public class with the built-in model, on the recordings that come with Dragoman."""

from __future__ import annotations

from pathlib import Path

import pytest

from dragoman import Translator
from dragoman.errors import LanguageError
from dragoman.evaluation.metrics import METRICS
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
    errors = METRICS["WER"]("eng").score([result.transcript for result in results], [u.text for u in UTTERANCES])
    assert errors < 50


def test_segments_follow_one_another_within_the_recording(translator: Translator) -> None:
    video = next(utterance for utterance in UTTERANCES if utterance.audio.endswith("mp4"))
    segments = translator.translate(video.audio, to=["de", "French"], language="English").segments
    times = [time for segment in segments for time in (segment.start_s, segment.end_s)]
    assert len(segments) == 4 and times == sorted(times) and times[-1] <= 9.0
    assert all(set(segment.translations) == {"deu", "fra"} for segment in segments)


def test_a_long_utterance_is_divided_and_put_together(translator: Translator) -> None:
    long = [utterance for utterance in UTTERANCES if utterance.text.count(".") + utterance.text.count("?") >= 4]
    hypotheses = translator(long, ["eng", "deu"])
    wanted = [(u.id, code) for u in long for code in ("eng", "deu") if code != u.language]
    assert [(h.id, h.target) for h in hypotheses] == wanted
    assert all(len(h.transcript.split()) > 8 and h.raw.count("\n") >= 2 for h in hypotheses)


def test_a_language_to_itself_is_refused(translator: Translator) -> None:
    with pytest.raises(LanguageError, match="Source and target are both 'eng'"):
        translator.translate(UTTERANCES[0].audio, to="English", language="en")
