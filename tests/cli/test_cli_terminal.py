"""`dragoman live` in a terminal: what a person sees."""

from __future__ import annotations

import os
import re
import select
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyte
import pytest

from dragoman import Translator
from dragoman.data.audio import SAMPLE_RATE, load_audio
from dragoman.inference.streaming import FinalSegment, LiveEvent, LiveTranslator

VIDEO = Path(__file__).parents[2] / "examples" / "english-video.mp4"
COMMAND = [sys.executable, "-m", "dragoman", "live", "-"]


class Terminal:
    """A terminal of 40 columns and 6 lines, and `dragoman live` in it, with a pipe for its standard input."""

    def __init__(self, *arguments: str) -> None:
        self.screen = Screen(40, 6, history=100)
        self.stream = pyte.ByteStream(self.screen)
        import fcntl
        import pty
        import termios

        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 6, 40, 0, 0))
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=subprocess.PIPE,
            stdout=theirs,
            stderr=theirs,
            env={name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
            | {"TERM": "xterm"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(1, termios.TIOCSCTTY, 0),  # so that Ctrl-C is a key, not a signal of ours
        )
        os.close(theirs)

    def hear(self, data: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def press(self, key: bytes) -> None:
        os.write(self.ours, key)

    def wait_for(self, text: str) -> None:
        while not self.shown().endswith(text):
            assert self._read(), f"the process has ended; of {text!r} there is: {self.shown()!r}"

    def up_to(self, text: str) -> str:
        """All that is shown up to the end of the text, once it is."""
        while text not in self.shown():
            assert self._read(), f"the process has ended; of {text!r} there is: {self.shown()!r}"
        return self.shown().partition(text)[0] + text

    def wait_for_the_end(self) -> int:
        while self._read():
            pass
        return self.process.wait(60)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self.ours)

    def shown(self, *, plain: bool = False) -> str:
        """All lines, those that have scrolled away too, as one; if wanted only what is not dim."""
        lines = [*self.screen.history.top, *(self.screen.buffer[number] for number in range(self.screen.lines))]
        rows = [[line[column] for column in range(self.screen.columns)] for line in lines]
        text = [["" if plain and cell.italics else cell.data for cell in row] for row in rows]
        return " ".join(" ".join(map("".join, text)).split())

    def _read(self) -> bool:
        ready, _, _ = select.select([self.ours], [], [], 120)
        assert ready, f"nothing more comes; there is: {self.shown()!r}"
        try:
            data = os.read(self.ours, 65536)
        except OSError:  # the other end is closed
            return False
        self.stream.feed(data)
        return bool(data)


class Screen(pyte.HistoryScreen):
    """pyte knows no dim text: it is shown in italics."""

    def select_graphic_rendition(self, *attributes: int) -> None:
        super().select_graphic_rendition(*(3 if attribute == 2 else attribute for attribute in attributes))


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.slow
def test_in_a_terminal_stable_text_stays_final_lines_scroll_and_ctrl_c_leaves_nothing_else() -> None:
    """The same blocks are pushed here and heard there; no block is sent before what the last one led to is shown."""
    pcm = (load_audio(VIDEO)[: round(4.8 * SAMPLE_RATE)] * 32767).astype("<i2")
    live = LiveTranslator(Translator.from_pretrained("tiny", device="cpu", beam_size=1), "deu", "eng", min_chunk_s=0.5)
    terminal = Terminal("--to", "deu", "--language", "eng", "--min_chunk_s", "0.5", "--beam_size", "1")
    finals: list[str] = []
    stable: list[tuple[str, ...]] = []
    try:
        terminal.wait_for("listening; Ctrl-C ends.")
        before = ""
        for block in np.split(pcm, range(1600, len(pcm), 1600)):
            terminal.hear(block.tobytes())
            for event in live.push(block.astype(np.float32) / np.float32(32768)):
                before = before or terminal.up_to("-f wav -` does.")  # how raw PCM is taken
                if isinstance(event, FinalSegment):
                    finals.append(lines(event))
                    terminal.wait_for(" ".join([before, *finals]))
                    stable.clear()
                else:
                    terminal.wait_for(" ".join([before, *finals, lines(event)]))
                    plain = terminal.shown(plain=True).removeprefix(" ".join([before, *finals]))
                    found = tuple(text.strip() for text in re.split("eng:|deu:", plain)[1:])
                    assert all(map(str.startswith, found, stable[-1] if stable else found))
                    stable.append(found)
            if len(finals) == 1 and any(map(any, stable)):
                break  # in the middle of the second sentence
        assert len(finals) == 1 and any(map(any, stable)), "too little was said to test anything"
        terminal.press(b"\x03")
        finals += [lines(event) for event in live.finish()]
        assert terminal.wait_for_the_end() == 0
        assert terminal.shown() == terminal.shown(plain=True) == " ".join([before, *finals])
        assert terminal.screen.history.top and not terminal.screen.cursor.hidden and terminal.screen.cursor.x == 0
    finally:
        terminal.close()


def lines(event: LiveEvent) -> str:
    """What is written of it, in one line."""
    segment = event.segment if isinstance(event, FinalSegment) else event
    return f"eng: {segment.transcript} deu: {segment.translations['deu']}"
