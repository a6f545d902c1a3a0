"""Queries on adaptations; every one is of one user."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.adaptations.short_reports import with_short_reports
from app.tables import ACTIVE_STATUSES, Job, JobKind


def active(session: Session, user_id: str) -> Job | None:
    """The adaptation that is queued or running; the database allows one."""
    return session.execute(
        select(Job).where(Job.user_id == user_id, Job.kind == JobKind.ADAPTATION, Job.status.in_(ACTIVE_STATUSES))
    ).scalar_one_or_none()


def page(session: Session, user_id: str, kind: JobKind, *, before: str, limit: int) -> Sequence[Job]:
    """Up to `limit` jobs of a kind that are older than this id ("" for the newest), newest first; their reports without `groups`."""
    statement = select(Job).where(Job.user_id == user_id, Job.kind == kind)
    if before:
        statement = statement.where(Job.id < before)
    return with_short_reports(session, statement.order_by(Job.id.desc()).limit(limit), Job)
