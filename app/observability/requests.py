"""Counts and times requests by route template. Plain ASGI, so that streams stay streams."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.edge.told import route_of
from app.observability.metrics import ApiMetrics

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestMetrics:
    """Feeds `ApiMetrics`; an answer that never began counts as 500."""

    def __init__(self, app: ASGIApp, metrics: ApiMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in _METHODS else "other"
        started = time.perf_counter()
        answered: tuple[int, float] | None = None

        async def send_and_look(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start" and answered is None:
                answered = message["status"], time.perf_counter() - started
                self._metrics.requests_in_flight.dec()
            await send(message)

        self._metrics.requests_in_flight.inc()
        try:
            await self._app(scope, receive, send_and_look)
        finally:
            if answered is None:
                self._metrics.requests_in_flight.dec()
            status, seconds = answered or (500, time.perf_counter() - started)
            route = route_of(scope)
            self._metrics.requests.labels(method, route, str(status)).inc()
            self._metrics.request_seconds.labels(method, route).observe(seconds)
