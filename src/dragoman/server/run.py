"""The application under uvicorn: h11, which limits heads, and deadlines; SIGTERM lets requests end."""

from __future__ import annotations

from types import FrameType

import uvicorn
from fastapi import FastAPI

from dragoman.server.guards import Places
from dragoman.server.protocol import with_deadline
from dragoman.server.settings import ServerSettings
from dragoman.server.state import ServerState

_EVENT_BYTES = 24 << 20
"""Of a WebSocket: 15 MiB of audio in base64."""


class DrainingServer(uvicorn.Server):
    """It takes nothing new when it is told to end, and says so."""

    def __init__(self, config: uvicorn.Config, places: Places) -> None:
        super().__init__(config)
        self._places = places

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal."""
        self._places.draining = True
        super().handle_exit(sig, frame)


def server_of(app: FastAPI, settings: ServerSettings) -> DrainingServer:
    """Not yet running."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=with_deadline(settings.header_timeout_s),
        ws="websockets-sansio",
        ws_max_size=_EVENT_BYTES,
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=round(settings.drain_s),
    )
    state: ServerState = app.state.server
    return DrainingServer(config, state.places)


def run(app: FastAPI, settings: ServerSettings) -> None:
    """Until a signal ends it."""
    server_of(app, settings).run()
