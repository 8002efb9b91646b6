"""The model in processes of its own. One that dies is started anew, and its batch is given again, once."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch

from dragoman.errors import DragomanError, ModelError
from dragoman.inference.translator import Translator
from dragoman.parallel import cores
from dragoman.server.backend.batching import Kind
from dragoman.server.backend.translation import LocalModel, ModelFacts, ModelServer, OpenModel, WeightlessTranslator
from dragoman.server.metrics import ServerMetrics

Load = Callable[[], Translator]
_END_S = 5.0


class WorkerLost(DragomanError):
    """The process of a model ended over a request, twice."""


class ModelProcess:
    """One replica; does the work of a batch. `load` is called in the process, so it can be pickled; `threads` are those
    of its CPU. Raises ModelError when the model cannot be loaded."""

    def __init__(self, load: Load, metrics: ServerMetrics, threads: int) -> None:
        self._load, self._metrics, self._threads = load, metrics, threads
        self._lock = threading.Lock()
        self._closed = False
        self.translator, self.facts = self._start()

    def __call__(self, kind: Kind, payloads: Sequence[Any]) -> Sequence[Any]:
        for _ in range(2):
            try:
                self._connection.send((kind, list(payloads)))
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
        return WeightlessTranslator(seen), facts


def open_model(load: Load, replicas: int = 0) -> OpenModel:
    """In this process, or as this many replicas in processes of their own."""

    def opened(metrics: ServerMetrics) -> ModelServer:
        if not replicas:
            translator = load()
            return ModelServer(translator, ModelFacts.of(translator), [LocalModel(translator)], metrics)
        workers = start_workers(load, replicas, metrics)
        return ModelServer(workers[0].translator, workers[0].facts, workers, metrics)

    return opened


def start_workers(load: Load, count: int, metrics: ServerMetrics) -> list[ModelProcess]:
    """This many replicas, loaded at the same time. Raises ModelError."""
    threads = max(1, cores() // count)
    found: list[ModelProcess] = []
    errors: list[Exception] = []

    def begin() -> None:
        try:
            found.append(ModelProcess(load, metrics, threads))
        except Exception as error:
            errors.append(error)

    starting = [threading.Thread(target=begin) for _ in range(count)]
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
