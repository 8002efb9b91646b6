"""Whatever the schema allows, and what it does not, is answered as the schema says, never by a failure of ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("schemathesis", reason="the extra [dev] is not installed")

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from dragoman.server.app import create_app
from dragoman.server.backend.translation import ModelServer
from dragoman.server.metrics import ServerMetrics
from dragoman.server.settings import ServerSettings

if TYPE_CHECKING:
    from running_server import RunningServer

    from dragoman import Translator

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def no_model(_: ServerMetrics) -> ModelServer:
    raise AssertionError("the schema needs none")


schema = schemathesis.openapi.from_dict(create_app(ServerSettings(), no_model).openapi())


@pytest.fixture(scope="module")
def with_jobs(random_translator: Translator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    from running_server import RunningServer

    folder = tmp_path_factory.mktemp("jobs")
    running = RunningServer(lambda: random_translator, ServerSettings(port=0, max_duration_s=60.0, jobs_dir=folder))
    yield running
    running.stop()


@pytest.mark.slow
@schema.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_schema_is_kept(case: Any, with_jobs: RunningServer) -> None:
    case.call_and_validate(base_url=with_jobs.url, checks=CHECKS)
