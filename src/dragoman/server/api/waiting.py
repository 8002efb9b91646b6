"""What ends a request before its work is done."""

from __future__ import annotations

from fastapi import Request

from dragoman.server.errors_api import ApiError


async def client_gone(request: Request) -> None:
    """Until the client goes away; its body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def work_timeout(param: str, instead: str) -> ApiError:
    """The work took too long; a client that asks again would wait as long again."""
    headers = {"x-should-retry": "false"}
    return ApiError(408, f"The work took too long; {instead}.", param, "work_timeout", headers)
