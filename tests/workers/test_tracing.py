"""One trace from the request that makes a job to the worker's stages, through the real API, Redis and worker code."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from app import auth, tracing
from app.main import create_app
from app.observability.sampling import NoStrayQueries
from app.observability.traced_api import trace_api
from app.settings import Settings
from app.tables import JobKind, RegisteredBase
from tests.workers.conftest import BASE, add_photo, add_segmentation, photograph
from workers import observed as observed_room
from workers.broker import make_broker
from workers.segmentation import segment_photos
from workers.tasks import run, run_next
from workers.workshop import Workshop

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """The spans of this test, of a provider of its own (the process's can be set only once)."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.sampler = NoStrayQueries(provider.sampler)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(observed_room, "tracer", provider.get_tracer("test"))
    yield exporter
    SQLAlchemyInstrumentor().uninstrument()
    provider.shutdown()


def api_client(workshop: Workshop) -> tuple[TestClient, str]:
    """The traced API on the worker's own database, and a service token."""
    app = create_app(workshop.settings)
    trace_api(app, app.state.wiring.database, trace.get_tracer_provider())
    with workshop.database.write() as session:
        _, token = auth.create_token(session, None)
        session.add(RegisteredBase(name=BASE, title="b", classes=[], licence="l", scores={}, is_default=True))
    return TestClient(app), token


def ended(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def test_a_jobs_span_is_a_child_of_its_request(workshop: Workshop, user_id: str, spans: InMemorySpanExporter) -> None:
    add_photo(workshop, user_id, photograph("chelsea.png"))
    client, token = api_client(workshop)
    with client:
        headers = {"Authorization": f"Bearer {token}"}
        wish = {"image_ids": "all", "adapt": "never", "model": "base"}
        answer = client.post(f"/v1/users/{user_id}/segmentations", json=wish, headers=headers)
        assert answer.status_code == 202, answer.text
        client.get("/readyz")
        job_id = answer.json()["id"]
        assert make_broker(workshop.settings.redis_url).client.llen("dramatiq:segmentation") == 1
        assert run_next(workshop, JobKind.SEGMENTATION, segment_photos) == job_id

    found = ended(spans)
    request = found["POST /v1/users/{user_id}/segmentations"]
    job = found["job segmentation"]
    assert request.context and job.context and job.parent
    assert job.context.trace_id == request.context.trace_id
    assert (request.kind, job.kind) == (SpanKind.SERVER, SpanKind.CONSUMER)
    assert job.attributes is not None and request.attributes is not None
    assert job.attributes["personalseg.outcome"] == "succeeded"
    assert job.attributes["personalseg.job_id"] == job_id
    assert job.attributes["personalseg.request_id"] == answer.headers["x-request-id"]
    assert request.attributes["personalseg.user_id"] == user_id
    for stage in ("loading", "segmenting"):
        assert found[stage].parent is not None and found[stage].parent.span_id == job.context.span_id
    queries = [span for span in spans.get_finished_spans() if span.kind == SpanKind.CLIENT]
    assert any(span.context and span.context.trace_id == request.context.trace_id for span in queries)
    # No token, and no SQL of the readiness check, which is not traced.
    assert token not in str([span.to_json() for span in spans.get_finished_spans()])
    assert all(span.parent is not None for span in queries)
    assert "GET /readyz" not in found
    assert [span.name for span in spans.get_finished_spans() if span.kind == SpanKind.SERVER] == [request.name]


def test_a_job_that_nobody_traced_is_a_trace_of_its_own(workshop: Workshop, user_id: str, spans: InMemorySpanExporter) -> None:
    image = add_photo(workshop, user_id, photograph("chelsea.png"))
    run(workshop, add_segmentation(workshop, user_id, [image], model=7), segment_photos)
    job = ended(spans)["job segmentation"]
    assert job.parent is None
    assert not job.status.is_ok and job.status.description == "unknown_model_version"


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
    ],
)
def test_it_is_off_unless_a_collector_is_named(environment: dict[str, str], wanted: bool) -> None:
    assert tracing.is_wanted(environment) is wanted


def test_spans_reach_a_collector(tmp_path: Path) -> None:
    """The real exporter, over HTTP, from a process of its own; at its end nothing is left behind."""
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    program = (
        "from app import tracing; from opentelemetry import trace;"
        "assert tracing.start_tracing('personalseg-test');"
        "trace.get_tracer('t').start_span('hello-collector').end();"
        "tracing.stop_tracing()"
    )
    environment = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
    }
    try:
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stderr
    ((path, body),) = received
    assert path == "/v1/traces"
    assert b"hello-collector" in body and b"personalseg-test" in body


def test_a_collector_that_is_away_does_not_hold_up_the_end(settings: Settings) -> None:
    program = (
        "from app import tracing; from opentelemetry import trace; import time;"
        "tracing.start_tracing('personalseg-test'); trace.get_tracer('t').start_span('lost').end();"
        "started = time.monotonic(); tracing.stop_tracing(); print(time.monotonic() - started)"
    )
    # An address that swallows packets: a connection is neither made nor refused.
    environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://10.255.255.1:4318"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 60
