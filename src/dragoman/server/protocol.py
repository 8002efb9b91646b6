"""HTTP/1.1 as uvicorn speaks it, with a deadline for the head of a request, which uvicorn does not have."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class DeadlineH11(H11Protocol):
    """A connection that has not sent a whole head after this many seconds is closed."""

    header_timeout_s: ClassVar[float]
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Uvicorn's, as all of these."""
        super().connection_made(transport)
        self._expect_head()

    def on_response_complete(self) -> None:
        """The next head is awaited."""
        self._expect_head()  # first: it may be there already
        super().on_response_complete()

    def handle_events(self) -> None:
        """A head is there when a cycle has begun."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._forget()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """The connection becomes another's."""
        self._forget()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._forget()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        self._forget()
        self._deadline = self.loop.call_later(self.header_timeout_s, self._late)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


def with_deadline(header_timeout_s: float) -> type[DeadlineH11]:
    """The protocol with that deadline."""
    return type("Http", (DeadlineH11,), {"header_timeout_s": header_timeout_s})
