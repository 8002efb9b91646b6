"""What is refused before a body is read, how long a body may take and be, and the headers of every answer.

Decisions are made by `scope["path"]` alone, never by a URL that is put together with a header of the client's.
"""

from __future__ import annotations

import hmac
import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dragoman.server.errors_api import ApiError, api_error
from dragoman.server.metrics import ServerMetrics
from dragoman.server.settings import LOOPBACK, ServerSettings

OPEN_PATHS = frozenset({"/health", "/ready"})
"""They tell nothing, so anybody may ask, by any name: what looks after a server calls it by its address."""
GONE = 499
"""nginx's status, for the log, of a client that went away before it was answered."""
KEY_PROTOCOL = "openai-insecure-api-key."
"""A browser's WebSocket sends its key so, as a subprotocol."""
_PLACES = ("/v1/audio/", "/v1/realtime", "/v1/subtitles")
"""What takes one of the places for requests."""
MOST_FIELDS_BYTES = 1 << 20
"""Of a form's fields together, the file aside."""
_AROUND_FILE = 2 * MOST_FIELDS_BYTES
"""What stands around a file, with the heads of its parts."""
_MOST_JSON = 32 << 20
_MOST_DIGITS = 15
_SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; media-src 'self' blob:; worker-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
}
_log = logging.getLogger(__name__)


class Places:
    """This many requests at once."""

    def __init__(self, most: int, metrics: ServerMetrics) -> None:
        self._most, self._metrics, self.taken, self.draining = most, metrics, 0, False

    @contextmanager
    def one(self) -> Iterator[None]:
        """Raises ApiError when all are taken."""
        if self.draining:
            raise ApiError(503, "The server is ending.", None, "draining", {"Retry-After": "5"})
        if self.taken >= self._most:
            raise ApiError(429, "Too many requests at once; come back soon.", None, "busy", {"Retry-After": "5"})
        self.taken += 1
        self._metrics.active.set(self.taken)
        try:
            yield
        finally:
            self.taken -= 1
            self._metrics.active.set(self.taken)


class ClientStalled(Exception):
    """It does not read what it asked for."""


