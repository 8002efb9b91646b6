"""The application: roads, guards around them, the page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from dragoman.server.api import jobs, models, realtime, subtitles, transcriptions
from dragoman.server.api.answers import WARNINGS_HEADER
from dragoman.server.backend.translation import OpenModel
from dragoman.server.errors_api import add_error_handlers
from dragoman.server.guards import Guards
from dragoman.server.settings import ServerSettings
from dragoman.server.state import ServerState
from dragoman.version import __version__

PAGE = Path(__file__).parent / "page"


def create_app(settings: ServerSettings, open_model: OpenModel) -> FastAPI:
    """An ASGI application; the model is opened when it starts. Raises OSError where Home Assistant's port is taken, and
    DragomanError."""
    state = ServerState(settings, open_model, running_jobs=jobs.running_jobs)

    voices = _voices(state)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        state.start()
        async with voices():
            yield
        state.end()

    app = FastAPI(
        title="dragoman", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan
    )
    app.state.server = state
    add_error_handlers(app)
    for road in (transcriptions, models, subtitles, realtime, jobs):
        app.include_router(road.router)
    pages = page_paths(PAGE)
    if pages:
        app.mount("/", StaticFiles(directory=PAGE, html=True))
    app.add_middleware(Guards, settings=settings, places=state.places, metrics=state.metrics, page_paths=pages)
    if settings.allowed_origins:  # a preflight carries no key, so this stands before the guards
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.allowed_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],  # OpenAI's client sends a dozen of its own, and cookies are not looked at
            expose_headers=["x-request-id", "retry-after", "x-should-retry", WARNINGS_HEADER],
        )
    return app


def _voices(state: ServerState) -> Callable[[], AbstractAsyncContextManager[None]]:
    """Home Assistant's, whose port is opened now, before a model is loaded. Raises OSError, MissingExtraError."""
    if state.settings.wyoming_port is None:
        return nullcontext
    from dragoman.server.wyoming import listening_to_voices, voices_socket

    return partial(listening_to_voices, state, voices_socket(state.settings))


def page_paths(folder: Path) -> list[str]:
    """What of the page is served; nothing as long as it has no index.html."""
    if not (folder / "index.html").is_file():
        return []
    return ["/", *(f"/{path.relative_to(folder).as_posix()}" for path in folder.rglob("*") if path.is_file())]
