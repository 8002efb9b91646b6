"""Truths of the decoder: container, block size and file name change nothing, and no file reaches out. Times, tracks and
pipes have their own files."""

from __future__ import annotations

import csv
import errno
import io
import logging
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dragoman.data.audio import SAMPLE_RATE, Waveform, excerpts, load_audio, stream_audio
from dragoman.data.audio.opening import opened_file
from dragoman.data.audio.seeking import seek_samples
from dragoman.data.check.audio import hear
from dragoman.data.corpora.parts import Clip, CorpusRow
from dragoman.data.corpora.writing import _written as written
from dragoman.data.features import LogMel
from dragoman.errors import AudioError, FileAccessError
from dragoman.records import Utterance

HOSTILE = Path(__file__).parents[3] / "shared/data/hostile"
needs_hostile = pytest.mark.skipif(not HOSTILE.is_dir(), reason=f"{HOSTILE} is absent: the hostile files are not here")


def tone(seconds: float, rate: int = SAMPLE_RATE, hertz: float = 440.0) -> Waveform:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def encode(target: Path | io.BytesIO, channels: np.ndarray, rate: int = SAMPLE_RATE, codec: str = "pcm_s16le",
           start_s: float = 0.0, container: str | None = None) -> None:  # fmt: skip
    """Write (C, N) float samples as media."""
    layout = {1: "mono", 2: "stereo", 8: "7.1"}[len(channels)]
    with av.open(target, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        resampler = av.AudioResampler(stream.format.name, layout, rate, frame_size=1024)
        frame = av.AudioFrame.from_ndarray(np.float32(channels.T).reshape(1, -1), "flt", layout)
        frame.sample_rate = rate
        position = round(start_s * rate)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            piece.pts = position
            piece.time_base = Fraction(1, rate)
            position += piece.samples
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_u8", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_every_sample_format_has_the_same_scale(tmp_path: Path, codec: str) -> None:
    encode(tmp_path / "a.wav", tone(0.5)[None], codec=codec)
    tolerance = 2**-6 if codec == "pcm_u8" else 2**-14
    np.testing.assert_allclose(load_audio(tmp_path / "a.wav"), tone(0.5), atol=tolerance)


def test_flac_is_exact(tmp_path: Path) -> None:
    exact = np.random.default_rng(0).integers(-32768, 32768, 30_000).astype(np.float32) / 32768
    encode(tmp_path / "a.flac", exact[None], codec="flac")
    audio = load_audio(tmp_path / "a.flac")
    assert audio.dtype == np.float32
    np.testing.assert_array_equal(audio, exact)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_any_rate_becomes_16_khz(tmp_path: Path, rate: int) -> None:
    encode(tmp_path / "a.wav", tone(1.0, rate)[None], rate)
    audio = load_audio(tmp_path / "a.wav")
    assert abs(len(audio) - SAMPLE_RATE) <= 1
    np.testing.assert_allclose(audio[200:-200], tone(1.0)[: len(audio)][200:-200], atol=2e-3)


CONTAINERS = [
    ("a.m4a", "aac"),
    ("a.mkv", "aac"),
    ("a.ts", "aac"),
    ("a.ogg", "libopus"),
    ("a.webm", "libopus"),
    ("a.mp3", "libmp3lame"),
    ("a.aiff", "pcm_s16be"),
]


@pytest.mark.parametrize(("name", "codec"), CONTAINERS)
def test_any_container(tmp_path: Path, name: str, codec: str) -> None:
    encode(tmp_path / name, tone(1.0, 48_000)[None], 48_000, codec)
    audio = load_audio(tmp_path / name)
    assert 0.9 < len(audio) / SAMPLE_RATE < 1.2
    spectrum = np.abs(np.fft.rfft(audio[4000:12000]))
    assert int(spectrum.argmax()) == 220  # 440 Hz in bins of 2 Hz


@pytest.mark.parametrize("block_s", [1 / SAMPLE_RATE * 700, 0.1, 0.37, 1.0, 30.0])
@pytest.mark.parametrize(
    ("rate", "codec", "name"), [(16_000, "flac", "a.flac"), (44_100, "pcm_s16le", "a.wav"), (48_000, "aac", "a.m4a")]
)
def test_blocks_joined_are_the_whole(tmp_path: Path, block_s: float, rate: int, codec: str, name: str) -> None:
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (2, 3 * rate))
    encode(tmp_path / name, noise, rate, codec)
    blocks = list(stream_audio(tmp_path / name, block_s))
    size = round(block_s * SAMPLE_RATE)
    assert all(len(block) == size for block in blocks[:-1]) and 0 < len(blocks[-1]) <= size
    np.testing.assert_array_equal(np.concatenate(blocks), load_audio(tmp_path / name))


