"""The user's and the job's id on every log line of a request, and on its span."""

from __future__ import annotations

import structlog
from fastapi import Request
from opentelemetry import trace

from app.edge.told import ids_of


async def bind_ids(request: Request) -> None:
    """A dependency of every route. Async, so that what it binds is bound in the request's own context."""
    found = ids_of(request.scope)
    structlog.contextvars.bind_contextvars(**found)
    trace.get_current_span().set_attributes({f"personalseg.{name}": value for name, value in found.items()})
