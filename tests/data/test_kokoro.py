"""Kokoro: its symbols by hand; and, where its files are in the cache, its voice."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("espeakng_loader", reason="Phonemes need espeak-ng: pip install 'dragoman[synthesis]'.")

from dragoman.data.audio import SAMPLE_RATE
from dragoman.data.synthesis import KokoroVoice, generator, kokoro, speak
from dragoman.data.synthesis.kokoro import HELD_OUT, to_symbols
from dragoman.errors import DataError, LanguageError

needs_files = pytest.mark.skipif(
    not kokoro.is_there(), reason="Kokoro is not in the cache: `dragoman prepare voices --engine kokoro` fetches it."
)


@pytest.mark.parametrize(
    ("voice", "text", "symbols"),
    [
        ("af_heart", "A better voice, now!", "ə bˈɛTəɹ vˈYs, nˈW!"),
        ("bf_emma", "A better voice, now!", "ə bˈɛtə vˈYs, nˈW!"),
        ("em_alex", "¿Dónde está la chica?", "dˈonde estˈa la ʧˈika?"),
        ("ff_siwis", "« Du vin », dit-elle.", "“dy vˈɛ̃”, dˈitˈɛl."),
        ("if_sara", "Gli gnocchi e la pizza.", "ʎɪ ɲˈokːɪ e la pˈiʦːa."),
    ],
)
def test_symbols_by_hand(voice: str, text: str, symbols: str) -> None:
    assert to_symbols(text, KokoroVoice(voice)) == symbols


@needs_files
def test_what_was_said_before_leaves_no_trace() -> None:
    voice = KokoroVoice("af_heart")
    first = speak("Good morning.", voice)
    assert first.dtype == np.float32 and 0.5 < len(first) / SAMPLE_RATE < 2.0 and 0.1 < np.abs(first).max() <= 1.0
    speak("Hola.", KokoroVoice("em_alex", speed=1.2))
    assert np.array_equal(speak("Good morning.", voice), first)


@needs_files
def test_voices_of_training_and_held_out_ones_differ_where_there_are_two() -> None:
    for language in KokoroVoice.speaks():
        train, held_out = (
            {KokoroVoice.draw(language, generator(1, str(number)), of).name for number in range(200)}
            for of in (False, True)
        )
        if language != "fra":
            assert held_out <= set(HELD_OUT) and not train & held_out


@needs_files
def test_what_it_cannot_say_is_one_sentence() -> None:
    with pytest.raises(LanguageError, match="does not speak 'deu'"):
        KokoroVoice.draw("deu", generator(1))
    with pytest.raises(DataError, match="no voice 'af_nobody'"):
        speak("Hello.", KokoroVoice("af_nobody"))
    with pytest.raises(DataError, match="at most 510 sounds"):
        speak("Never again. " * 80, KokoroVoice("af_heart"))
    with pytest.raises(DataError, match="Nothing was said"):
        speak("", KokoroVoice("af_heart"))
