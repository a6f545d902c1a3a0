"""Queries on adaptations; every one is of one user."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.tables import ACTIVE_STATUSES, Job, JobKind, JobStatus


def active(session: Session, user_id: str) -> Job | None:
    """The adaptation that is queued or running; the database allows one."""
    return session.execute(
        select(Job).where(Job.user_id == user_id, Job.kind == JobKind.ADAPTATION, Job.status.in_(ACTIVE_STATUSES))
    ).scalar_one_or_none()


def page(session: Session, user_id: str, kind: JobKind, *, before: str, limit: int) -> Sequence[Job]:
    """Up to `limit` jobs of a kind that are older than this id ("" for the newest), newest first."""
    statement = select(Job).where(Job.user_id == user_id, Job.kind == kind)
    if before:
        statement = statement.where(Job.id < before)
    return session.scalars(statement.order_by(Job.id.desc()).limit(limit)).all()


def gallery_seen_at(session: Session, user_id: str, job_id: str | None) -> datetime | None:
    """When the adaptation that counts began to read the gallery.

    That is the one that made the model in use (`job_id`); without a model, the newest one that was refused, because
    the same photos would be refused again.
    """
    statement = select(Job.started_at).where(Job.user_id == user_id, Job.kind == JobKind.ADAPTATION)
    if job_id is not None:
        return session.execute(statement.where(Job.id == job_id)).scalar_one_or_none()
    refused = statement.where(Job.status == JobStatus.REFUSED).order_by(Job.id.desc()).limit(1)
    return session.execute(refused).scalar_one_or_none()
