"""Each request begins with empty context variables.

uvicorn runs the next request of a kept-alive connection in the context of the one before, when that one had to wait for
its body (`resume_reading` registers the socket anew from inside of the request's task). What that request had bound —
ids on its log lines, its span, the user whose rows may be reached — would go on into the request of somebody else
behind the same reverse proxy.
"""

from __future__ import annotations

import asyncio
from contextvars import Context

from starlette.types import ASGIApp, Receive, Scope, Send


class FreshContext:
    """The outermost layer of all: runs each request as a task of its own, in a context of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; a cancelled one is cancelled inside too."""
        if scope["type"] == "http":
            await asyncio.get_running_loop().create_task(self._serve(scope, receive, send), context=Context())
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
