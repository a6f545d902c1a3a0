"""No route reads more of a body than it can need: JSON is small, one photo has its bound, a batch bounds its files itself."""

from __future__ import annotations

import re

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.problems import problem

_BATCH = re.compile(r"/v1/users/[^/]+/images/?")
_ONE_PHOTO = re.compile(r"/v1/users/[^/]+/segment/?")
# What a multipart body has around its one file.
_AROUND_BYTES = 64 * 1024


class BodyLimit:
    """Answers 413 when a body announces too many bytes, or turns out to have them."""

    def __init__(self, app: ASGIApp, *, max_json_bytes: int, max_file_bytes: int) -> None:
        self._app = app
        self._max_json_bytes = max_json_bytes
        self._max_file_bytes = max_file_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        limit = self._limit(scope)
        if limit is None:
            await self._app(scope, receive, send)
            return
        if _announced(scope) > limit:
            await problem(413, "body_too_large", "Too large", _detail(limit), headers={"Connection": "close"})(scope, receive, send)
            return
        await self._app(scope, _counting(receive, limit), send)

    def _limit(self, scope: Scope) -> int | None:
        if scope["type"] != "http" or (scope["method"] == "POST" and _BATCH.fullmatch(scope["path"])):
            return None
        if scope["method"] == "POST" and _ONE_PHOTO.fullmatch(scope["path"]):
            # Twice, so that a photo somewhat over its bound is read and gets its own code.
            return 2 * self._max_file_bytes + _AROUND_BYTES
        return self._max_json_bytes


def _announced(scope: Scope) -> int:
    text = Headers(scope=scope).get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _counting(receive: Receive, limit: int) -> Receive:
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise HTTPException(413, _detail(limit))
        return message

    return counted


def _detail(limit: int) -> str:
    return f"The body of this request may have at most {limit} bytes."
