"""The API's spans: requests and their SQL."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from app.db import Database
from app.tracing import trace_database

# Asked every few seconds by machines, and never interesting.
_UNTRACED = "healthz,readyz,metrics"


def trace_api(app: FastAPI, database: Database, provider: Any = None) -> None:
    """A span for each request of this application and for each of its SQL statements (their text, never their values)."""
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider, excluded_urls=_UNTRACED, exclude_spans=["receive", "send"])
    trace_database(database, provider)
