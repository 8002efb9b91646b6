"""Truths of batches across clients: everyone gets their own answer, nobody waits for another's long recording, nobody
fails for what another asked, and what nobody waits for is not done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra [serve] is not installed")

from dragoman.data.audio import SAMPLE_RATE
from dragoman.data.features import speech_features
from dragoman.inference.decoding.decoder import DecodeRequest
from dragoman.recipe import AudioConfig, FbankConfig, LogMelConfig, WaveformConfig
from dragoman.server.backend import batching
from dragoman.server.backend.batching import BatchScheduler, BatchWorker, ClientGone, Kind, outcome
from dragoman.server.backend.translation import LaneDecoder
from dragoman.server.metrics import ServerMetrics

KIND: Kind = ("decode",)


class HeldWorker(BatchWorker):
    """Doubles numbers; before each batch it waits until it may go on."""

    def __init__(self) -> None:
        self.go, self.begun = threading.Semaphore(0), threading.Semaphore(0)
        self.batches: list[list[int]] = []

    def __call__(self, kind: Kind, payloads: Sequence[Any]) -> list[int]:
        self.begun.release()
        assert self.go.acquire(timeout=20)
        self.batches.append(list(payloads))
        if 13 in payloads:
            raise ValueError("13")
        return [2 * number for number in payloads]

    def release(self, batches: int = 100) -> None:
        for _ in range(batches):
            self.go.release()


class FreeWorker(BatchWorker):
    """Does what a function does."""

    def __init__(self, work: Callable[[Kind, Sequence[Any]], list[Any]]) -> None:
        self._work = work

    def __call__(self, kind: Kind, payloads: Sequence[Any]) -> list[Any]:
        return self._work(kind, payloads)


@pytest.fixture
def worker() -> HeldWorker:
    return HeldWorker()


@pytest.fixture
def scheduler(worker: HeldWorker) -> BatchScheduler:
    return BatchScheduler([worker], 8, ServerMetrics())


def occupied(worker: HeldWorker, scheduler: BatchScheduler) -> None:
    """The worker has a first batch, so that what comes now waits together."""
    scheduler.lane().submit(KIND, [0], [1.0])
    assert worker.begun.acquire(timeout=20)


def test_everyone_gets_their_own(worker: HeldWorker, scheduler: BatchScheduler) -> None:
    worker.release()
    lanes = [scheduler.lane() for _ in range(5)]
    asked = [(lane, [100 * number + at for at in range(7)]) for number, lane in enumerate(lanes)]
    futures = [lane.submit(KIND, numbers, [1.0 + at for at in range(7)]) for lane, numbers in asked]
    for (_, numbers), found in zip(asked, futures, strict=True):
        assert [outcome(one) for one in found] == [2 * number for number in numbers]
    assert max(map(len, worker.batches)) > 1


def test_a_short_clip_beside_a_long_recording(worker: HeldWorker, scheduler: BatchScheduler) -> None:
    """It is in the next batch, and that batch is not filled with the long recording."""
    occupied(worker, scheduler)
    long, short = scheduler.lane(), scheduler.lane()
    rest = long.submit(KIND, list(range(100, 200)), [10.0] * 100)
    clip = short.submit(KIND, [7, 8], [4.0, 4.0])
    worker.release(2)
    wait(clip, timeout=20)
    assert {7, 8} <= set(worker.batches[1])
    assert sum(number >= 100 for number in worker.batches[1]) <= 2
    worker.release()
    assert [outcome(one) for one in rest] == [2 * number for number in range(100, 200)]
    assert max(map(len, worker.batches)) == 8  # once it is alone, it has the whole batch


def test_who_comes_next_does_not_wait_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long recording fills batches while it is alone; once another was there, it puts little into one."""
    monkeypatch.setattr(batching, "_SHARE_S", 0.1)
    sizes: list[int] = []

    def slow(kind: Kind, payloads: Sequence[Any]) -> list[Any]:
        sizes.append(len(payloads))
        time.sleep(0.01 * len(payloads))  # a second of audio costs a tenth
        return list(payloads)

    scheduler = BatchScheduler([FreeWorker(slow)], 40, ServerMetrics())
    long, short = scheduler.lane(), scheduler.lane()
    wait(long.submit(KIND, list(range(40)), [0.1] * 40), timeout=20)
    alone, sizes[:] = list(sizes), []
    wait(short.submit(KIND, [1], [0.1]), timeout=20)
    wait(long.submit(KIND, list(range(40)), [0.1] * 40), timeout=20)
    scheduler.end()
    assert alone == [2, 4, 8, 16, 10]  # and its first come soon
    assert sizes[0] == 1 and max(sizes) <= 11


@pytest.mark.parametrize(
    "audio",
    [
        LogMelConfig(mel_bins=80, padding="trimmed"),
        WaveformConfig(kind="waveform", normalise=True),
        FbankConfig(kind="fbank"),
    ],
    ids=lambda audio: audio.kind,
)
def test_a_second_lasts_a_second_whatever_the_encoder_hears(
    audio: AudioConfig, worker: HeldWorker, scheduler: BatchScheduler
) -> None:
    noise = np.random.default_rng(0).normal(size=3 * SAMPLE_RATE).astype(np.float32)
    occupied(worker, scheduler)
    lane = scheduler.lane()
    LaneDecoder(lane, 1, False, audio).each([DecodeRequest(speech_features(audio)(noise), "eng", ())])
    (waiting,) = lane.tasks
    assert waiting.seconds == pytest.approx(3.0, abs=0.03)
    lane.close()
    worker.release()


