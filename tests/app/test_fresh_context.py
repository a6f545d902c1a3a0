"""What one request binds is not there in the next one of the same connection; with a real server."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import structlog
import uvicorn
from fastapi import FastAPI, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.edge.fresh_context import FreshContext
from tests.conftest import free_port

BODY = b"x" * 3_000_000  # more than uvicorn takes in without making the client wait


@contextmanager
def served(app: ASGIApp) -> Iterator[httpx.Client]:
    """One kept-alive connection to this application on a real server."""
    server = uvicorn.Server(uvicorn.Config(app, port=free_port(), log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        with httpx.Client(base_url=f"http://127.0.0.1:{server.config.port}", trust_env=False, timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(30)


def binding_app() -> FastAPI:
    app = FastAPI()

    @app.post("/bind")
    async def bind(request: Request) -> int:
        structlog.contextvars.bind_contextvars(user_id="ann")
        received = 0
        async for chunk in request.stream():
            received += len(chunk)
            await asyncio.sleep(0)
        return received

    @app.get("/bound")
    async def bound() -> dict[str, object]:
        return structlog.contextvars.get_contextvars()

    return app


@pytest.mark.parametrize(("fresh", "left"), [(False, {"user_id": "ann"}), (True, {})], ids=["without", "with"])
def test_nothing_goes_on_into_the_next_request(fresh: bool, left: dict[str, str]) -> None:
    """Without the layer it does: should that ever change, the layer can go."""
    app = binding_app()
    with served(FreshContext(app) if fresh else app) as client:
        assert client.get("/bound").json() == {}
        assert client.post("/bind", content=BODY).json() == len(BODY)
        assert client.get("/bound").json() == left


def test_cancelling_and_errors_pass_through() -> None:
    cancelled = asyncio.Event()

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        if scope["path"] == "/fails":
            raise ValueError("inside")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def nothing(*_: object) -> dict[str, object]:
        return {}

    async def scenario() -> None:
        with pytest.raises(ValueError, match="inside"):
            await FreshContext(app)({"type": "http", "path": "/fails"}, nothing, nothing)
        waiting = asyncio.ensure_future(FreshContext(app)({"type": "http", "path": "/waits"}, nothing, nothing))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert cancelled.is_set()

    asyncio.run(scenario())
