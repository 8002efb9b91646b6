"""The server on many machines, by Ray Serve:

    serve run dragoman.server.ray:app model=small max_replicas=4 allow_no_key=true

Two deployments: `api`, the application with its roads and the page, which decodes recordings and makes batches of all
its clients' speech; and `model`, whose replicas, one on each GPU or share of the processors, do the batches: more of
them when more waits. A replica that dies fails nobody: its batch is given to another.
"""

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.handle import DeploymentHandle

from dragoman.errors import DragomanError
from dragoman.inference.options import LoadOptions
from dragoman.inference.translator import Translator
from dragoman.model.load import model_folder
from dragoman.server.app import create_app
from dragoman.server.backend.batching import BatchWorker, Kind
from dragoman.server.backend.translation import LocalModel, ModelFacts, ModelServer, OpenModel, WeightlessTranslator
from dragoman.server.backend.workers import WorkerLost, sendable
from dragoman.server.metrics import ServerMetrics
from dragoman.server.settings import ServerSettings

_TRIES = 3
_PAUSE_S = 0.5
_SPARE = 64
"""Calls beyond `max_requests` that reach a replica of the application, which refuses them in OpenAI's form."""
_OF_THE_MACHINE = ("host", "port", "wyoming_port", "workers", "jobs_dir", "header_timeout_s")
"""Settings of a server of its own, which Ray's proxy stands in for."""
_LISTS = ("allowed_origins", "allowed_hosts", "served_model_names")
"""What `serve run` gives with commas."""


class RayArguments(BaseModel):
    """What `serve run` and a config's `args` may say beside the fields of ServerSettings and LoadOptions.

    `model` is a built-in one, a folder, or a name on the Hugging Face hub; each of its replicas has `num_gpus` and
    `num_cpus`, and there are `min_replicas` to `max_replicas`. A replica of the application has `batches` on their way
    at once: as many as `max_replicas` keep all of those busy, fewer let who comes next wait less.
    """

    model_config = ConfigDict(extra="forbid")
    model: str = "small"
    num_gpus: float = Field(default=0, ge=0)
    num_cpus: float = Field(default=1, gt=0)
    min_replicas: int = Field(default=1, ge=1)
    max_replicas: int = Field(default=4, ge=1)
    batches: int = Field(default=4, ge=1)


def app(arguments: dict[str, Any]) -> serve.Application:
    """Ray's builder of the application. Raises DragomanError for an argument that there is not, or a wrong one."""
    given = dict(arguments)
    settings = _settings(given)
    load = _read(LoadOptions, {one.name: given.pop(one.name) for one in fields(LoadOptions) if one.name in given})
    wanted = _read(RayArguments, given)
    model = _MODEL.options(
        ray_actor_options={"num_gpus": wanted.num_gpus, "num_cpus": wanted.num_cpus},
        autoscaling_config={
            "min_replicas": wanted.min_replicas,
            "initial_replicas": wanted.min_replicas,
            "max_replicas": max(wanted.min_replicas, wanted.max_replicas),
            "target_ongoing_requests": 1,
        },
    ).bind(wanted.model, load, max(1, round(wanted.num_cpus)))
    return _API.options(
        max_ongoing_requests=settings.max_requests + _SPARE, graceful_shutdown_timeout_s=settings.drain_s
    ).bind(settings, model, wanted.batches)


def _settings(given: dict[str, Any]) -> ServerSettings:
    """Takes its fields out of what is given."""
    names = [one.name for one in fields(ServerSettings) if one.name not in _OF_THE_MACHINE]
    found = {name: given.pop(name) for name in names if name in given}
    found |= {name: found[name].split(",") for name in _LISTS if isinstance(found.get(name), str)}
    key = found.pop("api_key", None) or os.environ.get("DRAGOMAN_API_KEY") or None
    if key is None and found.get("allow_no_key") in (None, False, "false", "False"):
        raise DragomanError("Anybody could ask: give the variable DRAGOMAN_API_KEY, api_key=…, or allow_no_key=true.")
    return _read(ServerSettings, {**found, "host": "0.0.0.0", "api_key": key})


def _read(kind: type[Any], found: dict[str, Any]) -> Any:
    """Raises DragomanError, which names the first argument that is wrong."""
    try:
        return TypeAdapter(kind).validate_python(found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise DragomanError(f"There is no argument {name!r}; docs/deployment.md lists them.") from None
        raise DragomanError(f"{name}: {first['msg']}.") from None


class RayModel:
    """A replica of the model."""

    def __init__(self, model: str, load: LoadOptions, threads: int) -> None:
        torch.set_num_threads(threads)
        self._translator = Translator.from_pretrained(model_folder(model), load)
        self._model = LocalModel(self._translator)
        self._lock = threading.Lock()

    def facts(self) -> tuple[dict[str, Any], ModelFacts]:
        """What the application needs to know of it."""
        return WeightlessTranslator.seen(self._translator), ModelFacts.of(self._translator)

    def work(self, kind: Kind, payloads: Sequence[Any]) -> tuple[bool, Any]:
        """(True, a result for each payload), or (False, the error)."""
        try:
            with self._lock:
                return True, list(self._model(kind, payloads))
        except Exception as error:
            return False, sendable(error)


class RayReplicas(BatchWorker):
    """Does the work of a batch by whichever replica Ray finds."""

    def __init__(self, handle: DeploymentHandle, metrics: ServerMetrics) -> None:
        self._handle, self._metrics = handle, metrics

    def __call__(self, kind: Kind, payloads: Sequence[Any]) -> Sequence[Any]:
        for number in range(_TRIES):
            try:
                done, answer = self._handle.work.remote(kind, list(payloads)).result()
            except RayActorError:  # it died
                self._metrics.restarts.inc()
                time.sleep(number * _PAUSE_S)
                continue
            if not done:
                raise answer
            return list(answer)
        raise WorkerLost("The model's replicas ended one after the other over this request; send a shorter recording.")

    def close(self) -> None:
        """Ray ends them."""


def open_replicas(handle: DeploymentHandle, batches: int) -> OpenModel:
    """Those that a handle leads to, with this many batches at once."""

    def opened(metrics: ServerMetrics) -> ModelServer:
        seen, facts = handle.facts.remote().result()
        workers = [RayReplicas(handle, metrics) for _ in range(batches)]
        return ModelServer(WeightlessTranslator(seen), facts, workers, metrics)

    return opened


class RayServer:
    """The application, which Ray's proxies send requests to."""

    def __init__(self, settings: ServerSettings, handle: DeploymentHandle, batches: int) -> None:
        self._settings, self._open = settings, open_replicas(handle, batches)
        self._built: FastAPI | None = None

    def __serve_build_asgi_app__(self) -> FastAPI:
        self._built = create_app(self._settings, self._open)
        return self._built

    def check_health(self) -> None:
        """Ray starts a replica anew that raises."""
        failure = None if self._built is None else self._built.state.server.failure
        if failure is not None:
            raise failure


_MODEL = serve.deployment(name="model", max_ongoing_requests=2)(RayModel)
_API = serve.deployment(name="api")(serve.ingress()(RayServer))
