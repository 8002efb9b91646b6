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
from dragoman.inference.recordings import Speech, TranslateOptions
from dragoman.inference.translator import Translator
from dragoman.server.backend.batching import BatchScheduler
from dragoman.server.backend.translation import LocalModel, ModelServer
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
    failure: Exception | None = None

    def __post_init__(self) -> None:
        self.places = Places(self.settings.max_requests, self.metrics)
        self.threads = ThreadPoolExecutor(2 * self.settings.max_requests, "dragoman-request")
        self._model: ModelServer | None = None
        self._ended = False

    @property
    def is_ready(self) -> bool:
        """Whether the model has translated a sample, and the server is not ending."""
        return self._model is not None and not self.places.draining

    @property
    def model(self) -> ModelServer:
        """Raises ApiError as long as it is not there."""
        if self._model is None:
            reason = "The model cannot be loaded; the log says why." if self.failure else "The model is being loaded."
            raise ApiError(503, reason, None, "not_ready", {"Retry-After": "5"})
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
        if self._model is not None:
            self._model.scheduler.end()
        self.threads.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        try:
            translator = self.load()
            scheduler = BatchScheduler([LocalModel(translator)], translator.batch_size, self.metrics)
            model = ModelServer(translator, scheduler)
            translate_sample(model)
            if self._ended:
                scheduler.end()
            else:
                self._model = model
                _log.info("%s is ready.", translator.name)
        except Exception as error:
            self.failure = error
            _log.error("The model cannot be loaded: %s", error)


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
