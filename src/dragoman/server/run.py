"""The application under uvicorn: h11, which limits heads, and deadlines; SIGTERM lets requests end."""

from __future__ import annotations

from types import FrameType

import uvicorn
from fastapi import FastAPI

from dragoman.server.protocol import with_deadline
from dragoman.server.settings import ServerSettings

_EVENT_BYTES = 24 << 20
"""Of a WebSocket: 15 MiB of audio in base64."""


class DrainingServer(uvicorn.Server):
    """It takes nothing new when it is told to end, and says so."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal."""
        app = self.config.loaded_app
        while not isinstance(app, FastAPI):
            app = app.app
        app.state.server.places.draining = True
        super().handle_exit(sig, frame)


def run(app: FastAPI, settings: ServerSettings) -> None:
    """Until a signal ends it."""
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
    DrainingServer(config).run()
