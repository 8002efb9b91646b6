"""Servers with the random model. What takes long to import is imported by who needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from running_server import RunningServer

    from dragoman import Translator


@pytest.fixture(scope="session")
def random_translator(random_model: Path) -> Translator:
    from dragoman import Translator

    return Translator.from_pretrained(random_model, device="cpu", beam_size=1)


@pytest.fixture(scope="session")
def server(random_translator: Translator) -> Iterator[RunningServer]:
    """One for all tests that leave it as it is."""
    pytest.importorskip("fastapi", reason="the extra [serve] is not installed")
    from running_server import RunningServer

    from dragoman.server.settings import ServerSettings

    running = RunningServer(lambda: random_translator, ServerSettings(port=0, max_requests=8, max_duration_s=60.0))
    yield running
    running.stop()


@pytest.fixture
def start(random_translator: Translator) -> Iterator[Callable[..., RunningServer]]:
    """Begins servers with settings of their own."""
    pytest.importorskip("fastapi", reason="the extra [serve] is not installed")
    from running_server import RunningServer

    from dragoman.server.settings import ServerSettings

    running: list[RunningServer] = []

    def begin(load: Callable[[], Translator] | None = None, **settings: Any) -> RunningServer:
        running.append(RunningServer(load or (lambda: random_translator), ServerSettings(port=0, **settings)))
        return running[-1]

    yield begin
    for one in running:
        one.stop()
