"""Counts over all users' jobs, for the operator; no id leaves this file."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import jobs
from app.tables import Job


def jobs_by_state(session: Session) -> list[tuple[str, str, int]]:
    """(kind, status, count) of the jobs that are held."""
    rows = session.execute(select(Job.kind, Job.status, func.count()).group_by(Job.kind, Job.status))
    return [(kind, status, count) for kind, status, count in rows]


def waiting(session: Session, now: datetime) -> dict[str, tuple[int, datetime]]:
    """By kind: how many jobs a worker could take now, and since when the first of them has waited."""
    since = func.min(func.coalesce(Job.served_at, Job.created_at, type_=Job.created_at.type))
    rows = session.execute(select(Job.kind, func.count(), since).where(jobs.claimable(now)).group_by(Job.kind))
    return {kind: (count, first) for kind, count, first in rows}


def abandoned(session: Session, now: datetime) -> dict[str, int]:
    """By kind: how many running jobs whose worker has been silent for longer than its lease."""
    rows = session.execute(select(Job.kind, func.count()).where(jobs.expired(now)).group_by(Job.kind))
    return dict(rows.all())