@pytest.mark.parametrize(
    ("start_s", "duration_s"), [(0.0, None), (0.5, 0.25), (1.0, None), (0.0, 0.1), (0.9, 5.0), (0.3, 0.0)]
)
def test_a_stretch_is_a_slice_of_the_whole(tmp_path: Path, start_s: float, duration_s: float | None) -> None:
    encode(tmp_path / "a.wav", tone(1.5, 44_100)[None], 44_100)
    first = round(start_s * SAMPLE_RATE)
    stop = None if duration_s is None else first + round(duration_s * SAMPLE_RATE)
    stretch = load_audio(tmp_path / "a.wav", start_s, duration_s)
    np.testing.assert_array_equal(stretch, load_audio(tmp_path / "a.wav")[first:stop])


EXACT = [("a.wav", "pcm_s16le"), ("a.wav", "pcm_u8"), ("a.wav", "pcm_f32le"), ("a.flac", "flac"),
         ("a.aiff", "pcm_s16be"), ("a.w64", "pcm_s24le"), ("a.au", "pcm_s16be"), ("a.caf", "pcm_s16be")]  # fmt: skip


@pytest.mark.parametrize(("name", "codec"), EXACT)
@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100])
def test_a_stretch_that_is_sought_is_that_of_the_whole(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    noise = np.random.default_rng(rate).uniform(-1, 1, (1, 10 * rate))
    encode(tmp_path / name, noise, rate, codec)
    whole = load_audio(tmp_path / name)
    for start_s, duration_s in [(5.0, 0.5), (6.12345, 2.21), (7.3, None), (9.9, 5.0), (9.99, None)]:
        first = round(start_s * SAMPLE_RATE)
        stop = None if duration_s is None else first + round(duration_s * SAMPLE_RATE)
        with opened_file(tmp_path / name) as file:
            found = seek_samples(file, name, first, stop)
        assert found is not None or (codec == "flac" and start_s > 9)  # FFmpeg cannot seek into the last blocks
        if found is not None:
            np.testing.assert_array_equal(found, whole[first:stop])
        np.testing.assert_array_equal(load_audio(tmp_path / name, start_s, duration_s), whole[first:stop])


@pytest.mark.parametrize(("name", "codec", "channels"), [("a.mp3", "libmp3lame", 1), ("a.ogg", "libopus", 1),
                                                         ("a.m4a", "aac", 1), ("a.flac", "flac", 2)])  # fmt: skip
def test_what_cannot_be_sought_exactly_is_decoded_from_its_start(
    tmp_path: Path, name: str, codec: str, channels: int
) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (channels, 10 * 48_000))
    noise[:, : 5 * 48_000] *= np.resize([1, -1], channels)[:, None]
    encode(tmp_path / name, noise, 48_000, codec)
    first, stop = round(6.1 * SAMPLE_RATE), round(7.2 * SAMPLE_RATE)
    np.testing.assert_array_equal(load_audio(tmp_path / name, 6.1, 1.1), load_audio(tmp_path / name)[first:stop])


def test_a_start_after_the_end_is_an_error(tmp_path: Path) -> None:
    encode(tmp_path / "a.wav", tone(1.0)[None])
    for start_s in (2, 20):
        with pytest.raises(AudioError, match=rf"a\.wav: lasts 1\.00 s, so nothing starts at {start_s} s"):
            load_audio(tmp_path / "a.wav", start_s)


def test_bytes_path_and_str_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    encode(path, tone(0.3)[None], codec="flac")
    np.testing.assert_array_equal(load_audio(path), load_audio(str(path)))
    np.testing.assert_array_equal(load_audio(path), load_audio(path.read_bytes()))


def test_channels(tmp_path: Path) -> None:
    left, right, path = tone(1.0), tone(1.0, hertz=1000), tmp_path / "a.wav"
    cases = [
        ([left, left], left),
        ([left, right], (left + right) / 2),
        ([left, 0 * left], left / 2),
        ([left, -left], left),
        ([-0.5 * left, 0.5001 * left], 0.5001 * left),
    ]
    for channels, expected in cases:
        encode(path, np.stack(channels))
        np.testing.assert_allclose(load_audio(path), expected, atol=2e-4)


