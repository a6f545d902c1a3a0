"""What some worker does for all users now and then, besides its jobs."""

from __future__ import annotations

import structlog

from app import auto_adaptation, idempotency, queue
from workers.workshop import Workshop

log = structlog.get_logger(__name__)


def start_adaptations(workshop: Workshop) -> int:
    """Queue the adaptations that users wish to start by themselves, and ring for them; returns how many."""
    due = auto_adaptation.queue_due(workshop.database, workshop.settings)
    for job in due:
        queue.enqueue(workshop.settings.redis_url, job.kind, job.job_id)
    return len(due)


def forget_keys(workshop: Workshop) -> None:
    """Remove the Idempotency-Keys that have expired."""
    with workshop.database.write() as session:
        forgotten = idempotency.sweep(session, workshop.settings)
    if forgotten:
        log.info("idempotency.keys_forgotten", keys=forgotten)
