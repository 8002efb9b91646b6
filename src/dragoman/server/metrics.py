"""Numbers for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_ROWS = (1, 2, 4, 8, 16, 32, 64)


class ServerMetrics:
    """What a server counts; each server its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("dragoman_requests", "Answers.", ["route", "status"], registry=registry)
        self._seconds = Histogram(
            "dragoman_request_seconds",
            "From the first byte to the last.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.active = Gauge("dragoman_requests_active", "Requests that hold a place.", registry=registry)
        self._refused = Counter("dragoman_refused", "Refused before the body was read.", ["code"], registry=registry)
        self._waiting = Gauge("dragoman_segments_waiting", "Stretches of speech that wait.", registry=registry)
        self._rows = Histogram("dragoman_batch_rows", "Stretches in a batch.", buckets=_ROWS, registry=registry)
        self._batch_s = Histogram("dragoman_batch_seconds", "A batch takes.", buckets=_SECONDS, registry=registry)
        self.audio_s = Counter("dragoman_audio_seconds", "Audio that was decoded.", registry=registry)
        self.segments = Counter("dragoman_segments", "Segments that were answered.", registry=registry)
        self.restarts = Counter("dragoman_worker_restarts", "Processes of the model that died.", registry=registry)

    def request(self, route: str, status: int, seconds: float) -> None:
        """One answer."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def refused(self, code: str) -> None:
        """One refusal."""
        self._refused.labels(code).inc()

    def batch(self, rows: int, seconds: float) -> None:
        """One batch."""
        self._rows.observe(rows)
        self._batch_s.observe(seconds)

    def waiting(self, count: int) -> None:
        """This many stretches wait now."""
        self._waiting.set(count)

    def text(self) -> bytes:
        """As Prometheus reads them."""
        return generate_latest(self._registry)