@pytest.mark.parametrize(("codec", "name"), [("aac", "a.mkv"), ("libopus", "a.ogg"), ("flac", "a.flac")])
def test_eight_channels_do_not_crash_pyav(tmp_path: Path, codec: str, name: str) -> None:
    encode(tmp_path / name, np.stack([tone(1.0, 48_000)] * 8), 48_000, codec)
    code = "import sys; from dragoman.data.audio import load_audio; print(load_audio(sys.argv[1])[4000:12000].std())"
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], capture_output=True, text=True, check=True)
    assert 0.2 < float(run.stdout) < 0.4


def test_nan_and_infinity_become_zero_and_the_rest_is_clipped(tmp_path: Path) -> None:
    samples = tone(0.5)
    samples[100], samples[200], samples[300], samples[400], samples[500] = np.nan, np.inf, -np.inf, 1e30, -7
    header = io.BytesIO()
    encode(header, tone(0.5)[None], codec="pcm_f32le", container="wav")
    data = header.getvalue()
    audio = load_audio(data[: data.index(b"data") + 8] + samples.tobytes())
    changed = [100, 200, 300, 400, 500]
    assert audio[changed].tolist() == [0, 0, 0, 1, -1]
    np.testing.assert_array_equal(np.delete(audio, changed), np.delete(tone(0.5), changed))


def test_a_cut_file_gives_its_part_and_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    encode(tmp_path / "a.flac", np.random.default_rng(2).uniform(-0.5, 0.5, (1, 48_000)), codec="flac")
    whole = load_audio(tmp_path / "a.flac")
    data = (tmp_path / "a.flac").read_bytes()
    with caplog.at_level(logging.WARNING):
        part = load_audio(data[: len(data) // 2])
    assert 16_000 < len(part) < 32_000
    np.testing.assert_array_equal(part, whole[: len(part)])
    assert [record.getMessage() for record in caplog.records if "damaged in 1 place;" in record.getMessage()]


def test_a_valid_file_without_samples_is_empty() -> None:
    header = b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80>\0\0\0}\0\0\x02\0\x10\0data\0\0\0\0"
    audio = load_audio(header)
    assert audio.shape == (0,) and audio.dtype == np.float32
    assert list(stream_audio(header)) == []


def test_what_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "no.wav").write_bytes(b"not media at all" * 100)
    cases = {
        tmp_path / "missing.wav": "No such file",
        tmp_path: "Is a directory",
        tmp_path / "no.wav": "not a media file",
        Path("a\0b.wav"): "null byte",
    }
    for path, reason in cases.items():
        with pytest.raises(AudioError, match=reason) as caught:
            load_audio(path)
        assert "\n" not in str(caught.value) and str(caught.value).startswith(str(path))
    with pytest.raises(AudioError, match="audio given as bytes"):
        load_audio(b"")


