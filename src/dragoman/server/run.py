"""The application under uvicorn: h11, which limits heads, and deadlines; SIGTERM lets requests end."""

from __future__ import annotations

import errno
import os
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from dragoman.server.guards import Places
from dragoman.server.protocol import with_deadline
from dragoman.server.settings import ServerSettings
from dragoman.server.state import ServerState

_BACKLOG = 2048
_EVENT_BYTES = 24 << 20
"""Of a WebSocket: 15 MiB of audio in base64."""


class DrainingServer(uvicorn.Server):
    """It takes nothing new when it is to end, and says so."""

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
        ws_max_queue=4,
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


def listening(settings: ServerSettings) -> socket.socket:
    """The socket. Raises OSError, which names the address."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        socket.getaddrinfo(settings.host, settings.port, family)
        return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except socket.gaierror as error:
        reason = "This machine knows no such address; give --host one of its own"
        raise OSError(errno.EADDRNOTAVAIL, reason, settings.host) from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(error.errno, reason, address_of(settings.host, settings.port)) from error


def address_of(host: str, port: int) -> str:
    """As it stands in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def run(app: FastAPI, settings: ServerSettings, listener: socket.socket) -> None:
    """Until a signal ends it. Raises what keeps the model from being loaded."""
    server, state = server_of(app, settings), app.state.server

    def end() -> None:
        server.should_exit = True

    state.on_failure = end
    server.run(sockets=[listener])
    if state.failure is not None:
        raise state.failure
