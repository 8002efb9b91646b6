"""How a server is set up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dragoman.errors import DragomanError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ServerSettings:
    """Limits and doors of a server. Raises DragomanError where it would stand open to strangers."""

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = None
    allow_no_key: bool = False
    """Serve other machines without a key: somebody else guards the door."""
    allowed_origins: tuple[str, ...] = ()
    """Pages of other origins that may ask, as https://example.org."""
    allowed_hosts: tuple[str, ...] = ()
    """By which names it may be called; any, but on the own machine only that machine's own."""
    served_model_names: tuple[str, ...] = ()
    """What clients may call the model; its own name by default."""
    wyoming_port: int | None = None
    """Where Home Assistant's voice assistants are heard; nowhere by default."""
    workers: int = 0
    """Replicas of the model, a process each; 0: one in the server's own process."""
    jobs_dir: Path | None = None
    """Where jobs are kept; None: there are none."""
    jobs_url: str | None = None
    """A Postgres database in their place, which several servers can share."""
    jobs_at_once: int = 2
    max_file_bytes: int = 1_000_000_000
    max_duration_s: float = 4 * 3600.0
    max_live_s: float = 4 * 3600.0
    max_requests: int = 32
    """At once; who comes then is asked to come back."""
    request_timeout_s: float = 3600.0
    header_timeout_s: float = 15.0
    body_grace_s: float = 30.0
    """A body may take this long and a second for each `min_body_rate` bytes."""
    min_body_rate: int = 16_384
    send_timeout_s: float = 120.0
    """So long a client may not read its answer."""
    ping_s: float = 15.0
    """How often a silent stream says that it lives."""
    drain_s: float = 30.0
    """How long requests may go on when the server is to end."""

    def __post_init__(self) -> None:
        if not (self.is_local or self.api_key or self.allow_no_key):
            raise DragomanError(
                f"--host {self.host} lets other machines in; give --api_key (or DRAGOMAN_API_KEY), or --allow_no_key."
            )
        if self.wyoming_port is not None and not (self.is_local or self.allow_no_key):
            raise DragomanError("--wyoming_port: Wyoming knows no key; give --allow_no_key, or listen on 127.0.0.1.")
        if self.jobs_dir is not None and self.jobs_url is not None:
            raise DragomanError("Jobs are kept in one place: give --jobs_dir or --jobs_url.")
        if min(self.max_file_bytes, self.max_duration_s, self.max_requests, self.request_timeout_s) <= 0:
            raise DragomanError("Limits of the server are above 0; give larger ones.")
        for origin in self.allowed_origins:
            _check_spelling("--allowed_origins", origin, _origin(origin), "https://example.org")
        for name in self.allowed_hosts:
            _check_spelling("--allowed_hosts", name, _host(name), "speech.example.org")

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine can reach it."""
        return self.host in LOOPBACK


def _check_spelling(flag: str, given: str, right: str, example: str) -> None:
    """Raise DragomanError where what is given would never be met with in a request."""
    if given != right or "*" in given:
        raise DragomanError(f"{flag}: {given!r} names none; write {example if '*' in right else right or example}.")


def _origin(given: str) -> str:
    """As browsers write it; empty where it is none."""
    try:
        parts = urlsplit(given.strip().lower())
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme and parts.netloc else ""


def _host(given: str) -> str:
    """A name or address without scheme, port and brackets; empty where it is none."""
    address = given.strip().lower().rpartition("://")[2]
    if address.count(":") > 1 and not address.startswith("["):
        return address  # IPv6
    try:
        return urlsplit(f"//{address}").hostname or ""
    except ValueError:
        return ""
