"""The model in processes of its own. One that dies is started anew, and its batch is given again, once; one that hangs
is killed and started anew."""

from __future__ import annotations

import logging
import math
import multiprocessing
import pickle
import signal
import threading
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import torch

from dragoman.errors import DragomanError, ModelError
from dragoman.inference.translator import Translator
from dragoman.parallel import cores
from dragoman.server.backend.batching import BatchWorker, Kind
from dragoman.server.backend.translation import LocalModel, ModelFacts, ModelServer, OpenModel, WeightlessTranslator
from dragoman.server.metrics import ServerMetrics

Load = Callable[[], Translator]
_END_S = 5.0
_log = logging.getLogger(__name__)


class WorkerLost(DragomanError):
    """The process of a model ended over a request, twice, or did not end it."""


class ModelProcess(BatchWorker):
    """One replica; does the work of a batch, which may take `batch_timeout_s`. `load` is called in the process, so it
    can be pickled; `threads` are those of its CPU. Raises ModelError when the model cannot be loaded."""

    def __init__(self, load: Load, metrics: ServerMetrics, threads: int, batch_timeout_s: float = math.inf) -> None:
        self._load, self._metrics, self._threads = load, metrics, threads
        self._batch_timeout_s = None if math.isinf(batch_timeout_s) else batch_timeout_s
        self._lock = threading.Lock()
        self._closed = self._loaded = False
        self.translator, self.facts = self._start()

    def __call__(self, kind: Kind, payloads: Sequence[Any]) -> Sequence[Any]:
        for _ in range(2):
            try:
                self._connection.send((kind, list(payloads)))
                if not self._connection.poll(self._batch_timeout_s):
                    self._process.kill()  # and it is started anew before its next batch
                    raise WorkerLost(f"The model hung over this for {self._batch_timeout_s:g} s.")
                done, answer = self._connection.recv()
            except (EOFError, OSError):
                self._restart()
                continue
            if not done:
                raise answer
            return list(answer)
        raise WorkerLost("The model's process ended twice over this request; send a shorter recording.")

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._closed = True
            self._connection.close()
            self._process.join(_END_S)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()

    @property
    def is_alive(self) -> bool:
        """See BatchWorker."""
        return self._loaded and self._process.is_alive()

    def tend(self) -> bool:
        """See BatchWorker."""
        if self.is_alive:
            return True
        try:
            self._restart()
        except Exception as error:
            if not self._closed:
                _log.error("A process of the model cannot be started anew: %s", error)
            return False
        return True

    @property
    def pid(self) -> int:
        """The process's number."""
        assert self._process.pid is not None
        return self._process.pid

    def _restart(self) -> None:
        with self._lock:
            if self._closed:
                raise WorkerLost("The server is ending.")
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._metrics.restarts.inc()
            self._start()

    def _start(self) -> tuple[WeightlessTranslator, ModelFacts]:
        self._loaded = False
        processes = multiprocessing.get_context("spawn")  # CUDA forbids fork
        self._connection, theirs = processes.Pipe()
        self._process = processes.Process(
            target=_serve, args=(theirs, self._load, self._threads), name="dragoman-model", daemon=True
        )
        self._process.start()
        theirs.close()  # so that its end is seen
        try:
            done, answer = self._connection.recv()
        except (EOFError, OSError):
            raise ModelError("The model's process ended while it was loaded, perhaps because memory ran out.") from None
        if not done:
            raise answer
        seen, facts = answer
        self._loaded = True
        return WeightlessTranslator(seen), facts


def open_model(load: Load) -> OpenModel:
    """In this process."""

    def opened(metrics: ServerMetrics) -> ModelServer:
        translator = load()
        return ModelServer(translator, ModelFacts.of(translator), [LocalModel(translator)], metrics)

    return opened


def open_processes(loads: Sequence[Load], batch_timeout_s: float, threads: int | None = None) -> OpenModel:
    """A replica by each of `loads`, in a process of its own with so many `threads`, or its share of the cores."""
    share = threads or max(1, cores() // len(loads))

    def opened(metrics: ServerMetrics) -> ModelServer:
        workers = start_workers([partial(ModelProcess, load, metrics, share, batch_timeout_s) for load in loads])
        return ModelServer(workers[0].translator, workers[0].facts, workers, metrics)

    return opened


def replica_devices(device: str | None, count: int) -> list[str | None]:
    """For each replica: the machine's GPUs in turn, where it is not said which."""
    gpus = torch.cuda.device_count() if device in (None, "cuda") else 0
    return [f"cuda:{number % gpus}" if gpus else device for number in range(count)]


def start_workers(starts: Sequence[Callable[[], ModelProcess]]) -> list[ModelProcess]:
    """Loaded at the same time. Raises ModelError."""
    found: list[ModelProcess] = []
    errors: list[Exception] = []

    def begin(start: Callable[[], ModelProcess]) -> None:
        try:
            found.append(start())
        except Exception as error:
            errors.append(error)

    starting = [threading.Thread(target=begin, args=(start,)) for start in starts]
    for thread in starting:
        thread.start()
    for thread in starting:
        thread.join()
    if errors:
        for worker in found:
            worker.close()
        raise errors[0]
    return found


def _serve(connection: Connection, load: Load, threads: int) -> None:
    """The process: load the model, say what it is, work until the pipe is closed."""
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # they go to all; the server ends us when it is done
        signal.signal(number, signal.SIG_IGN)
    try:
        torch.set_num_threads(threads)
        translator = load()
        connection.send((True, (WeightlessTranslator.seen(translator), ModelFacts.of(translator))))
    except Exception as error:
        connection.send((False, sendable(error)))
        return
    model = LocalModel(translator)
    while True:
        try:
            kind, payloads = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer: tuple[bool, Any] = (True, list(model(kind, payloads)))
        except Exception as error:
            answer = (False, sendable(error))
        connection.send(answer)


def sendable(error: Exception) -> Exception:
    """The error, or one of its kind in words that another process can read."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
