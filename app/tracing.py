"""OpenTelemetry traces: on when OTEL_EXPORTER_OTLP_ENDPOINT is set and the extra `otel` is installed.

The API's spans are the requests and their SQL; a worker's are the job, a child of the request that made it
(`app.trace_context`), and its stages. The usual OTEL_… variables apply.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

import structlog
from opentelemetry import trace

from app.db import Database

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_FLUSH_SECONDS = 3.0

log = structlog.get_logger(__name__)


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether the environment names a collector and does not switch tracing off."""
    return any(environment.get(name) for name in _ENDPOINTS) and environment.get("OTEL_SDK_DISABLED", "").lower() != "true"


def start_tracing(service: str) -> bool:
    """Send spans to the collector of the environment, as `service` unless OTEL_SERVICE_NAME says otherwise; once a process."""
    if not is_wanted(os.environ):
        return False
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        from app.observability.sampling import NoStrayQueries
    except ImportError:
        # Traces are for looking; without them the service still serves.
        log.error("tracing.extra_missing", advice="pip install 'personalseg[otel]', or unset OTEL_EXPORTER_OTLP_ENDPOINT")
        return False
    name = os.environ.get("OTEL_SERVICE_NAME", service)
    provider = TracerProvider(resource=Resource.create({"service.name": name}), shutdown_on_exit=False)
    provider.sampler = NoStrayQueries(provider.sampler)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return True


def stop_tracing() -> None:
    """Send what is left, for a few seconds at most: a collector that is away must not hold up the end of the process."""
    shutdown = getattr(trace.get_tracer_provider(), "shutdown", None)
    if shutdown is None:
        return
    sender = threading.Thread(target=shutdown, name="tracing-shutdown", daemon=True)
    sender.start()
    sender.join(_FLUSH_SECONDS)


def trace_database(database: Database, provider: Any = None) -> None:
    """A span for each SQL statement of this database."""
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor

    # It has not been declared for SQLAlchemy 2.1 yet, and works with it: tests/workers/test_tracing.py.
    SQLAlchemyInstrumentor().instrument(engine=database.engine, tracer_provider=provider, skip_dep_check=True)
