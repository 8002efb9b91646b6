"""What tests of the page do with it in a browser: send a recording, read the lines, download; and a connection that
breaks."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe

KEY = "a-key-of-these-tests"
LINE, PROGRESS, ALERT = ".line", ".progress", "[role=alert]"


def port_of(address: str) -> int:
    return int(address.rstrip("/").rsplit(":", 1)[1])


def begin(page: Any, recording: Path, *languages: str) -> None:
    page.set_input_files("input[type=file]", recording)
    page.get_by_label("Spoken language").select_option("English")
    for language in languages:
        page.get_by_label(language).check()
    page.get_by_role("button", name="Translate").click()


DROPPED = """([name, content]) => {
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(atob(content), (sign) => sign.charCodeAt(0))], name));
  return data;
}"""


def drop(page: Any, recording: Path) -> None:
    """As from the desktop, somewhere on the page."""
    content = base64.b64encode(recording.read_bytes()).decode()
    data = page.evaluate_handle(DROPPED, [recording.name, content])
    page.dispatch_event("header", "dragover", {"dataTransfer": data})
    page.locator(".drop.over").wait_for()
    page.dispatch_event("header", "drop", {"dataTransfer": data})


@contextlib.contextmanager
def occupied(server: str) -> Iterator[None]:
    """Somebody else has a place of the server."""
    with socket.create_connection(("127.0.0.1", port_of(server))) as other:
        head = f"host: 127.0.0.1:{port_of(server)}\r\nauthorization: Bearer {KEY}\r\ncontent-length: 9\r\n"
        head += "content-type: multipart/form-data; boundary=x"
        other.sendall(f"POST /v1/audio/transcriptions HTTP/1.1\r\n{head}\r\n\r\n".encode())
        time.sleep(1)  # it has it now
        yield


def heard(page: Any, recording: Path, *languages: str) -> Any:
    """With all lines of the recording."""
    begin(page, recording, *languages)
    page.locator(LINE).first.wait_for()
    page.locator(PROGRESS).wait_for(state="detached")
    return page


def texts(page: Any, column: str) -> list[str]:
    found: list[str] = page.locator(f"{LINE} [data-column={column}] .words").all_inner_texts()
    return found


def asked(server: str, road: str, recording: Path, targets: str, response_format: str) -> str:
    """The server's own answer about a recording of English."""
    fields = {"model": "tiny", "language": "en", "target_language": targets, "response_format": response_format}
    form = [flag for name, value in fields.items() for flag in ("-F", f"{name}={value}")]
    command = [
        "curl",
        "-sS",
        f"{server}v1/audio/{road}",
        "-H",
        f"authorization: Bearer {KEY}",
        *form,
        "-F",
        f"file=@{recording}",
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def segments_of(server: str, recording: Path, targets: str) -> list[dict[str, Any]]:
    answer = json.loads(asked(server, "transcriptions", recording, targets, "verbose_json"))
    found: list[dict[str, Any]] = answer["segments"]
    return found


def downloaded(page: Any, form: str, language: str | None = None) -> tuple[str, str]:
    """The name of the file, and what is in it."""
    page.get_by_role("button", name="Download").click()
    dialog = page.locator("dialog[open]")
    dialog.get_by_label(form, exact=True).check()
    if language:
        dialog.get_by_label(language, exact=True).check()
    with page.expect_download() as event:
        dialog.get_by_role("button", name="Download").click()
    return event.value.suggested_filename, Path(event.value.path()).read_text(encoding="utf-8")


def no_violation(page: Any) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


class Cut:
    """Stands between browser and server, and cuts the first connection that tells a segment, after that segment."""

    def __init__(self, server: str) -> None:
        self._to = port_of(server)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listening.getsockname()[1]}/"
        self.was_cut = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            browser, _ = self._listening.accept()
            server = socket.create_connection(("127.0.0.1", self._to))
            threading.Thread(target=self._pass_on, args=(browser, server), daemon=True).start()
            threading.Thread(target=self._answer, args=(server, browser), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)

    def _answer(self, server: socket.socket, browser: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                start = data.find(b'"transcript.text.segment"')
                if start >= 0 and not self.was_cut.is_set():
                    self.was_cut.set()
                    browser.sendall(data[: data.index(b"\n\n", start) + 2])
                    time.sleep(2)  # the browser reads it
                    break
                browser.sendall(data)
        for end in (server, browser):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
