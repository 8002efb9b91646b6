"""Sound on a pipe: containers are decoded, raw PCM is taken as it is, and nothing else is taken for PCM."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from media import RATE, Track, tone, write_media

from dragoman.data.audio import load_audio
from dragoman.data.audio.pipes import live_audio
from dragoman.data.audio.resampling import frame_of
from dragoman.errors import AudioError


def piped(data: bytes, piece: int = 1 << 16, **asked: int) -> np.ndarray:
    """What comes out when these bytes go into a pipe, this many at a time."""
    out, into = os.pipe()

    def feed() -> None:
        with open(into, "wb", buffering=0) as pipe:
            for at in range(0, len(data), piece):
                try:
                    pipe.write(data[at : at + piece])
                except BrokenPipeError:
                    return

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        return np.concatenate([np.zeros(0, np.float32), *live_audio(out, **asked)])
    finally:
        os.close(out)
        thread.join()


def pcm(samples: np.ndarray, kind: str = "<i2") -> bytes:
    return (samples * 32767).astype(kind).tobytes()


def test_samples_are_whole_whatever_the_pipe_hands_over() -> None:
    data = b"\x00\x00\x00\x80\xff\x7f\x00\x40"
    assert piped(data, 3).tolist() == [0.0, -1.0, 32767 / 32768, 0.5]
    with pytest.raises(AudioError, match="ends in the middle of a sample"):
        piped(data[:-1], 3)


NAMES = ["a.wav", "a.aiff", "a.au", "a.caf", "a.w64", "a.flac", "a.ogg", "a.webm", "a.mkv", "a.mp3", "a.aac", "a.ac3",
         "a.ts", "a.m4a", "a.mov", "a.flv", "a.asf", "a.nut", "a.avi", "a.sf"]  # fmt: skip
CODECS = {"flac": "flac", "ogg": "libopus", "webm": "libopus", "mkv": "aac", "mp3": "libmp3lame", "aac": "aac",
          "ac3": "ac3", "ts": "aac", "m4a": "aac", "flv": "libmp3lame", "asf": "aac", "aiff": "pcm_s16be",
          "au": "pcm_s16be", "caf": "pcm_s16be"}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("silent_s", [0, 1])
def test_a_container_is_heard_as_the_file_is(tmp_path: Path, name: str, silent_s: int) -> None:
    rate = 48_000 if name in ("a.ogg", "a.webm", "a.ac3") else 44_100
    samples = np.concatenate([np.zeros(silent_s * rate, np.float32), tone(2, rate)])
    codec = CODECS.get(name.partition(".")[2], "pcm_s16le")
    path = write_media(tmp_path / name, Track(samples, codec, rate), container=CONTAINERS.get(name))
    heard, expected = piped(path.read_bytes(), 1000), load_audio(path)
    assert 0 <= len(heard) - len(expected) < 0.03 * RATE  # where mp3 ends is said by the size of the file
    np.testing.assert_allclose(heard[: len(expected) - 200], expected[:-200], atol=1e-6)


CONTAINERS = {"a.aac": "adts", "a.sf": "ircam"}


def without_id3(path: Path) -> bytes:
    data = path.read_bytes()
    return data[data.index(b"\xff\xfb") :]


def test_mp3_without_id3_and_from_its_middle(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 8 * 44_100).astype(np.float32)
    data = without_id3(write_media(tmp_path / "a.mp3", Track(noise, "libmp3lame", 44_100)))
    for start in (0, 1, len(data) // 3):
        assert len(piped(data[start:])) / RATE == pytest.approx(8 * (1 - start / len(data)), abs=0.15)


@pytest.mark.parametrize("flags", ["faststart", "frag_keyframe+empty_moov+default_base_moof"])
def test_mp4_that_can_be_streamed_is(tmp_path: Path, flags: str, caplog: pytest.LogCaptureFixture) -> None:
    plain = write_media(tmp_path / "a.mp4", Track(tone(3), "aac"))
    with av.open(plain) as source, av.open(tmp_path / "b.mp4", "w", options={"movflags": flags}) as out:
        stream = out.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    heard = piped((tmp_path / "b.mp4").read_bytes())
    assert not caplog.records
    np.testing.assert_allclose(heard, load_audio(tmp_path / "b.mp4"), atol=1e-6)
    piped(plain.read_bytes())
    assert "read to the end first" in caplog.text


def test_the_track_of_a_container_that_is_asked_for(tmp_path: Path) -> None:
    tracks = [Track(tone(2, hertz=hertz), "aac", language=code) for hertz, code in ((300, "eng"), (500, "deu"))]
    data = write_media(tmp_path / "a.mkv", *tracks).read_bytes()
    for asked, hertz in (({}, 300), ({"track": 2}, 500), ({"language": "deu"}, 500)):
        audio = piped(data, **asked)  # type: ignore[arg-type]
        assert np.abs(np.fft.rfft(audio[:RATE])).argmax() == hertz


SPEECH = Path(__file__).parents[2] / "examples" / "english-wav.wav"


def in_law(samples: np.ndarray, codec: str) -> bytes:
    """As telephones have it, 8 kHz."""
    encoder = av.CodecContext.create(codec, "w")
    encoder.rate, encoder.layout, encoder.format = 8000, "mono", "s16"  # type: ignore[attr-defined]
    frames = av.AudioResampler("s16", "mono", 8000).resample(frame_of(samples, RATE))
    return b"".join(bytes(packet) for frame in [*frames, None] for packet in encoder.encode(frame))  # type: ignore[attr-defined]


NO_PCM: dict[str, Callable[[np.ndarray], bytes]] = {
    "float": lambda samples: samples.astype("<f4").tobytes(),
    "the other byte order": lambda samples: pcm(samples, ">i2"),
    "24 bit": lambda samples: np.frombuffer(pcm(samples * 65536, "<i4"), np.uint8).reshape(-1, 4)[:, :3].tobytes(),
    "signed 8 bit": lambda samples: (samples * 127).astype(np.int8).tobytes(),
    "mu-law": lambda samples: in_law(samples, "pcm_mulaw"),
    "A-law": lambda samples: in_law(samples, "pcm_alaw"),
    "8 bit": lambda samples: (samples * 127 + 128).astype(np.uint8).tobytes(),
    "text": lambda samples: Path(__file__).read_bytes(),
    "compressed": lambda samples: gzip.compress(pcm(samples))[10:],
    "a page": lambda samples: b"<!DOCTYPE html><html><head><title>404 Not Found</title></head>" * 100,
}


OTHERS = {
    "JSON": b'{"a": 1, "b": [1, 2, 3]}\n' * 500,
    "a short list": b"ffconcat version 1.0\nfile a.wav\n",
    "UTF-16": "Hello wörld, das ist ein Text.\n".encode("utf-16") * 300,
    "UTF-8": "«Привет», сказал он.\n".encode() * 300,
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(20_000),
    "an archive": b"talk.wav".ljust(257, b"\0") + b"ustar" + bytes(20_000),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_files_are_refused(kind: str) -> None:
    with pytest.raises(AudioError, match="Standard input is neither 16 bit PCM"):
        piped(OTHERS[kind])


@pytest.mark.parametrize("kind", NO_PCM)
@pytest.mark.parametrize("silent_s", [0, 1])
def test_what_is_no_pcm_is_refused(kind: str, silent_s: int) -> None:
    speech = np.concatenate([np.zeros(silent_s * RATE, np.float32), load_audio(SPEECH)])
    with pytest.raises(AudioError, match="Standard input is neither 16 bit PCM"):
        piped(NO_PCM[kind](speech))


def test_pcm_is_never_taken_for_anything_else() -> None:
    random = np.random.default_rng(0)
    speech = load_audio(SPEECH)
    clipped = np.clip(40 * speech, -1, 1)
    sounds = [speech, clipped, 0.5 * tone(1), random.normal(0, 0.02, RATE).clip(-1, 1), np.zeros(RATE)]
    for samples in [np.float32(sound) for sound in sounds]:
        for start in range(0, 4000, 97):
            data = pcm(samples[start:])
            assert len(piped(data)) == len(data) // 2


@pytest.mark.parametrize("rate", [RATE, 44_100, 48_000])
@pytest.mark.parametrize("silent_s", [0, 1])
def test_pcm_of_two_channels_is_refused(rate: int, silent_s: int) -> None:
    """Alike, one of them silent or softer, and one behind the other."""
    (frame,) = av.AudioResampler("flt", "mono", rate).resample(frame_of(load_audio(SPEECH), RATE))
    speech = np.concatenate([np.zeros(silent_s * rate, np.float32), frame.to_ndarray()[0]])
    for right in (speech, 0 * speech, 0.7 * speech, np.roll(speech, 20)):
        with pytest.raises(AudioError, match="raw PCM of two channels; send one, at 16 kHz"):
            piped(pcm(np.stack([speech, right], 1).clip(-1, 1)))


def test_how_raw_bytes_are_taken_is_said(caplog: pytest.LogCaptureFixture) -> None:
    piped(pcm(load_audio(SPEECH)))
    assert caplog.messages[0].startswith("standard input: taken for raw PCM: 16 bit, mono, 16 kHz.")


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_speech_that_is_slowed_down_is_refused_and_hum_is_not(rate: int) -> None:
    """A deep voice in a dull room is heard: that it is slow shows only where pitch and treble are both too low."""
    speech = load_audio(SPEECH.with_name("german-flac.flac"))
    (frame,) = av.AudioResampler("flt", "mono", rate).resample(frame_of(speech, RATE))
    with pytest.raises(AudioError, match="sounds slowed down"):
        piped(pcm(np.tile(frame.to_ndarray()[0], 3)))
    hum = 0.2 * np.sin(2 * np.pi * 50 * np.arange(4 * RATE) / RATE)
    dull = np.convolve(np.tile(speech, 2), np.hanning(16) / np.hanning(16).sum(), "same")
    for sound in (hum, dull):
        assert len(piped(pcm(sound))) == len(sound)
