"""Frames with timestamps -> mono at 16 kHz, in which sample n is heard n / 16000 s after the recording's start."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from dragoman.data.audio.decoding import Frame
from dragoman.data.audio.mixing import Mixer, guessed_layout
from dragoman.data.audio.resampling import MOST_STRETCH, Resampler, Waveform

_JITTER_S = 0.1
"""Rounded timestamps and what codecs hold back stay below it. More at once is a hole, more over time is drift."""
_RESTART_S = 0.5
"""A clock that goes back by more than this has started anew, as where files were joined."""
_MOST_HOLE_S = 24 * 3600.0
"""A clock that leaps further is broken."""
_OUT_OF_REACH_S, _TOO_FAR_S = 0.5, 2.0
"""Stretching has not kept up: samples and timestamps differ by more than a tenth. Where they do so steadily, the rate
is not what the file says."""
_STEADY_S = 3.0
"""Seconds of the clock over which a rate is measured, at least."""
_IN_TIME = 0.03
"""Of a frame's length: where clocks differ by a tenth, none is so near."""
_PACES = 0.4, 2.5
"""Rates that differ by more are no mistaken ones (8 and 16 kHz, 22.05 and 48 kHz are): the clock is broken."""
_GUESSED = (
    "%s: its %d channels have no layout and are taken for %s (LFE is left out); if they are microphones, mix them"
    " first, as by `ffmpeg -af 'pan=mono|c0<c0+c1+c2+c3+c4+c5'`."
)
_log = logging.getLogger("dragoman.data.audio")


def on_timeline(
    frames: Iterable[Frame], origin_s: float | None, name: str, on_hole: Callable[[], None] = lambda: None
) -> Iterator[Waveform]:
    """Mix to mono, bring to 16 kHz, and put each frame where its timestamp says: (N,) each. `origin_s` is the
    container's time of second 0; None: that of the first frame. Silence is made a second at a time; `on_hole` hears of
    each hole but a late start."""
    timeline = _Timeline(origin_s, name, on_hole)
    guessed: str | None = None
    for frame, following in _with_next(frames):
        if guessed is None and (guessed := guessed_layout(frame.channels)):
            _log.warning(_GUESSED, name, len(frame.channels), guessed)
        yield from timeline.push(frame, following)
    yield from timeline.finish()
    if timeline.late_s:
        message = "%s: its sound lasts longer than its timestamps say; times may be up to %.0f s late."
        _log.warning(message, name, timeline.late_s)


@dataclass
class _Seen:
    """Frames since the last hole: from which second on, how many, how long they last, how many follow upon the one
    before."""

    since_s: float
    frames: int = 0
    heard_s: float = 0.0
    in_time: int = 0

    def add(self, frame_s: float, leap_s: float) -> None:
        self.frames += 1
        self.heard_s += frame_s
        self.in_time += abs(leap_s) < _IN_TIME * frame_s


