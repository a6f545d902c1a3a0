"""Puts up the wall of `app.tenancy` around each request, by the user in its path."""

from __future__ import annotations

import re
from uuid import UUID

from starlette.types import ASGIApp, Receive, Scope, Send

from app.tenancy import acting_for

_USER = re.compile(r"/v1/users/([^/]+)")


class TenantScope:
    """Under `/v1/` a request reaches what belongs to the user in its path, and nothing where there is none."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        with acting_for(_user_of(scope["path"])):
            await self._app(scope, receive, send)


def _user_of(path: str) -> str | None:
    found = _USER.match(path)
    try:
        return None if found is None else str(UUID(found[1]))
    except ValueError:
        return None
