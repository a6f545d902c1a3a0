"""Turns what nobody expected into a problem document, inside the layers that add headers and the request id.

(Starlette's own last handler stands outside of every layer: its answers would lack both.)
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.problems import unexpected


class LastResort:
    """Catches every exception that the handlers leave; an answer that has begun is broken off."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def noticing(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, noticing)
        except Exception as error:
            if has_begun:
                raise
            await unexpected(Request(scope), error)(scope, receive, send)
