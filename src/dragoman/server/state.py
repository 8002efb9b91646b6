"""What all roads of a server share."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from starlette.requests import HTTPConnection

from dragoman.data.audio import SAMPLE_RATE
from dragoman.inference.options import TranslateOptions
from dragoman.inference.recordings import Speech
from dragoman.server.backend.job_runner import DiskJobs
from dragoman.server.backend.jobs import JobQueue, RunningJobs
from dragoman.server.backend.translation import ModelServer, OpenModel
from dragoman.server.errors_api import ApiError
from dragoman.server.guards import Places
from dragoman.server.metrics import ServerMetrics
from dragoman.server.settings import ServerSettings

_log = logging.getLogger(__name__)


@dataclass
class ServerState:
    """One server. `open_model` is called in a thread, while the server answers already that it lives."""

    settings: ServerSettings
    open_model: OpenModel
    metrics: ServerMetrics = field(default_factory=ServerMetrics)
    running_jobs: Callable[[ServerState], RunningJobs] | None = None
    failure: Exception | None = None

    def __post_init__(self) -> None:
        self.places = Places(self.settings.max_requests, self.metrics)
        self.threads = ThreadPoolExecutor(2 * self.settings.max_requests, "dragoman-request")
        self._model: ModelServer | None = None
        self._ended = False
        self.jobs = open_jobs(self.settings)
        self.running: RunningJobs | None = None
        self.on_failure: Callable[[], None] = lambda: None

    @property
    def is_ready(self) -> bool:
        """Whether the model has translated a sample and lives, and the server is not ending."""
        return self._model is not None and self._model.is_alive and not self.places.draining

    @property
    def model(self) -> ModelServer:
        """Raises ApiError as long as it is not there."""
        if self._model is None:
            raise ApiError(503, "The model is being loaded.", None, "not_ready", {"Retry-After": "5"})
        return self._model

    @property
    def model_names(self) -> tuple[str, ...]:
        """What it may be called."""
        return self.settings.served_model_names or (self.model.translator.name,)

    def start(self) -> None:
        """Read the model and let it translate a sample."""
        threading.Thread(target=self._start, name="dragoman-load", daemon=True).start()

    def end(self) -> None:
        """Nothing is asked of the model any more."""
        self._ended = True
        if self.jobs is not None:
            self.jobs.end()
        if self._model is not None:
            self._model.end()
        self.threads.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        try:
            model = self.open_model(self.metrics)
            try:
                translate_sample(model)
            except BaseException:
                model.end()
                raise
            if self._ended:
                model.end()
                return
            self._model = model
            if self.jobs is not None and self.running_jobs is not None:
                self.running = self.running_jobs(self)
                self.jobs.start(self.running, self.settings.jobs_at_once)
            _log.info("%s is ready.", model.translator.name)
        except Exception as error:
            self.failure = error
            self.on_failure()


def open_jobs(settings: ServerSettings) -> JobQueue | None:
    """Where jobs are kept, if anywhere. Raises OutputError."""
    if settings.jobs_url is not None:
        from dragoman.server.backend.postgres_jobs import PostgresJobs

        return PostgresJobs(settings.jobs_url)
    return None if settings.jobs_dir is None else DiskJobs(settings.jobs_dir)


def translate_sample(model: ModelServer) -> None:
    """A second of noise, all the way. Raises what stands in the way."""
    client, lane = model.client()
    try:
        noise = np.random.default_rng(0).normal(scale=0.01, size=SAMPLE_RATE).astype(np.float32)
        source = client.sources[0]
        targets = tuple(code for code in client.targets if code != source)[:1]
        client.decoder([client.request(Speech(noise, source), TranslateOptions(targets))])
    finally:
        lane.close()


def state_of(connection: HTTPConnection) -> ServerState:
    """The server's, of a request or a WebSocket."""
    state: ServerState = connection.app.state.server
    return state