def test_rounds_are_counted_in_seconds(worker: HeldWorker, scheduler: BatchScheduler) -> None:
    occupied(worker, scheduler)
    one, other = scheduler.lane(), scheduler.lane()
    one.submit(KIND, list(range(100, 140)), [9.0] * 40)
    other.submit(KIND, list(range(200, 240)), [3.0] * 40)
    worker.release(4)
    for _ in range(4):
        assert worker.begun.acquire(timeout=20)
    served = [number for batch in worker.batches[1:4] for number in batch]
    longs, shorts = sum(number < 200 for number in served), sum(number >= 200 for number in served)
    assert abs(9 * longs - 3 * shorts) <= 9 and longs and shorts
    worker.release()


def test_nobody_fails_for_what_another_asked(worker: HeldWorker, scheduler: BatchScheduler) -> None:
    occupied(worker, scheduler)
    good = scheduler.lane().submit(KIND, [1, 2], [1.0, 1.0])
    (bad,) = scheduler.lane().submit(KIND, [13], [1.0])
    worker.release()
    assert [outcome(one) for one in good] == [2, 4]
    with pytest.raises(ValueError, match="13"):
        outcome(bad)


def test_what_nobody_waits_for_is_not_done(worker: HeldWorker, scheduler: BatchScheduler) -> None:
    occupied(worker, scheduler)
    gone, stays = scheduler.lane(), scheduler.lane()
    dropped = gone.submit(KIND, [50, 51, 52], [1.0] * 3)
    kept = stays.submit(KIND, [60], [1.0])
    gone.close()
    worker.release()
    assert outcome(kept[0]) == 120
    for one in dropped:
        with pytest.raises(ClientGone):
            outcome(one)
    with pytest.raises(ClientGone):
        gone.submit(KIND, [53], [1.0])
    assert not {50, 51, 52, 53} & {number for batch in worker.batches for number in batch}


def test_nor_is_it_tried_alone_when_its_batch_failed(worker: HeldWorker, scheduler: BatchScheduler) -> None:
    occupied(worker, scheduler)
    gone, stays = scheduler.lane(), scheduler.lane()
    (dropped,) = gone.submit(KIND, [13], [1.0])
    (kept,) = stays.submit(KIND, [60], [1.0])
    worker.release(1)
    assert worker.begun.acquire(timeout=20)  # the batch of both
    gone.close()
    worker.release()
    assert outcome(kept) == 120
    with pytest.raises(ClientGone):
        outcome(dropped)
    assert [13] not in worker.batches


def test_a_dead_worker_takes_nothing_until_it_lives_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "_TEND_S", 0.05)
    tended = threading.Semaphore(0)

    class DeadWorker(FreeWorker):
        lives = False

        def tend(self) -> bool:
            tended.release()
            return self.lives

    dead = DeadWorker(lambda kind, payloads: ["risen"] * len(payloads))
    scheduler = BatchScheduler([dead], 2, ServerMetrics())
    (waiting,) = scheduler.lane().submit(KIND, [1], [1.0])
    for _ in range(3):
        assert tended.acquire(timeout=20)
    assert not waiting.done()
    dead.lives = True
    assert outcome(waiting) == "risen"
    scheduler.end()


@pytest.mark.parametrize("kinds", [[("decode",), ("likelihoods", 1)], [("likelihoods", 1), ("likelihoods", 4)]])
def test_kinds_do_not_mix(kinds: list[Kind]) -> None:
    seen: list[tuple[Kind, int]] = []

    def note(kind: Kind, payloads: Sequence[Any]) -> list[Any]:
        seen.extend((kind, payload) for payload in payloads)
        assert len({payload[0] for payload in payloads}) == 1
        return list(payloads)

    scheduler = BatchScheduler([FreeWorker(note)], 8, ServerMetrics())
    lanes = [scheduler.lane() for _ in range(6)]
    futures = [
        (kind, lane.submit(kind, [(kind, at) for at in range(4)], [1.0] * 4))
        for at, lane in enumerate(lanes)
        for kind in [kinds[at % 2]]
    ]
    for kind, found in futures:
        assert [outcome(one) for one in found] == [(kind, at) for at in range(4)]
    assert all(kind == payload[0] for kind, payload in seen)


def test_the_end_lets_nobody_wait(worker: HeldWorker, scheduler: BatchScheduler) -> None:
    occupied(worker, scheduler)
    waiting = scheduler.lane().submit(KIND, [1], [1.0])
    ending = threading.Thread(target=scheduler.end)
    ending.start()
    with pytest.raises(ClientGone):
        outcome(waiting[0])
    worker.release()
    ending.join(timeout=20)
    assert not ending.is_alive()
    with pytest.raises(ClientGone):
        scheduler.lane().submit(KIND, [1], [1.0])
