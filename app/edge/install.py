"""Puts the layers around the application, in their order."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from app.edge.body_limit import BodyLimit
from app.edge.docs import install_docs
from app.edge.last_resort import LastResort
from app.edge.openapi import install_openapi
from app.edge.request_log import RequestLog
from app.edge.security_headers import SecurityHeaders
from app.edge.tenant import TenantScope
from app.settings import Settings

_CORS_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_CORS_REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "Last-Event-ID",
    "X-No-Redirect",
    "X-Request-ID",
)
_CORS_ANSWER_HEADERS = (
    "Content-Location",
    "ETag",
    "Location",
    "Retry-After",
    "X-Image-Id",
    "X-Model-Version",
    "X-Photos-Left-Out",
    "X-Request-ID",
)


def install_edge(app: FastAPI, settings: Settings) -> None:
    """Wrap the application; the layer added last is the outermost."""
    app.add_middleware(TenantScope)
    app.add_middleware(LastResort)
    app.add_middleware(BodyLimit, max_json_bytes=settings.max_json_bytes, max_file_bytes=settings.max_upload_file_bytes)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=_CORS_METHODS,
            allow_headers=_CORS_REQUEST_HEADERS,
            expose_headers=_CORS_ANSWER_HEADERS,
        )
    app.add_middleware(SecurityHeaders, hsts_seconds=settings.hsts_seconds)
    app.add_middleware(RequestLog)
    install_docs(app)
    install_openapi(app)
