"""Segments of many recordings share batches, and nothing else about them changes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from dragoman import Translator
from dragoman.data.audio import load_audio, stream_audio
from dragoman.data.synthesis import write_flac
from dragoman.errors import AudioError
from dragoman.inference.result import Segment
from dragoman.inference.segment_queue import Done, SegmentQueue, ToDo
from dragoman.vad import speech_segments

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("seed", range(20))
def test_all_is_done_once_in_order_and_never_more_than_said_is_waiting(seed: int) -> None:
    draw = random.Random(seed)
    lengths = [draw.randrange(1, 400) if draw.random() < 0.9 else None for _ in range(draw.randrange(200))]
    size, ahead = draw.randrange(1, 9), draw.randrange(1, 40)
    read: list[int] = []
    given: list[int] = []
    batches: list[list[int]] = []

    def items() -> Iterator[ToDo[tuple[int, int]] | Done[int]]:
        for number, length in enumerate(lengths):
            read.append(number)
            yield Done(number) if length is None else ToDo((number, length))

    def work(batch: Sequence[tuple[int, int]]) -> list[int]:
        assert len(read) - len(given) <= ahead and 0 < len(batch) <= size
        batches.append([length for _, length in batch])
        return [number for number, _ in batch]

    for result in SegmentQueue(work, lambda item: item[1], size, ahead)(items()):
        given.append(result)
    assert given == list(range(len(lengths)))
    assert sum(map(len, batches)) == sum(length is not None for length in lengths)


def test_neighbours_in_length_share_a_batch_and_the_oldest_does_not_wait() -> None:
    batches: list[list[int]] = []

    def work(batch: Sequence[int]) -> Sequence[int]:
        batches.append(list(batch))
        return batch

    items = [ToDo(length) for length in (9, 1, 8, 2, 7, 3, 6, 4)]
    assert list(SegmentQueue(work, int, 2, 8)(items)) == [9, 1, 8, 2, 7, 3, 6, 4]
    assert batches == [[9, 8], [1, 2], [7, 6], [3, 4]]


def test_a_result_is_given_out_before_the_rest_of_its_batch_is_made() -> None:
    made: list[int] = []

    def work(batch: Sequence[int]) -> Iterator[int]:
        for item in batch:
            made.append(item)
            yield item

    for result in SegmentQueue(work, int, 4, 4)([ToDo(length) for length in (3, 1, 4, 2)]):
        assert made[-1] == result


def test_a_folder_in_shared_batches_is_its_recordings_one_by_one(tmp_path: Path) -> None:
    """A broken file, one without speech and two of several segments: outcomes come in order, and none harms another."""
    translator = Translator.from_pretrained("tiny", device="cpu", beam_size=1, batch_size=4)
    pause = np.zeros(16_000, np.float32)

    def recording(name: str, *clips: str) -> Path:
        parts = [part for clip in clips for part in (load_audio(EXAMPLES / clip), pause)]
        write_flac(tmp_path / name, np.concatenate([*parts, pause]))
        return tmp_path / name

    paths = [
        recording("a.flac", "english-wav.wav", "german-mp3.mp3", "german-flac.flac"),
        recording("b.flac"),
        tmp_path / "broken.mp3",
        recording("c.flac", "french-opus.ogg", "german-mp3.mp3"),
        recording("d.flac", "dutch-wav.wav"),
    ]
    paths[2].write_bytes(b"this is no sound" * 99)
    batches: list[int] = []
    decode = translator._decode_speech

    def counted(speech: Sequence[object], *more: object) -> object:
        batches.append(len(speech))
        return decode(speech, *more)  # type: ignore[arg-type]

    translator._decode_speech = counted  # type: ignore[assignment, method-assign]
    together = list(translator.translate_each(paths, to=["eng", "nld"], multilingual=True))
    assert [outcome.audio for outcome in together] == [str(path) for path in paths]
    shared = list(batches)
    assert len(shared) == -(-sum(shared) // 4)  # every batch but the last is full
    for path, outcome in zip(paths, together, strict=True):
        if path.name == "broken.mp3":
            with pytest.raises(AudioError, match=r"broken\.mp3"):
                outcome.get()
        else:
            alone = translator.translate(path, to=["eng", "nld"], multilingual=True)
            assert texts(outcome.get().segments) == texts(alone.segments)
    alone_in_batches = batches[len(shared) :]
    assert sum(alone_in_batches) == sum(shared) and len(alone_in_batches) > len(shared)
    assert [bool(outcome.result.segments) for outcome in together if outcome.result] == [True, False, True, True]


def test_single_clips_are_detected_together_as_they_are_alone() -> None:
    translator = Translator.from_pretrained("tiny", device="cpu", beam_size=1)
    names = ("english-wav.wav", "german-flac.flac", "german-mp3.mp3", "french-opus.ogg", "dutch-wav.wav")
    divided = {EXAMPLES / name: list(speech_segments(stream_audio(EXAMPLES / name), translator.vad)) for name in names}
    clips = [path for path, segments in divided.items() if len(segments) == 1]
    assert len(clips) > 2
    batches: list[int] = []
    detect = translator._detect_languages

    def counted(waveforms: Sequence[object]) -> object:
        batches.append(len(waveforms))
        return detect(waveforms)  # type: ignore[arg-type]

    translator._detect_languages = counted  # type: ignore[assignment, method-assign]
    together = [outcome.get() for outcome in translator.translate_each(clips, to="none")]
    assert batches == [len(clips)]
    for clip, result in zip(clips, together, strict=True):
        told = translator.identify([divided[clip][0].samples])
        assert result.language == next(iter(told))
        assert result.language_confidence == pytest.approx(told[result.language], abs=1e-4)


def texts(segments: Sequence[Segment]) -> list[object]:
    return [(one.start_s, one.end_s, one.language, one.transcript, one.translations) for one in segments]
