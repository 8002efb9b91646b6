"""A server in a thread of the tests' process, and a decoder that waits for the test."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from dragoman import Translator
from dragoman.server.app import create_app
from dragoman.server.backend.workers import open_model, open_processes
from dragoman.server.run import server_of
from dragoman.server.settings import ServerSettings
from dragoman.server.state import ServerState


class RunningServer:
    """Its address, what it knows, and how to end it."""

    def __init__(self, load: Callable[[], Translator], settings: ServerSettings) -> None:
        replicas = [load] * settings.workers
        self.app = create_app(
            settings, open_processes(replicas, settings.request_timeout_s) if replicas else open_model(load)
        )
        self.state: ServerState = self.app.state.server
        self._server = server_of(self.app, settings)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not (self._server.started and (self.state.is_ready or self.state.failure)):
            time.sleep(0.02)
        if self.state.failure:
            raise self.state.failure
        self.port: int = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """As a signal does."""
        self._server.handle_exit(15, None)
        self._thread.join(timeout=60)
        assert not self._thread.is_alive()


class HeldDecoder:
    """Does a batch when it is told to."""

    def __init__(self, decoder: Any) -> None:
        self._decoder, self.go = decoder, threading.Semaphore(1)  # one is the server's own, at its start

    def __call__(self, requests: Any) -> Any:
        assert self.go.acquire(timeout=300)
        return self._decoder(requests)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)
