"""In live speech a greeting in another language, a switch, and a single doubted segment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from dragoman.data.audio import SAMPLE_RATE, Waveform
from dragoman.inference.live_language import LiveLanguage

LANGUAGES = ("deu", "eng", "fra")


def said(language: str, seconds: float, likely: float = 0.99) -> Waveform:
    """A clip that says what it is in: its first samples hold how likely each language is."""
    shares = [likely if code == language else (1 - likely) / 2 for code in LANGUAGES]
    return np.pad(np.array(shares, np.float32), (0, round(seconds * SAMPLE_RATE) - len(shares)))


def identify(clips: Sequence[Waveform]) -> dict[str, float]:
    """As a model does: log-probabilities of all clips, summed."""
    likely = np.exp(sum(np.log(clip[: len(LANGUAGES)].astype(float)) for clip in clips))
    shares = zip(LANGUAGES, (likely / likely.sum()).tolist(), strict=True)
    return dict(sorted(shares, key=lambda item: -item[1]))


def ended(live: LiveLanguage, clips: Sequence[Waveform]) -> list[str]:
    found = [live.of(clip, has_ended=True) for clip in clips]
    return [told[0] for told in found if told is not None]


def test_a_greeting_in_another_language_does_not_settle_it(caplog: pytest.LogCaptureFixture) -> None:
    live = LiveLanguage(identify)
    speech = [said("fra", 4), said("eng", 2), said("eng", 3), said("eng", 1, 0.4)]
    assert ended(live, speech) == ["fra", "eng", "eng", "eng"]
    (line,) = caplog.messages
    assert "French" in line and "English" in line and "--language" in line


def test_what_is_short_and_unsure_is_told_from_all_that_was_heard() -> None:
    assert ended(LiveLanguage(identify), [said("deu", 2), said("fra", 0.5, 0.4), said("deu", 2)]) == ["deu"] * 3


def test_ten_seconds_settle_it_though_no_two_agree() -> None:
    live = LiveLanguage(identify)
    assert ended(live, [said("eng", 3), said("fra", 3), said("eng", 3), said("deu", 2, 0.96)])[-1] == "deu"
    assert ended(live, [said("fra", 5)]) == ["eng"]  # settled: the likeliest of all


def test_a_segment_that_goes_on_stays_what_it_was_told_to_be() -> None:
    live = LiveLanguage(identify)
    assert live.of(said("eng", 2), has_ended=False) is None
    first = live.of(said("eng", 3), has_ended=False)
    assert first is not None and first[0] == "eng"
    assert live.of(said("fra", 5), has_ended=False) == first == live.of(said("fra", 6), has_ended=True)


def test_two_doubted_segments_in_a_row_that_are_surely_in_another_language_change_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    live = LiveLanguage(identify)
    assert ended(live, [said("eng", 3), said("eng", 3)]) == ["eng", "eng"]
    for language, is_doubted in (("deu", True), ("deu", False), ("deu", True), ("fra", True), ("eng", True)):
        live.doubt(said(language, 2), is_doubted)
        assert ended(live, [said("deu", 2)]) == ["eng"]
    live.doubt(said("deu", 2), True)
    live.doubt(said("deu", 2), True)
    assert ended(live, [said("eng", 2)]) == ["deu"]
    (line,) = caplog.messages
    assert "German now, no longer English" in line


def test_a_language_that_was_given_stays(caplog: pytest.LogCaptureFixture) -> None:
    live = LiveLanguage(identify, "fra")
    assert live.of(said("eng", 0.1), has_ended=False) == ("fra", None)
    for _ in range(3):
        live.doubt(said("eng", 2), True)
    assert live.of(said("eng", 4), has_ended=True) == ("fra", None)
    assert not caplog.messages
