"""The application: roads, guards around them, the page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from dragoman.inference.translator import Translator
from dragoman.server.api import jobs, models, realtime, subtitles, transcriptions
from dragoman.server.errors_api import add_error_handlers
from dragoman.server.guards import Guards
from dragoman.server.settings import ServerSettings
from dragoman.server.state import ServerState
from dragoman.version import __version__

PAGE = Path(__file__).parent / "page"


def create_app(settings: ServerSettings, load: Callable[[], Translator]) -> FastAPI:
    """An ASGI application; `load` reads the model when it starts."""
    state = ServerState(settings, load, begin_jobs=jobs.start_jobs)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        state.start()
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
            allow_headers=["authorization", "content-type"],
            expose_headers=["x-request-id", "retry-after"],
        )
    return app


def page_paths(folder: Path) -> list[str]:
    """What of the page is served; nothing as long as it has no index.html."""
    if not (folder / "index.html").is_file():
        return []
    return ["/", *(f"/{path.relative_to(folder).as_posix()}" for path in folder.rglob("*") if path.is_file())]
