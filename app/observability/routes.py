"""`/metrics`, for the operator's Prometheus; not a part of the OpenAPI document."""

from __future__ import annotations

import secrets
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Depends, Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from app.deps import get_principal, get_service, get_wiring

router = APIRouter()
_bearer = HTTPBearer(auto_error=False)


async def scraper(request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]) -> None:
    """Let the metrics token pass, without a look at the database, and a service token; raises Unauthorized or Forbidden."""
    wiring = get_wiring(request)
    token = wiring.settings.metrics_token
    if token and credentials is not None and secrets.compare_digest(credentials.credentials.encode(), token.encode()):
        return
    get_service(await anyio.to_thread.run_sync(get_principal, request, wiring, credentials))


@router.get("/metrics", include_in_schema=False, dependencies=[Depends(scraper)])
async def metrics(request: Request) -> Response:
    """Prometheus' text format. Waits for no request's thread, not even for its wiring: that all are busy is one of the things to tell."""
    told = get_wiring(request).metrics
    text = await anyio.to_thread.run_sync(generate_latest, told.registry, limiter=told.scrapes)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"})