class Guards:
    """Plain ASGI, around everything. `page_paths` are the page's files: those and OPEN_PATHS need no key."""

    def __init__(
        self, app: ASGIApp, settings: ServerSettings, places: Places, metrics: ServerMetrics, page_paths: Sequence[str]
    ) -> None:
        self._app, self._settings, self._places, self._metrics = app, settings, places, metrics
        self._page = frozenset(page_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        cache = "no-cache" if scope["path"] in self._page else "no-store"
        answer = _Answer(scope, send, cache, self._settings.send_timeout_s)
        body = _Body(receive, self._settings, self._most_bytes(scope), self._too_large(scope))
        try:
            self._check(scope)
            if scope["type"] == "http":
                receive = body
            if _takes_place(scope):
                with self._places.one():
                    await self._app(scope, receive, answer)
            else:
                await self._app(scope, receive, answer)
        except ApiError as error:
            self._metrics.refused(error.code or str(error.status_code))
            await answer.refuse(error, receive)
        except ClientDisconnect:  # before its request was whole: nobody hears an answer
            pass
        except ClientStalled:  # uvicorn closes what is not completed
            _log.warning("%s does not read its answer.", answer.number)
        except Exception as error:
            if answer.has_begun:  # all that is left is to break off
                raise
            await answer.refuse(api_error(error), receive)
        finally:
            if body.broke_off:
                answer.status = GONE
            self._note(scope, answer)

    def _check(self, scope: Scope) -> None:
        """Raise ApiError for a stranger."""
        headers, path = Headers(scope=scope), str(scope["path"])
        is_page = path in self._page and scope.get("method") in ("GET", "HEAD")
        if path not in OPEN_PATHS:
            self._check_host(headers)
        if not is_page:
            self._check_origin(headers)
        if not (is_page or path in OPEN_PATHS):
            self._check_key(headers)
        length = headers.get("content-length", "0")
        is_number = length.isascii() and length.isdigit() and len(length) <= _MOST_DIGITS
        if not is_number or int(length) > self._most_bytes(scope):
            raise self._too_large(scope)

    def _most_bytes(self, scope: Scope) -> int:
        """Of a body: a file and what is around it, or JSON."""
        return self._settings.max_file_bytes + _AROUND_FILE if _takes_file(scope) else _MOST_JSON

    def _too_large(self, scope: Scope) -> ApiError:
        if _takes_file(scope):
            return file_too_large(self._settings.max_file_bytes)
        return ApiError(413, f"The body is larger than {_MOST_JSON >> 20} MiB; send less.", None, "body_too_large")

    def _check_host(self, headers: Headers) -> None:
        """A page that calls itself by a name which leads here is refused by that name (DNS rebinding)."""
        name = _split(f"//{headers.get('host', '')}")[1]
        allowed = self._settings.allowed_hosts or (LOOPBACK if self._settings.is_local else ())
        if allowed and name not in (*allowed, self._settings.host):
            raise ApiError(403, "This server is not called by that name; allow it with --allowed_hosts.", code="host")

    def _check_origin(self, headers: Headers) -> None:
        """Browsers let a page of anyone send forms and open WebSockets to this machine."""
        origin = headers.get("origin")
        if origin in self._settings.allowed_origins:
            return
        is_own = origin is None or _split(origin)[0] == headers.get("host")
        if not is_own or headers.get("sec-fetch-site") == "cross-site":
            raise ApiError(403, "A page of another origin asks; allow it with --allowed_origins.", code="origin")

    def _check_key(self, headers: Headers) -> None:
        key = self._settings.api_key
        if key is None:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            given = _key_of_protocols(headers.get("sec-websocket-protocol", ""))
        if not hmac.compare_digest(given.strip().encode("latin-1"), key.encode()):
            code = "invalid_api_key" if given else "missing_api_key"
            raise ApiError(
                401, "Give the server's key: Authorization: Bearer KEY.", None, code, {"WWW-Authenticate": "Bearer"}
            )

    def _note(self, scope: Scope, answer: _Answer) -> None:
        """A line without content: no query, no file's name."""
        route = getattr(scope.get("route"), "path", None) or ("page" if scope["path"] in self._page else "other")
        seconds = time.perf_counter() - answer.started
        self._metrics.request(route, answer.status, seconds)
        if route not in OPEN_PATHS:
            _log.info("%s %s %s %d %.2f s", answer.number, scope.get("method", "WS"), route, answer.status, seconds)


class _Answer:
    """`send`, with our headers; it knows what was sent."""

    def __init__(self, scope: Scope, send: Send, cache: str, timeout_s: float) -> None:
        self._scope, self._send, self._cache, self._timeout_s = scope, send, cache, timeout_s
        self.number = f"req_{uuid.uuid4().hex}"
        self.started, self.status, self.has_begun = time.perf_counter(), 0, False
        scope.setdefault("state", {})["request_id"] = self.number

    async def __call__(self, message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            self.status, self.has_begun = message["status"], True
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self.number
            headers.setdefault("Cache-Control", self._cache)
            for name, value in _SECURITY.items():
                headers[name] = value
        elif message["type"] == "websocket.accept":
            self.status, self.has_begun = 101, True
        elif message["type"] == "websocket.close" and not self.has_begun:
            self.status = 403  # uvicorn's answer to it
        try:
            with anyio.fail_after(self._timeout_s):
                await self._send(message)
        except TimeoutError:
            raise ClientStalled from None

    async def refuse(self, error: ApiError, receive: Receive) -> None:
        """Answer with the error, if nothing was answered yet."""
        if self.has_begun:
            return
        if self._scope["type"] == "http" or "websocket.http.response" in self._scope.get("extensions", {}):
            await error.response()(self._scope, receive, self)
        else:
            self.status = error.status_code
            await self._send({"type": "websocket.close", "code": 1008, "reason": error.detail})


class _Body:
    """`receive`, which counts and has a deadline until the body is there."""

    def __init__(self, receive: Receive, settings: ServerSettings, most_bytes: int, too_large: ApiError) -> None:
        self._receive, self._settings, self._most_bytes, self._too_large = receive, settings, most_bytes, too_large
        self._started, self._bytes, self._whole = time.perf_counter(), 0, False
        self.broke_off = False

    async def __call__(self) -> Message:
        if self._whole:
            return await self._receive()
        allowed = self._settings.body_grace_s + self._bytes / self._settings.min_body_rate
        try:
            with anyio.fail_after(self._started + allowed - time.perf_counter()):
                message = await self._receive()
        except TimeoutError:
            raise ApiError(
                408, "The body came too slowly.", None, "body_timeout", {"x-should-retry": "false"}
            ) from None
        self._bytes += len(message.get("body", b""))
        self.broke_off = message["type"] == "http.disconnect"
        self._whole = message["type"] != "http.request" or not message.get("more_body", False)
        if self._bytes > self._most_bytes:
            raise self._too_large
        return message


def file_too_large(most: int) -> ApiError:
    """A recording has more bytes than are allowed."""
    return ApiError(413, f"file: this server takes at most {most / 1e6:,g} MB.", "file", "file_too_large")


def _takes_place(scope: Scope) -> bool:
    """Also while a job's recording is sent, but not while somebody asks what has become of it."""
    return str(scope["path"]).startswith(_PLACES) or _takes_file(scope)


def _takes_file(scope: Scope) -> bool:
    path = str(scope["path"])
    return path.startswith("/v1/audio/") or (path == "/v1/jobs" and scope.get("method") == "POST")


def _split(address: str) -> tuple[str, str]:
    """Host with port, and host alone; empty where it is no address."""
    try:
        parts = urlsplit(address)
        return parts.netloc, parts.hostname or ""
    except ValueError:
        return "", ""


def _key_of_protocols(offered: str) -> str:
    names = [name.strip() for name in offered.split(",")]
    return next((name.removeprefix(KEY_PROTOCOL) for name in names if name.startswith(KEY_PROTOCOL)), "")
