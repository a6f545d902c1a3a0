"""What some worker does for all users now and then, besides its jobs."""

from __future__ import annotations

import structlog

from app import auto_adaptation, ended_tokens, idempotency, queue
from app.clock import is_settled
from app.listed_photos import service as listed_photos
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


def shorten_segmentations(workshop: Workshop) -> None:
    """Let the segmentations that ended long ago list their photos no more."""
    if not is_settled():
        return  # just after the clock was set, what ended now may look old
    shortened = listed_photos.shorten_old(workshop.database, workshop.settings)
    if shortened:
        log.info("segmentations.shortened", jobs=shortened)


def forget_tokens(workshop: Workshop) -> None:
    """Remove the tokens that ended long ago."""
    if not is_settled():
        return  # just after the clock was set, tokens that are good may look ended
    forgotten = ended_tokens.forget(workshop.database, workshop.settings)
    if forgotten:
        log.info("tokens.forgotten", tokens=forgotten)
