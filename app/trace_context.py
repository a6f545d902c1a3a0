"""Where a job comes from: the request's id and the W3C trace context, kept on the job's row.

Not in the Redis message: any ring may bring any job (`app.turns`), the sweeper rings again, and Redis may lose what it
was told. `opentelemetry-api` alone records nothing; `app.tracing` turns it on.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

REQUEST_ID = "request_id"
_propagator = TraceContextTextMapPropagator()


def current() -> dict[str, Any] | None:
    """The id of the request being served and the span being recorded; None where there is neither."""
    carrier: dict[str, Any] = {}
    _propagator.inject(carrier)
    request_id = structlog.contextvars.get_contextvars().get(REQUEST_ID)
    if request_id is not None:
        carrier[REQUEST_ID] = request_id
    return carrier or None


def restored(carrier: Mapping[str, Any] | None) -> Context:
    """The trace context that `current` wrote; an empty one where there was none."""
    return _propagator.extract(dict(carrier or {}), context=Context())


def add_trace_ids(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: the ids under which a line's span is found, while one is recorded."""
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event["trace_id"] = trace.format_trace_id(span.trace_id)
        event["span_id"] = trace.format_span_id(span.span_id)
    return event
