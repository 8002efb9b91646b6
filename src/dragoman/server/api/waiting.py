"""What ends a request before its work is done."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from fastapi import Request

from dragoman.server.errors_api import ApiError


async def client_gone(request: Request) -> None:
    """Until the client goes away; its body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def is_done_first(
    work: asyncio.Future[Any], gone: Coroutine[Any, Any, None], timeout_s: float | None = None
) -> bool:
    """Whether the work was done before its client was `gone`; the work is left as it is. Raises TimeoutError."""
    leaving = asyncio.create_task(gone)
    try:
        done, _ = await asyncio.wait({work, leaving}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
    if not done:
        raise TimeoutError
    return work in done


def work_timeout(param: str, instead: str) -> ApiError:
    """The work took too long; a client that asks again would wait as long again."""
    headers = {"x-should-retry": "false"}
    return ApiError(408, f"The work took too long; {instead}.", param, "work_timeout", headers)
