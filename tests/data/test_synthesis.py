"""Speech made on the spot: a pure function of text, voice and seed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("espeakng_loader", reason="Speaking needs espeak-ng: pip install 'dragoman[synthesis]'.")

from dragoman.data.audio import SAMPLE_RATE, load_audio
from dragoman.data.synthesis import (
    HELD_OUT_VARIANTS,
    TRAIN_VARIANTS,
    EspeakVoice,
    RoomSimulator,
    SpokenLine,
    add_noise,
    convolve,
    espeak,
    gather,
    generator,
    into_shards,
    record,
    speak,
    write_flac,
)
from dragoman.data.synthesis.espeak import accents
from dragoman.errors import DataError, DragomanError, LanguageError
from dragoman.records import Utterance, read_manifest

VOICE = EspeakVoice(language="deu", variant="m1")


@pytest.fixture
def noise_root(tmp_path: Path) -> Path:
    root, rng = tmp_path / "noise", np.random.default_rng(0)
    for name, length in (("rir/a.wav", 800), ("gsc/a.wav", 9000), ("kitchen.wav", 30_000)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        decay = np.exp(-np.arange(length) / 200) if name.startswith("rir") else 1.0
        write_flac(root / name, (0.3 * decay * rng.uniform(-1, 1, length)).astype(np.float32))
    return root


def lines(count: int) -> list[SpokenLine]:
    rows = [Utterance(id=f"u{i}", audio=f"u{i}.flac", language="fra", text="oui " * (i + 1)) for i in range(count)]
    return [SpokenLine(row, EspeakVoice.draw("fra", generator(1, row.id))) for row in rows]


@pytest.mark.parametrize("variant", [*TRAIN_VARIANTS, *HELD_OUT_VARIANTS])
def test_what_was_said_before_leaves_no_trace(variant: str) -> None:
    voice = replace(VOICE, variant=variant)
    first = speak("Guten Tag.", voice)
    speak("Oui, bien sûr.", EspeakVoice("fra", "f2"))
    assert np.array_equal(first, speak("Guten Tag.", voice))


def test_speech_is_mono_at_16_khz_within_full_scale_and_whole() -> None:
    raw, rate = VOICE.say("Das ist ein Satz.")
    spoken = speak("Das ist ein Satz.", VOICE)
    assert spoken.dtype == np.float32 and spoken.ndim == 1
    assert 0.1 < np.abs(spoken).max() < 1.0
    assert len(spoken) / SAMPLE_RATE == pytest.approx(len(raw) / rate, abs=0.1)


@pytest.mark.parametrize("change", [{"variant": "f2"}, {"rate_wpm": 200}, {"pitch": 75}, {"language": "nld"}])
def test_another_voice_sounds_different(change: dict[str, str | int]) -> None:
    assert not np.array_equal(speak("Hallo.", VOICE), speak("Hallo.", replace(VOICE, **change)))


def test_a_faster_voice_takes_less_time() -> None:
    slow, fast = (speak("Das ist ein langer Satz.", replace(VOICE, rate_wpm=rate)) for rate in (130, 200))
    assert len(fast) < 0.8 * len(slow)


def test_what_espeak_lacks_is_an_error() -> None:
    with pytest.raises(DataError, match="no timbre 'nobody'"):
        speak("Hallo.", replace(VOICE, variant="nobody"))
    with pytest.raises(LanguageError, match=r"no voice 'en-gb\+m1'"):
        speak("Hello.", EspeakVoice("eng", "m1", accent="en-gb"))
    with pytest.raises(LanguageError, match="cannot read 'jpn'"):
        accents("jpn")
    with pytest.raises(DataError, match="Nothing was said"):
        speak("", VOICE)


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    espeak._locate.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "espeakng_loader", None)
    with pytest.raises(DragomanError, match=r"pip install 'dragoman\[synthesis\]'"):
        speak("Hallo.", VOICE)


def test_held_out_timbres_are_not_trained_on() -> None:
    assert not set(HELD_OUT_VARIANTS) & set(TRAIN_VARIANTS)
    assert {*HELD_OUT_VARIANTS, *TRAIN_VARIANTS} <= espeak._known_variants()


@pytest.mark.parametrize("language", ["eng", "fra", "por", "spa"])
def test_every_accent_is_accepted(language: str) -> None:
    assert all(len(speak("Mama.", EspeakVoice(language, "f1", accent=accent))) for accent in accents(language))


def test_random_voices_follow_the_seed_and_stay_in_range() -> None:
    voices = [EspeakVoice.draw("eng", generator(1, str(number))) for number in range(50)]
    assert voices == [EspeakVoice.draw("eng", generator(1, str(number))) for number in range(50)]
    assert len(set(voices)) == 50
    assert all(130 <= voice.rate_wpm <= 200 and 25 <= voice.pitch <= 75 for voice in voices)


def test_augmentation_follows_the_generator_and_never_clips(noise_root: Path) -> None:
    augment, speech = RoomSimulator(noise_root), speak("Hallo.", VOICE)
    clips = [augment(speech, generator(1, str(number))) for number in range(30)]
    assert all(np.array_equal(clip, augment(speech, generator(1, str(i)))) for i, clip in enumerate(clips))
    assert all(np.abs(clip).max() <= 10 ** (-1 / 20) + 1e-6 for clip in clips)
    added_s = [(len(clip) - len(speech)) / SAMPLE_RATE for clip in clips]
    assert min(added_s) >= 0.1 and max(added_s) <= 0.4


def test_noise_is_mixed_at_the_ratio_asked_for() -> None:
    speech, noise = np.full(100, 0.5, np.float32), np.tile(np.array([1, -1], np.float32), 50)
    added = add_noise(speech, noise, 20.0) - speech
    assert 10 * np.log10(np.mean(speech**2) / np.mean(added**2)) == pytest.approx(20.0, abs=1e-4)


def test_convolution_by_hand() -> None:
    speech, room = np.array([1, 2, 0, 0], np.float32), np.array([1, 0.5], np.float32)
    assert convolve(speech, room) == pytest.approx([1, 2.5, 1, 0], abs=1e-6)


def test_flac_gives_back_what_was_written(tmp_path: Path) -> None:
    samples = np.sin(np.arange(10_000) / 20).astype(np.float32) * 0.9
    write_flac(tmp_path / "a.flac", samples)
    assert load_audio(tmp_path / "a.flac") == pytest.approx(samples, abs=1e-4)


def test_shards_hold_every_line_once(tmp_path: Path) -> None:
    shards = into_shards(lines(7), tmp_path, 3)
    assert [len(shard.lines) for shard in shards] == [3, 3, 1]
    assert [line for shard in shards for line in shard.lines] == lines(7)
    assert into_shards([], tmp_path, 3) == []


def test_recording_does_not_depend_on_order_or_number_of_workers(noise_root: Path, tmp_path: Path) -> None:
    one = into_shards(lines(4), tmp_path / "one", 4)
    two = into_shards(lines(4)[::-1], tmp_path / "two", 2)
    for shards, workers in ((one, 1), (two, 2)):
        assert {shard.folder for shard in record(shards, noise_root, 1, workers)} == {s.folder for s in shards}
        gather(shards, tmp_path / f"{workers}.jsonl")
    clips = [{row.id: row for row in read_manifest(tmp_path / f"{workers}.jsonl")} for workers in (1, 2)]
    assert clips[0].keys() == clips[1].keys() == {"u0", "u1", "u2", "u3"}
    for name, row in clips[0].items():
        other = clips[1][name]
        assert Path(row.audio).read_bytes() == Path(other.audio).read_bytes()
        assert row.duration_s == other.duration_s == pytest.approx(len(load_audio(row.audio)) / SAMPLE_RATE, abs=1e-4)
    assert not [name for name in os.listdir(tmp_path / "one") if name.endswith(".part")]
