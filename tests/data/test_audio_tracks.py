"""Which of several tracks is heard, and how much of each channel."""

from __future__ import annotations

import logging
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from media import RATE, Track, tone, write_media

from dragoman.data.audio import load_audio
from dragoman.data.audio.mixing import weights
from dragoman.errors import AudioError

HERTZ = {"eng": 300, "deu": 500, "fra": 800}
NONE, DEFAULT = Disposition(0), Disposition.default


def spoken(tag: str, language: str, disposition: Disposition = NONE, title: str = "", loud: float = 1) -> Track:
    """A tone that stands for a language, in a track with such a tag."""
    samples = loud * tone(1.5, hertz=HERTZ[language])
    return Track(samples, "aac", language=tag, disposition=disposition, title=title)


def heard(path: Path, **asked: int | str) -> str | None:
    audio = load_audio(path, **asked)  # type: ignore[arg-type]
    if not audio.any():
        return None
    loudest = np.abs(np.fft.rfft(audio[: RATE // 2 * 2 : 1][:RATE])).argmax()
    return {hertz: language for language, hertz in HERTZ.items()}[int(loudest)]


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts"])
def test_the_track_that_is_asked_for(tmp_path: Path, name: str) -> None:
    path = write_media(tmp_path / name, spoken("eng", "eng", DEFAULT), spoken("ger", "deu"), spoken("fre", "fra"))
    assert heard(path) == "eng"
    assert [heard(path, language=code) for code in ("deu", "fra", "eng", "jpn")] == ["deu", "fra", "eng", "eng"]
    assert [heard(path, track=number) for number in (1, 2, 3)] == ["eng", "deu", "fra"]
    assert heard(path, track=2, language="fra") == "deu"


ORDERS = {
    "default before first": ([spoken("eng", "eng"), spoken("ger", "deu", DEFAULT)], None, "deu"),
    "tag before default": ([spoken("fre", "fra"), spoken("eng", "eng", DEFAULT)], "fra", "fra"),
    "a tag of two letters and a region": ([spoken("en-GB", "eng", DEFAULT), spoken("de-AT", "deu")], "deu", "deu"),
    "silent first": ([spoken("eng", "eng", DEFAULT, loud=0), spoken("eng", "deu")], None, "deu"),
    "silent though tagged": ([spoken("eng", "eng", DEFAULT), spoken("ger", "deu", loud=0)], "deu", "eng"),
    "hardly a sound": ([spoken("", "eng", DEFAULT, loud=1e-4), spoken("", "fra")], None, "fra"),
    "commentary in the same language": (
        [spoken("ger", "deu", Disposition.comment), spoken("ger", "fra")],
        "deu",
        "fra",
    ),
    "audio description that is the default": (
        [spoken("eng", "eng", DEFAULT | Disposition.visual_impaired), spoken("eng", "deu")],
        None,
        "deu",
    ),
    "no tags at all": ([spoken("", "eng"), spoken("und", "deu")], "deu", "eng"),
}


@pytest.mark.parametrize("case", ORDERS)
def test_tag_then_default_then_the_first_with_sound(tmp_path: Path, case: str) -> None:
    tracks, language, expected = ORDERS[case]
    path = write_media(tmp_path / "a.mkv", *tracks)
    assert heard(path) == expected if language is None else heard(path, language=language) == expected


def test_sound_that_comes_late_is_still_sound(tmp_path: Path) -> None:
    late = np.concatenate([np.zeros(40 * RATE, np.float32), tone(2, hertz=300)])
    other = Track(tone(42, hertz=500), "aac", language="deu")
    path = write_media(tmp_path / "a.mkv", Track(late, "aac", disposition=DEFAULT), other)
    audio = load_audio(path)
    assert np.abs(audio[: 39 * RATE]).max() < 0.01 < np.abs(audio).max()


def test_a_line_names_the_tracks_unless_one_was_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_media(tmp_path / "a.mkv", spoken("eng", "eng", DEFAULT), spoken("ger", "deu", title="Kommentar"))
    with caplog.at_level(logging.WARNING):
        load_audio(path, track=2)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        load_audio(path)
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: has 2 audio tracks (1 eng default, 2 ger 'Kommentar'); 1 is used; choose another with audio_track"
        " (--audio_track)."
    ]
    one = write_media(tmp_path / "b.mkv", spoken("eng", "eng"))
    for number in (2, 0):
        with pytest.raises(AudioError, match=rf"b\.mkv: has no audio track {number}; choose among its track 1\."):
            load_audio(one, track=number)
    with pytest.raises(AudioError, match="choose among its tracks 1 eng default, 2 ger 'Kommentar'"):
        load_audio(path, track=3)


LAYOUTS = ["stereo", "2.1", "3.0", "3.0(back)", "4.0", "quad", "5.0", "5.1", "5.1(side)", "6.1", "7.1", "7.1(wide)"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_channels_are_weighted_as_swresample_does(layout: str) -> None:
    names = tuple(channel.name for channel in av.AudioLayout(layout).channels)
    theirs = []
    for number in range(len(names)):
        samples = np.zeros((4000, len(names)), np.int16)
        samples[:, number] = 20_000
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), "s16", layout)
        frame.sample_rate = RATE
        mono = av.AudioResampler("s16", "mono", RATE).resample(frame)[0].to_ndarray()[0]
        theirs.append(mono[2000] / 20_000)
    np.testing.assert_allclose(weights(names), theirs, atol=0.003)
    assert weights(names).sum() == pytest.approx(1)


@pytest.mark.parametrize(("layout", "codec"), [("5.1", "flac"), ("5.1", "ac3"), ("7.1", "flac")])
def test_speech_in_the_centre_is_not_drowned_by_the_lfe(tmp_path: Path, layout: str, codec: str) -> None:
    names = [channel.name for channel in av.AudioLayout(layout).channels]
    channels = np.zeros((len(names), 48_000 * 2), np.float32)
    channels[names.index("FC")] = 0.1 * tone(2, 48_000, 1000)
    channels[names.index("LFE")] = 1.9 * tone(2, 48_000, 50)
    channels[names.index("FL")] = channels[names.index("FR")] = 0.02 * tone(2, 48_000, 3000)
    path = write_media(tmp_path / "a.mkv", Track(channels, codec, 48_000, layout))
    spectrum = np.abs(np.fft.rfft(load_audio(path)[RATE // 2 : RATE * 3 // 2]))
    speech, rumble, music = spectrum[1000], spectrum[50], spectrum[3000]
    assert 20 * np.log10(speech / rumble) > 30
    assert speech / music == pytest.approx(5 / 2**0.5, rel=0.05)


def test_six_channels_without_a_layout_are_5_1_as_for_ffmpeg_and_others_are_alike() -> None:
    surround = tuple(channel.name for channel in av.AudioLayout("5.1").channels)
    np.testing.assert_array_equal(weights(("NONE",) * 6), weights(surround))
    np.testing.assert_array_equal(weights(("NONE",) * 4), np.full(4, 0.25, np.float32))


@pytest.mark.parametrize(
    ("count", "said"), [(2, None), (4, None), (6, "FL FR FC LFE BL BR"), (8, "FL FR FC LFE BL BR SL")]
)
def test_a_guessed_layout_is_said(
    tmp_path: Path, count: int, said: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:  # without a mask of channels
        file.setnchannels(count)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.repeat((8000 * tone(1)).astype("<i2")[:, None], count, 1).tobytes())
    with caplog.at_level(logging.WARNING):
        load_audio(path)
    if said is None:
        assert not caplog.records
    else:
        (message,) = caplog.messages
        assert message.startswith(f"{path}: its {count} channels have no layout and are taken for {said}")


def test_surround_in_opposite_phase_is_the_loudest_channel_but_never_the_lfe(tmp_path: Path) -> None:
    voice = 0.5 * tone(1, hertz=500)
    channels = np.stack([voice, -voice, 0 * voice, 3 * tone(1, hertz=50) / 2, 0 * voice, 0 * voice])
    audio = load_audio(write_media(tmp_path / "a.mkv", Track(channels, "flac", layout="5.1")))
    np.testing.assert_allclose(np.abs(audio), np.abs(voice), atol=1e-3)
