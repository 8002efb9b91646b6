"""`/v1/realtime` and `/v1/realtime/translations`: speech in while it is spoken, events out.

Two coroutines share a session: one takes what the client sends, the other lets the model work in a thread and sends.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from contextlib import suppress

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from dragoman.errors import DragomanError
from dragoman.inference.streaming import LiveEvent
from dragoman.server.api.events import ClientEvent, RealtimeEvents, TranscriptionEvents, TranslationEvents, read_object
from dragoman.server.backend.batching import ClientGone
from dragoman.server.backend.live import COMMIT, END, LiveSession
from dragoman.server.errors_api import ApiError, api_error
from dragoman.server.guards import KEY_PROTOCOL
from dragoman.server.state import ServerState, state_of

router = APIRouter()
_IDLE_S = 300.0
"""So long a client may be silent; silence of its microphone is sent too."""


@router.websocket("/v1/realtime")
async def transcription(socket: WebSocket) -> None:
    """Transcripts, and translations into any number of languages."""
    await _serve(socket, TranscriptionEvents())


@router.websocket("/v1/realtime/translations")
async def translation(socket: WebSocket) -> None:
    """One translation, which only ever grows."""
    await _serve(socket, TranslationEvents())


async def _serve(socket: WebSocket, events: RealtimeEvents) -> None:
    state = state_of(socket)
    _ = state.model  # raises as long as there is none
    events.model = socket.query_params.get("model") or state.model_names[0]
    if events.model not in state.model_names:
        raise ApiError(404, f"There is no model {events.model!r} here.", "model", "model_not_found")
    if socket.query_params.get("intent") not in (None, "transcription"):
        raise ApiError(400, "intent: only transcription is served.", "intent", "invalid_value")
    offered = [name for name in socket.scope.get("subprotocols", ()) if not name.startswith(KEY_PROTOCOL)]
    await socket.accept("realtime" if "realtime" in offered else None)
    session = _Session(socket, state, events)
    try:
        await session.run()
    except WebSocketDisconnect:
        pass
    finally:
        session.close()
    with suppress(RuntimeError, WebSocketDisconnect):  # the client was first
        await socket.close()


class _Session:
    """One WebSocket."""

    def __init__(self, socket: WebSocket, state: ServerState, events: RealtimeEvents) -> None:
        self._socket, self._state, self._events = socket, state, events
        self._live: LiveSession | None = None
        self._sending: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """Until the client goes, or says that it is done."""
        await self._send(self._events.created())
        while True:
            receiving = asyncio.ensure_future(self._receive())
            waited = {receiving, self._sending} if self._sending else {receiving}
            done, _ = await asyncio.wait(waited, timeout=_IDLE_S, return_when=asyncio.FIRST_COMPLETED)
            if receiving not in done:
                receiving.cancel()
                if self._sending is not None and self._sending.done():
                    self._sending.result()
                return
            if not await self._take(receiving.result()):
                return

    async def _receive(self) -> str:
        """Raises WebSocketDisconnect. A binary message is no event."""
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        return message.get("text") or ""

    def close(self) -> None:
        """Drop what the model has still to do."""
        if self._live is not None:
            self._live.close()
        if self._sending is not None:
            self._sending.cancel()

    async def _take(self, text: str) -> bool:
        """What the client says; False: it is done."""
        number: object = None
        try:
            said = read_object(text)
            number = said.get("event_id")
            event = self._events.read(said)
            if event.kind == "update":
                self._update(event)
                await self._send([self._events.updated()])
            elif event.kind == "append":
                self._started().append(event.samples)
            elif event.kind == "commit":
                self._started().put(COMMIT)
            elif event.kind == "clear":
                self._restart()
            elif event.kind == "close":
                await self._drain()
                await self._send(self._events.closed())
                return False
        except (ApiError, DragomanError) as error:
            name = number if isinstance(number, str) else None
            await self._send([self._events.error(api_error(error).body["error"], name)])
        return True

    def _update(self, event: ClientEvent) -> None:
        if self._live is not None:
            raise ApiError(400, "session: it cannot change after the first audio.", "session", "session_started")
        self._events.update(event.session, self._state.model.translator)

    def _started(self) -> LiveSession:
        if self._live is None:
            work = self._events.work(self._state.model.translator)
            self._live = LiveSession(self._state.model, work, self._state.settings.max_live_s, self._state.metrics)
            self._sending = asyncio.create_task(self._follow(self._live))
        return self._live

    def _restart(self) -> None:
        """Drop what is open; time goes on."""
        if self._live is not None:
            self._live.clear()

    async def _drain(self) -> None:
        if self._live is not None and self._sending is not None:
            self._live.put(END)
            await self._sending

    async def _follow(self, live: LiveSession) -> None:
        """Let the model work, and send what comes of it."""
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[LiveEvent | BaseException | None]()

        def work() -> None:
            try:
                for found in live.events():
                    loop.call_soon_threadsafe(queue.put_nowait, found)
                loop.call_soon_threadsafe(queue.put_nowait, None)
            except BaseException as error:
                with suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(queue.put_nowait, error)

        self._state.threads.submit(work)
        while (found := await queue.get()) is not None:
            if isinstance(found, ClientGone):
                return
            if isinstance(found, BaseException):
                await self._send([self._events.error(api_error(found).body["error"], None)])  # type: ignore[arg-type]
                return
            await self._send(self._events.of(found))

    async def _send(self, events: Iterable[dict[str, object]]) -> None:
        async with self._lock:
            for event in events:
                await self._socket.send_text(json.dumps(event, ensure_ascii=False))