class _Timeline:
    def __init__(self, origin_s: float | None, name: str, on_hole: Callable[[], None]) -> None:
        self.late_s = 0.0
        """By how much what is heard lies behind its timestamps."""
        self._name, self._on_hole = name, on_hole
        self._pace = 1.0  # true rate over that which the file says
        self._seen = _Seen(0.0)
        self._mixer, self._resampler = Mixer(), Resampler()
        self._shift_s = None if origin_s is None else -origin_s
        self._end_s = 0.0  # of the last frame, by its timestamp
        self._heard_s = 0.0  # how much was handed on, holes included

    def push(self, frame: Frame, following: Frame | None) -> Iterator[Waveform]:
        """`following`: the frame after it, which tells a hole from a single wrong timestamp."""
        frame = replace(frame, rate=round(frame.rate * self._pace))
        start_s = self._placed(frame, following)
        hole_s = start_s - self._end_s
        if self._heard_s and hole_s > _JITTER_S:
            self._on_hole()
        if not self._heard_s or hole_s > _JITTER_S:
            yield from self._silence(hole_s, frame.rate)
        if not self._heard_s or hole_s > _JITTER_S:
            self._seen = _Seen(start_s)
        if self._resampler.follows:
            start_s = yield from self._kept_up(start_s, frame.rate)
        elif abs(start_s - self._heard_s) > _JITTER_S + 1e-6:
            yield from self._resampler.follow()
        yield from self._resampler.push(self._mixer.mix(frame.samples, frame.channels), frame.rate, start_s)
        self._seen.add(frame.duration_s, hole_s)
        self._heard_s += frame.duration_s
        self._end_s = start_s + frame.duration_s

    def finish(self) -> Iterator[Waveform]:
        return self._resampler.flush()

    def _placed(self, frame: Frame, following: Frame | None) -> float:
        """Where the frame begins, in seconds of the recording."""
        if frame.start_s is None:
            return self._end_s
        if self._shift_s is None:
            self._shift_s = -frame.start_s
        leap_s = frame.start_s + self._shift_s - self._end_s
        if -_RESTART_S <= leap_s <= _JITTER_S:
            return self._end_s + leap_s
        if following is not None and following.start_s is not None:
            next_leap_s = following.start_s + self._shift_s - self._end_s - frame.duration_s
            if abs(next_leap_s) <= _JITTER_S:  # the clock goes on as if nothing had been
                return self._end_s
        if not -_RESTART_S <= leap_s <= _MOST_HOLE_S:
            self._shift_s -= leap_s
            return self._end_s
        return self._end_s + leap_s

    def _silence(self, seconds: float, rate: int) -> Iterator[Waveform]:
        """Silence from the end of the last frame on."""
        left = round(max(seconds, 0) * rate)
        at_s = self._end_s
        while left:
            count = min(left, rate)
            yield from self._resampler.push(np.zeros(count, np.float32), rate, at_s)
            self._heard_s += count / rate
            at_s += count / rate
            left -= count
        self._end_s = at_s

    def _finds_pace(self, start_s: float) -> bool:
        """Whether samples have come at another rate than the file's all the time, which is then taken for the true
        one; where single packets are missing, most of the others are in time."""
        seen = self._seen
        lasts_s = start_s - seen.since_s
        ratio = seen.heard_s / max(lasts_s, 1e-9)
        is_steady = lasts_s > _STEADY_S and abs(ratio - 1) > MOST_STRETCH and seen.in_time < 0.2 * seen.frames
        if not is_steady or not _PACES[0] < self._pace * ratio < _PACES[1]:
            return False
        self._pace, self._seen = self._pace * ratio, _Seen(start_s)
        message = "%s: its sound lasts %.2f times as long as its timestamps say; its rate is taken for a mistake."
        _log.warning(message, self._name, ratio)
        return True

    def _kept_up(self, start_s: float, rate: int) -> Generator[Waveform, None, float]:
        """While samples are stretched to their timestamps: another rate is looked for; else what is too far behind is
        filled, what is too far ahead is left where it is. Returns where the frame begins."""
        behind_s = start_s - self._resampler.position_s
        if abs(behind_s) > _OUT_OF_REACH_S and self._finds_pace(start_s):
            return start_s
        if behind_s > _TOO_FAR_S:
            self._end_s = start_s - behind_s
            yield from self._silence(behind_s, rate)
        elif behind_s < -_TOO_FAR_S:
            self._shift_s = (self._shift_s or 0.0) - behind_s
            self.late_s -= behind_s
            return start_s - behind_s
        return start_s


def _with_next(frames: Iterable[Frame]) -> Iterator[tuple[Frame, Frame | None]]:
    """Each frame, and the one after it."""
    iterator = iter(frames)
    try:
        current = next(iterator)
    except StopIteration:
        return
    for following in itertools.chain(iterator, [None]):
        yield current, following
        if following is not None:
            current = following
