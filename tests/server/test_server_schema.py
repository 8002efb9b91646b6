"""Whatever the schema allows, and what it does not, is answered as the schema says, never by a failure of ours."""

from __future__ import annotations

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

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def no_model(_: ServerMetrics) -> ModelServer:
    raise AssertionError("the schema needs none")


schema = schemathesis.openapi.from_dict(create_app(ServerSettings(), no_model).openapi())


@pytest.mark.slow
@schema.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_schema_is_kept(case: Any, server: RunningServer) -> None:
    case.call_and_validate(base_url=server.url, checks=CHECKS)
