"""Callers of the application itself (ASGI) who leave before the answer has ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest
from starlette.types import Message, Receive


def receive_from(how: str) -> Receive:
    """What comes from the caller: nothing, or after a moment that they have hung up."""

    async def receive() -> Message:
        if how != "the caller hangs up":
            await anyio.sleep_forever()
        await anyio.sleep(0.05)
        return {"type": "http.disconnect"}

    return receive


def serve_once(how: str, serve: Callable[[], Awaitable[None]]) -> None:
    """Serve the answer to its end, which is an error where its source fails or nobody is there to send to."""
    if how in ("its source fails", "the caller is gone"):
        with pytest.raises((RuntimeError, OSError, ExceptionGroup)):
            anyio.run(serve)
    else:
        anyio.run(serve)