@pytest.mark.parametrize("ending", ["flac", "wav", "mp3", "gsm", "ogg", "m4a"])
def test_a_web_page_is_no_recording_whatever_it_is_called(tmp_path: Path, ending: str) -> None:
    page = tmp_path / f"clip.{ending}"
    page.write_bytes(b"<!DOCTYPE html><html><title>404 Not Found</title>" + b"<p>There is no such file.</p>" * 200)
    with pytest.raises(AudioError, match=rf"clip\.{ending}: is not a media file that can be read; check it"):
        load_audio(page)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_permission_denied(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch(mode=0o000)
    with pytest.raises(FileAccessError, match=r"Permission denied\); give yourself permission to read it"):
        load_audio(tmp_path / "a.wav")


def test_what_the_system_refuses_is_not_the_data_s_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    encode(path, tone(1.0)[None])
    utterance = Utterance(id="a", audio=str(path), language="eng", text="Hello.")
    clip = Clip(CorpusRow(file="rows.csv", line=1, id="a", language="eng", text="Hello."), path, "a.wav")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(lowest := os.open(path, os.O_RDONLY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        for read in (
            lambda: load_audio(path),
            lambda: hear(path, [utterance]),
            lambda: written(clip, tmp_path, "0", "flac"),
        ):
            with pytest.raises(FileAccessError, match=r"cannot be read \(Too many open files\); raise the limit"):
                read()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


class FailingDisk(io.BytesIO):
    """A file whose second half the disk does not give."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > len(self.getvalue()) / 2:
            raise OSError(errno.EIO, "Input/output error")
        return super().read(1000)


def test_a_disk_that_fails_midway_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode(tmp_path / "a.flac", np.random.default_rng(2).uniform(-0.5, 0.5, (1, 48_000)), codec="flac")
    data = (tmp_path / "a.flac").read_bytes()
    monkeypatch.setattr("dragoman.data.audio.opening.open_audio", lambda path: FailingDisk(data))
    with pytest.raises(FileAccessError, match=r"a\.flac: cannot be read \(Input/output error\)"):
        load_audio("a.flac")


def test_a_name_in_the_other_unicode_form_is_told(tmp_path: Path) -> None:
    (tmp_path / "re\u0301union").mkdir()
    encode(tmp_path / "re\u0301union" / "ga\u0301.wav", tone(0.2)[None])
    wanted = tmp_path / "r\u00e9union" / "g\u00e1.wav"
    if wanted.exists():
        pytest.skip("this file system does not mind")
    with pytest.raises(AudioError, match=r"there in the other Unicode form \(NFD: 'ga\\u0301.wav'\)"):
        load_audio(wanted)
    (found,) = hear(wanted, [Utterance(id="a", audio=str(wanted), language="eng", text="Hi.")])[0].findings
    assert found.kind == "audio-missing" and "(NFD: " in found.detail


def test_a_pipe_is_read_once_and_whole(tmp_path: Path) -> None:
    """Also an MP4 whose index is at its end."""
    encode(tmp_path / "a.mp4", tone(1.0)[None], codec="aac")
    data = (tmp_path / "a.mp4").read_bytes()
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[data])
    writer.start()
    np.testing.assert_array_equal(load_audio(tmp_path / "pipe"), load_audio(data))
    writer.join(timeout=10)
    assert excerpts(tmp_path / "pipe", 3, 1.0) == []


@pytest.mark.parametrize(("name", "codec"), CONTAINERS)
def test_excerpts_are_from_all_over_the_recording(tmp_path: Path, name: str, codec: str) -> None:
    parts = [tone(12, 48_000, 300 + 100 * number) for number in range(5)]
    encode(tmp_path / name, np.concatenate(parts)[None], 48_000, codec, start_s=7 if name == "a.ts" else 0)
    found = excerpts(tmp_path / name, 5, 4.0)
    assert [len(excerpt) / SAMPLE_RATE for excerpt in found] == pytest.approx([4] * 5, abs=0.2)
    heard = [np.abs(np.fft.rfft(excerpt[:SAMPLE_RATE])).argmax() for excerpt in found]
    assert heard == [300, 400, 500, 600, 700]


def test_video_without_sound(tmp_path: Path) -> None:
    with av.open(tmp_path / "a.mp4", "w") as out:
        stream = out.add_stream("mpeg4", rate=5, width=16, height=16, pix_fmt="yuv420p")
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))))
        out.mux(stream.encode(None))
    with pytest.raises(AudioError, match="has no audio stream"):
        load_audio(tmp_path / "a.mp4")


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{target}'\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    '<Representation id="1" bandwidth="1"><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("form", ["{}", "file:{}", "file://{}"])
@pytest.mark.parametrize("name", ["list.m3u8", "list.wav", "list.ffconcat"])
def test_a_playlist_reads_no_other_file(tmp_path: Path, kind: str, form: str, name: str) -> None:
    encode(tmp_path / "secret.wav", tone(1.0)[None])
    (tmp_path / name).write_text(PLAYLISTS[kind].format(target=form.format(tmp_path / "secret.wav")))
    with pytest.raises(AudioError):
        load_audio(tmp_path / name)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_playlist_opens_neither_file_nor_socket(tmp_path: Path) -> None:
    encode(tmp_path / "secret.wav", tone(1.0)[None])
    lists = []
    for kind, text in PLAYLISTS.items():
        for number, target in enumerate([str(tmp_path / "secret.wav"), "http://127.0.0.1:9/secret.ts"]):
            lists.append(tmp_path / f"{kind}{number}.m3u8")
            lists[-1].write_text(text.format(target=target))
    code = (
        "import sys\nfrom dragoman.data.audio import load_audio\nfrom dragoman.errors import AudioError\n"
        "for path in sys.argv[1:]:\n    try: load_audio(path)\n    except AudioError: pass\n    else: sys.exit(1)\n"
    )
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-o", str(trace), "-e", "trace=openat,open,socket,connect", sys.executable, "-c", code]
    run = subprocess.run([*command, *map(str, lists)], check=False, capture_output=True, text=True)
    if "ptrace" in run.stderr.lower():
        pytest.skip("strace may not trace here")
    assert run.returncode == 0, run.stderr
    calls = trace.read_text()
    assert all(str(path) in calls for path in lists)
    assert "secret.wav" not in calls and "connect(" not in calls and "AF_INET" not in calls


# ------------------------------------------------------------------------------------- the hostile files


def manifest() -> dict[str, str]:
    if not HOSTILE.is_dir():
        return {}
    with open(HOSTILE / "MANIFEST.tsv", encoding="utf-8") as rows:
        table = {row["file"]: row["expect"] for row in csv.DictReader(rows, delimiter="\t", quoting=csv.QUOTE_NONE)}
    return {name: expect for name, expect in table.items() if "/srt/" not in name and "names.tar" not in name}


SPEECH_S = {"generated/u8_11025.wav": 8.497, "generated/rate_384k.flac": 1.0,
            "generated/rate_change_16k_44k.mp3": 11.7, "generated/chained_two_streams.ogg": 11.73,
            "generated/silence_60s.flac": 60, "generated/white_noise_20s.flac": 20, "generated/tone_440_20s.flac": 20,
            "generated/speech_after_5min_silence.flac": 305.855}  # fmt: skip
"""Seconds where it is not the 5.855 s of the sentence that the files hold."""
DECODABLE_AFTER_ALL = {"generated/moov_missing2.m4a"}  # an intact file, whatever its name says


def must_fail(name: str, expect: str) -> bool:
    refused = (expect.startswith("clean error") and "or empty" not in expect) or expect.startswith("must not")
    return refused and name not in DECODABLE_AFTER_ALL


@needs_hostile
@pytest.mark.parametrize("name", [name for name, expect in manifest().items() if must_fail(name, expect)])
def test_hostile_files_that_must_fail(name: str) -> None:
    with pytest.raises(AudioError) as caught:
        load_audio(HOSTILE / name)
    assert "\n" not in str(caught.value) and Path(name).name in str(caught.value)


@needs_hostile
@pytest.mark.parametrize(
    "name", [name for name, expect in manifest().items() if not must_fail(name, expect) and "bomb" not in name]
)
def test_hostile_files_that_must_decode(name: str) -> None:
    audio = load_audio(HOSTILE / name)
    seconds, expect = len(audio) / SAMPLE_RATE, manifest()[name]
    assert np.isfinite(audio).all() and np.abs(audio).max(initial=0) <= 1
    assert np.isfinite(LogMel(80)(audio[: 30 * SAMPLE_RATE])).all()
    if expect == "decode the part present":
        assert 1 < seconds < 5.855
    elif "header_only" in name or "one_sample" in name:
        assert len(audio) == ("one_sample" in name)
    elif "no crash" not in expect:
        assert seconds == pytest.approx(SPEECH_S.get(name, 5.855), abs=0.15)


@needs_hostile
def test_hostile_names(tmp_path: Path) -> None:
    with tarfile.open(HOSTILE / "generated/names.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    files = sorted((tmp_path / "names").iterdir())
    assert len(files) >= 12
    for path in files:
        assert len(load_audio(path)) == 93_680
    (tmp_path / "names" / os.fsdecode(b"latin1-\xe9.wav")).write_bytes(b"no")
    with pytest.raises(AudioError) as caught:
        load_audio(tmp_path / "names" / os.fsdecode(b"latin1-\xe9.wav"))
    assert str(caught.value).encode("utf-8")


def test_relative_names_are_not_options_or_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("-rf.wav", "http:x.wav", "concat:a|b.wav", "pipe:0"):
        encode(tmp_path / "plain.wav", tone(0.2)[None])
        (tmp_path / "plain.wav").rename(name)
        assert len(load_audio(name)) == 3200


@needs_hostile
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_ten_hours_fit_in_little_memory() -> None:
    code = (
        "import re, sys\nfrom dragoman.data.audio import stream_audio\n"
        "total = sum(len(block) for block in stream_audio(sys.argv[1]))\n"
        "print(total, int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) // 1024)"
    )
    path = HOSTILE / "generated/bomb_10h_silence_8k.flac"
    run = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
    samples, peak_mib = map(int, run.stdout.split())
    assert samples == 36_000 * SAMPLE_RATE and peak_mib < 250


def test_a_row_of_text_alone_has_nothing_to_be_heard() -> None:
    with pytest.raises(AudioError, match="There is no audio: the row is text alone"):
        load_audio("")
