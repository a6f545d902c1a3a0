"""What is said of a job while it is done: the ids on its log lines, its span, its metrics. None of it may fail the job."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from structlog.contextvars import bound_contextvars

from app import jobs, trace_context
from app.tables import Job, JobKind, JobStatus
from workers.lease import HeldJob
from workers.workshop import Workshop

_NANOSECONDS = 1_000_000_000

log = structlog.get_logger(__name__)
tracer = trace.get_tracer("personalseg.workers")


@dataclass(frozen=True)
class Origin:
    """Whose job this is, and which request made it."""

    kind: str
    user_id: str
    trace: dict[str, Any]


@contextmanager
def observed(workshop: Workshop, held: HeldJob) -> Iterator[None]:
    """Around the work on a claimed job, until its row is closed or given back."""
    origin = _origin(workshop, held)
    ids = {"job_id": held.job_id, "user_id": origin.user_id, "kind": origin.kind}
    if trace_context.REQUEST_ID in origin.trace:
        ids["request_id"] = origin.trace[trace_context.REQUEST_ID]
    workshop.metrics.attempts.labels(origin.kind).inc()
    started = time.monotonic()
    with (
        bound_contextvars(**ids),
        workshop.metrics.running.labels(origin.kind).track_inprogress(),
        tracer.start_as_current_span(
            f"job {origin.kind}",
            context=trace_context.restored(origin.trace),
            kind=SpanKind.CONSUMER,
            attributes={f"personalseg.{name}": value for name, value in ids.items()},
        ) as span,
    ):
        try:
            yield
        finally:
            _tell(workshop, held, origin, span, time.monotonic() - started)


def _tell(workshop: Workshop, held: HeldJob, origin: Origin, span: Span, seconds: float) -> None:
    end = time.time_ns()
    begun = [*held.stages_begun, ("", end)]
    stages = [(name, since, until) for (name, since), (_, until) in pairwise(begun)]
    outcome, row = _outcome(workshop, held)
    workshop.metrics.job_left(
        origin.kind, outcome, seconds, [(name, max(0, until - since) / _NANOSECONDS) for name, since, until in stages]
    )
    span.set_attribute("personalseg.outcome", outcome)
    if row is not None and outcome == JobStatus.FAILED:
        workshop.metrics.failures.labels(origin.kind, row.error_code or "").inc()
        span.set_status(StatusCode.ERROR, row.error_code)
    if row is not None and origin.kind == JobKind.ADAPTATION:
        workshop.metrics.judged(row.report)
    for name, since, until in stages:
        tracer.start_span(name, start_time=since).end(until)


def _origin(workshop: Workshop, held: HeldJob) -> Origin:
    try:
        with workshop.database.read() as session:
            kind, user_id, carrier = session.execute(select(Job.kind, Job.user_id, Job.trace).where(Job.id == held.job_id)).one()
    except SQLAlchemyError as error:
        log.warning("job.origin_not_read", job_id=held.job_id, error=str(error))
        return Origin("unknown", "unknown", {})
    return Origin(kind, user_id, carrier or {})


def _outcome(workshop: Workshop, held: HeldJob) -> tuple[str, Job | None]:
    """What became of the job here; with its row where it has ended."""
    try:
        with workshop.database.read() as session:
            row = session.get(Job, held.job_id)
    except SQLAlchemyError as error:
        log.warning("job.outcome_not_read", error=str(error))
        return "unknown", None
    if row is None:
        return "erased", None
    if row.lease_token != held.lease.token or row.status == JobStatus.RUNNING:
        return "lost", None
    if row.status in jobs.ENDED_STATUSES:
        return row.status, row
    return ("handed_back" if workshop.stopping.is_set() else "yielded"), None
