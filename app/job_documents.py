"""A job as the API shows it: the document, its headers, waiting for its end."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import anyio
import anyio.to_thread
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import idempotency, jobs, turns
from app.db import Database, once
from app.deps import Wiring
from app.errors import NotFound
from app.tables import ACTIVE_STATUSES, Job, JobKind, JobStatus

_SHORTEST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 0.5
_PAUSE_GROWTH = 1.25
_RETRY_AFTER_SECONDS = {JobStatus.QUEUED.value: 2, JobStatus.RUNNING.value: 1}


class Span(BaseModel):
    """One stage of a job's life."""

    stage: str
    started_at: datetime
    finished_at: datetime | None


class JobLinks(BaseModel):
    """Where to go from here."""

    self: str
    events: str
    cancel: str


class JobDocument(BaseModel):
    """A job, as it stands."""

    id: str
    kind: JobKind
    status: JobStatus
    queue_position: int | None = Field(description="1 = next; only while queued.")
    stage: str | None
    step: int
    steps: int
    percent: float = Field(description="0–100; never falls.")
    eta_seconds: float | None
    attempt: int
    cancel_requested: bool
    base: str
    model_version: int | None = Field(description="The version that the job made or used; 0 is the base.")
    error_code: str | None
    error_reason: str | None
    report: dict[str, Any] | None
    timeline: list[Span]
    revision: int = Field(description="Grows with every change; the id of the event of that state.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    links: JobLinks

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status not in ACTIVE_STATUSES


def job_url(job: Job) -> str:
    """Where the job is polled."""
    return f"/v1/users/{job.user_id}/{job.kind}s/{job.id}"


_SHOWN_COLUMNS = (
    *("id", "kind", "status", "stage", "step", "steps", "percent", "eta_seconds", "attempt", "cancel_requested"),
    *("base", "model_version", "error_code", "error_reason", "report", "timeline", "revision"),
    *("created_at", "started_at", "finished_at"),
)


def job_fields(job: Job, places: turns.Places) -> dict[str, Any]:
    """What every kind of job shows; `places` of its user and kind."""
    url = job_url(job)
    return {
        **{name: getattr(job, name) for name in _SHOWN_COLUMNS},
        "queue_position": places.of(job),
        "links": {"self": url, "events": f"{url}/events", "cancel": f"{url}/cancel"},
    }


def find_job(session: Session, user_id: str, kind: JobKind, job_id: str) -> Job:
    """The user's job of this kind; raises NotFound."""
    job = session.execute(select(Job).where(Job.user_id == user_id, Job.kind == kind, Job.id == job_id)).scalar_one_or_none()
    if job is None:
        raise NotFound("job_not_found", f"This user has no such {kind}.")
    return job


def job_headers(document: JobDocument) -> dict[str, str]:
    """`Location` of the job, and `Retry-After` while it is not done."""
    headers = {"Location": document.links.self, "Cache-Control": "no-store"}
    seconds = _RETRY_AFTER_SECONDS.get(document.status.value)
    return headers if seconds is None else headers | {"Retry-After": str(seconds)}


def has_ended(database: Database, user_id: str, job_id: str) -> bool:
    """Whether nothing more will happen to the job, or it is gone; asks for its status alone."""
    with database.read() as session:
        status = session.execute(select(Job.status).where(Job.user_id == user_id, Job.id == job_id)).scalar_one_or_none()
    return status not in ACTIVE_STATUSES


async def wait_for_end(database: Database, user_id: str, job_id: str, seconds: float) -> None:
    """Return as soon as the job has ended, or after `seconds`; asks less and less often."""
    deadline, pause = time.monotonic() + seconds, _SHORTEST_PAUSE_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        if await anyio.to_thread.run_sync(has_ended, database, user_id, job_id):
            return
        await anyio.sleep(min(pause, left))
        pause = min(pause * _PAUSE_GROWTH, _LONGEST_PAUSE_SECONDS)


def cancel_job(wiring: Wiring, user_id: str, kind: JobKind, job_id: str, key: str | None) -> None:
    """Ask the job to stop; an ended one stays as it is. Raises NotFound, IdempotencyConflict for a key of another job."""
    slot = idempotency.slot(user_id, f"cancel_{kind}", key, job_id)

    def attempt() -> None:
        with wiring.database.write() as session:
            job = find_job(session, user_id, kind, job_id)
            if idempotency.recall(session, wiring.settings, slot) is None:
                jobs.request_cancel(session, job)
                idempotency.remember(session, wiring.settings, slot, {"job_id": job_id}, user_id=user_id)

    once(attempt)
