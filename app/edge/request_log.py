"""One log line per request (at DEBUG for a probe that is well), and an id under which its lines are found.

Plain ASGI, so that streams stay streams.
"""

from __future__ import annotations

import re
import time
from http import HTTPStatus

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.edge.told import ids_of, route_of
from app.ids import new_id

HEADER = "X-Request-ID"
# Nothing that could forge a log line, and no token of ours sent in the wrong header.
_TAKEN = re.compile(r"(?!pseg_)[A-Za-z0-9._-]{1,64}")

# Asked for by machines every few seconds: their lines would push the others out of logs that are kept by size.
_PROBES = ("/healthz", "/readyz", "/metrics")

log = structlog.get_logger(__name__)


class RequestLog:
    """Gives each request an id (the caller's `X-Request-ID` where it is a plain one) and logs what became of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        started = time.perf_counter()
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            finally:
                milliseconds = round((time.perf_counter() - started) * 1000, 1)
                method = scope["method"] if scope["method"].isascii() else "?"
                route = route_of(scope)
                tell = log.debug if route in _PROBES and status < HTTPStatus.BAD_REQUEST else log.info
                tell("request", method=method, route=route, status=status, milliseconds=milliseconds, **ids_of(scope))


def _request_id(scope: Scope) -> str:
    sent = Headers(scope=scope).get(HEADER, "")
    return sent if _TAKEN.fullmatch(sent) else new_id()
