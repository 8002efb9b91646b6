"""Pico: what is said depends on the text and the voice alone, and nothing is left behind."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("py_nanotts", reason="Speaking with Pico needs py-nanotts: pip install 'dragoman[synthesis]'.")

from dragoman.data.audio import SAMPLE_RATE
from dragoman.data.synthesis import PicoVoice, generator, speak
from dragoman.data.synthesis.pico import HELD_OUT_SIZE
from dragoman.errors import DataError, LanguageError

VOICE = PicoVoice("deu")
TEXT = "Ich habe gehört, dass Bier günstiger ist."


def test_what_was_said_before_leaves_no_trace() -> None:
    first = speak(TEXT, VOICE)
    speak("Hello there!", PicoVoice("eng", "en-GB", speed=1.3, pitch=0.8, size=0.9))
    assert np.array_equal(speak(TEXT, VOICE), first)


@pytest.mark.parametrize("language", PicoVoice.speaks())
def test_every_language_speaks_within_full_scale(language: str) -> None:
    spoken = speak("Mama, 3 taxis.", PicoVoice(language))
    assert spoken.dtype == np.float32 and 0.1 < np.abs(spoken).max() < 1.0
    assert 0.8 < len(spoken) / SAMPLE_RATE < 3.0


def test_size_moves_the_formants_and_not_the_time() -> None:
    usual, small = speak(TEXT, VOICE), speak(TEXT, replace(VOICE, size=1.15))
    assert len(small) == pytest.approx(len(usual), rel=0.1)
    centres = []
    for samples in (usual, small):
        power = np.abs(np.fft.rfft(samples)) ** 2
        centres.append((power * np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)).sum() / power.sum())
    assert centres[1] > 1.05 * centres[0]
    assert len(speak(TEXT, replace(VOICE, speed=1.3))) < 0.85 * len(usual)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="Open files are counted where /proc tells them.")
def test_files_are_closed() -> None:
    speak(TEXT, VOICE)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        speak(TEXT, VOICE)
    assert len(os.listdir("/proc/self/fd")) == before


def test_its_own_tags_are_not_obeyed() -> None:
    plain, tagged = (speak(text, VOICE) for text in ("Hallo speed level 50 Welt.", "Hallo <speed> level 50 & Welt."))
    assert np.array_equal(plain, tagged)


def test_what_it_cannot_say_is_one_sentence() -> None:
    with pytest.raises(LanguageError, match="does not speak 'por'; it speaks eng, deu, fra, spa, ita"):
        speak("Olá.", PicoVoice("por"))
    with pytest.raises(DataError, match="no speaker 'en-AU' in eng; it has en-US, en-GB"):
        speak("Hello.", PicoVoice("eng", "en-AU"))
    with pytest.raises(DataError, match="Nothing was said for '…'"):
        speak("…", VOICE)
    with pytest.raises(DataError, match="more than 100 letters"):
        speak("a" * 5000, VOICE)


def test_training_never_hears_the_held_out_sizes() -> None:
    low, high = HELD_OUT_SIZE
    train, held_out = (
        [PicoVoice.draw("eng", generator(1, str(number)), held_out) for number in range(100)]
        for held_out in (False, True)
    )
    assert not any(low < voice.size < high for voice in train)
    assert all(low <= voice.size <= high for voice in held_out)
    assert {voice.speaker for voice in train} == {"en-US", "en-GB"} and len(set(train)) == 100
