"""Processes change nothing but the time that it takes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dragoman.errors import DragomanError
from dragoman.parallel import as_finished, counted, in_order, single_threaded

NUMBERS = range(-20, 20)


@pytest.mark.parametrize("workers", [1, 2])
def test_each_job_is_done_once(workers: int) -> None:
    expected = [abs(number) for number in NUMBERS]
    assert list(in_order(abs, NUMBERS, workers, start=single_threaded)) == expected
    assert sorted(as_finished(abs, NUMBERS, workers)) == sorted(expected)


def test_a_long_queue_is_not_read_before_it_is_needed() -> None:
    read: list[int] = []
    jobs = (read.append(number) or number for number in range(1000))  # type: ignore[func-returns-value]
    results = in_order(abs, jobs, 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2] and len(read) < 20
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("each", [in_order, as_finished])
def test_a_process_that_dies_is_one_sentence(each: Callable[..., Iterator[None]]) -> None:
    with pytest.raises(DragomanError, match="fewer --workers"):
        list(each(os._exit, [1, 1], 2))
    with pytest.raises(DragomanError, match=r"^It died\.$"):
        list(each(os._exit, [1, 1], 2, lost="It died."))


INTERRUPTED = """
import sys, time
from pathlib import Path
from dragoman.parallel import as_finished

def job(path):
    path.touch()
    time.sleep(60)

if __name__ == "__main__":
    list(as_finished(job, [Path(sys.argv[1], str(number)) for number in range(6)], 2))
"""


def test_ctrl_c_ends_all_processes_at_once(tmp_path: Path) -> None:
    script, begun = tmp_path / "script.py", tmp_path / "begun"
    script.write_text(INTERRUPTED)
    begun.mkdir()
    parent = subprocess.Popen([sys.executable, script, begun], start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(begun.iterdir())) < 2:
        assert time.monotonic() < deadline and parent.poll() is None
        time.sleep(0.1)
    os.killpg(parent.pid, signal.SIGINT)
    assert parent.wait(timeout=30) == -signal.SIGINT
    assert len(list(begun.iterdir())) == 2


def test_results_are_counted_as_they_come() -> None:
    told: list[tuple[int, int]] = []
    results = counted(iter("ab"), 2, lambda *numbers: told.append(numbers))
    assert next(results) == "a" and told == [(1, 2)]
    assert list(results) == ["b"] and told == [(1, 2), (2, 2)]
