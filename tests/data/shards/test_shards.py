"""Audio in tar files is the audio that was packed; what is not a plain file is refused."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.data.audio import load_audio
from dragoman.data.index import open_index
from dragoman.data.shards import reading
from dragoman.data.shards.reading import open_audio, write_shard
from dragoman.errors import AudioError
from dragoman.records import Utterance, read_manifest, write_rows


@settings(max_examples=30)
@given(st.dictionaries(st.text("ab/é", min_size=1).filter(reading.is_plain), st.binary(max_size=3000), max_size=9))
def test_what_is_packed_is_read(tmp_path: Path, clips: dict[str, bytes]) -> None:
    write_shard(tmp_path / "x.tar", clips.items())
    for name, content in clips.items():
        assert open_audio(tmp_path / f"x.tar#{name}").read() == content


def write_tar(path: Path, *members: tarfile.TarInfo, content: bytes = b"x" * 700) -> None:
    with tarfile.open(path, "w") as tar:
        for member in members:
            member.size = len(content) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(content))


def member(name: str, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/hostname" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
    return info


@pytest.mark.parametrize(
    "odd",
    [
        member("../a"),
        member("/etc/a"),
        member("a/../../b"),
        member("link", tarfile.SYMTYPE),
        member("link", tarfile.LNKTYPE),
        member("device", tarfile.CHRTYPE),
        member("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda info: f"{info.name}-{info.type}",
)
def test_only_plain_files_with_plain_names(tmp_path: Path, odd: tarfile.TarInfo) -> None:
    write_tar(tmp_path / "x.tar", member("good"), odd)
    with pytest.raises(AudioError, match=r"x\.tar: the member .* is not a plain file"):
        open_audio(tmp_path / "x.tar#good")
    assert not (tmp_path / "x.tar.index").exists()


def test_what_other_programs_pack_is_read(tmp_path: Path) -> None:
    """`tar cf x.tar .` writes folders and ./ before each name."""
    write_tar(tmp_path / "x.tar", member(".", tarfile.DIRTYPE), member("./a.flac"), member("./b/c.flac"))
    assert (
        open_audio(tmp_path / "x.tar#a.flac").read() == open_audio(tmp_path / "x.tar#./b/c.flac").read() == b"x" * 700
    )


def test_errors_name_the_tar_and_what_to_do(tmp_path: Path) -> None:
    tar = tmp_path / "x.tar"
    with pytest.raises(AudioError, match=r"x\.tar: cannot be opened \(No such file"):
        load_audio(f"{tar}#a")
    write_tar(tar, member("a"), member("a"))
    with pytest.raises(AudioError, match="two members are named 'a'"):
        load_audio(f"{tar}#a")
    write_tar(tar, member("a"), member("b"))
    with pytest.raises(AudioError, match=r"x\.tar: has no member 'c'"):
        load_audio(f"{tar}#c")
    with pytest.raises(AudioError, match="not a media file"):
        load_audio(f"{tar}#a")
    for size in (700, 1536, 1600, 2200):  # in the first content, before and in the second header, in its content
        write_tar(tar, member("a"), member("b"))
        tar.write_bytes(tar.read_bytes()[:size])
        with pytest.raises(AudioError, match=r"x\.tar: is not a whole tar file"):
            open_audio(f"{tar}#b")


def test_a_failed_shard_leaves_nothing_and_names_are_checked(tmp_path: Path) -> None:
    for wrong in ("../a", "/a", "", "a/", "a//b", "good"):
        with pytest.raises(ValueError, match="cannot name"):
            write_shard(tmp_path / "x.tar", [("good", b""), (wrong, b"")])
    assert list(tmp_path.iterdir()) == []


def test_an_index_is_made_once_and_again_for_another_tar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[Path] = []
    real = reading._listed
    monkeypatch.setattr(reading, "_listed", lambda path: (listed.append(path), real(path))[1])
    write_tar(tmp_path / "x.tar", member("a"))
    for _ in range(2):
        reading._shard.cache_clear()  # as another process
        open_audio(tmp_path / "x.tar#a")
    assert len(listed) == 1
    write_tar(tmp_path / "x.tar", member("a"), member("b"), content=b"new")
    assert open_audio(tmp_path / "x.tar#b").read() == b"new" and len(listed) == 2


def test_utterances_of_a_tar_follow_the_rule_of_paths(tmp_path: Path) -> None:
    write_rows(tmp_path / "m.jsonl", [Utterance(id="a", audio="s/0.tar#x", language="eng")])
    (row,) = read_manifest(tmp_path / "m.jsonl")
    assert row.audio == str(tmp_path / "s/0.tar#x") == open_index(tmp_path / "m.jsonl").utterance(0, []).audio
