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
from dragoman.inference.translator import Translator
from dragoman.server.backend.batching import BatchScheduler
from dragoman.server.backend.job_runner import JobRunner
from dragoman.server.backend.job_store import JobStore
from dragoman.server.backend.translation import LocalModel, ModelFacts, ModelServer
from dragoman.server.backend.workers import ModelProcess, start_workers
from dragoman.server.errors_api import ApiError
from dragoman.server.guards import Places
from dragoman.server.metrics import ServerMetrics
from dragoman.server.settings import ServerSettings

_log = logging.getLogger(__name__)


@dataclass
class ServerState:
    """One server. `load` reads the model, in a thread, while the server answers already that it lives."""

    settings: ServerSettings
    load: Callable[[], Translator]
    metrics: ServerMetrics = field(default_factory=ServerMetrics)
    begin_jobs: Callable[[ServerState, JobStore], JobRunner] | None = None
    failure: Exception | None = None

    def __post_init__(self) -> None:
        self.places = Places(self.settings.max_requests, self.metrics)
        self.threads = ThreadPoolExecutor(2 * self.settings.max_requests, "dragoman-request")
        self._model: ModelServer | None = None
        self._ended = False
        self.workers: list[ModelProcess] = []
        folder = self.settings.jobs_dir
        self.job_store = None if folder is None else JobStore(folder)
        self.jobs: JobRunner | None = None
        self.on_failure: Callable[[], None] = lambda: None

    @property
    def is_ready(self) -> bool:
        """Whether the model has translated a sample, and the server is not ending."""
        return self._model is not None and not self.places.draining

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
            self._model.scheduler.end()
        for worker in self.workers:
            worker.close()
        self.threads.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        try:
            model = self._loaded()
            translate_sample(model)
            self._model = model
            if self.job_store is not None and self.begin_jobs is not None:
                self.jobs = self.begin_jobs(self, self.job_store)
            _log.info("%s is ready.", model.translator.name)
            if self._ended:
                self.end()
        except Exception as error:
            self.failure = error
            self.on_failure()

    def _loaded(self) -> ModelServer:
        """In this process, or as replicas in others."""
        if not self.settings.workers:
            translator = self.load()
            scheduler = BatchScheduler([LocalModel(translator)], translator.batch_size, self.metrics)
            return ModelServer(translator, ModelFacts.of(translator), scheduler)
        self.workers = start_workers(self.load, self.settings.workers, self.metrics)
        first = self.workers[0]
        scheduler = BatchScheduler(self.workers, first.translator.batch_size, self.metrics)
        return ModelServer(first.translator, first.facts, scheduler)


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
