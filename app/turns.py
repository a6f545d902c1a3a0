"""Whose turn it is. A ring says only that there is work: the worker it wakes takes the job whose turn it is.

Users wait in one line per kind of job. First comes who has fewest jobs running, then who has waited longest: since their
last turn ended, or since their job came where that is later. So a user's thousand jobs delay another's first by the one
turn that is going on, and nobody starves, because every wait only grows. Among one user's jobs the oldest goes first;
one that gave way (`jobs.yield_turn`) waits from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, case, func, select
from sqlalchemy.orm import Session, aliased

from app.clock import utc_now
from app.jobs import claimable, expired
from app.tables import Job, JobKind, JobStatus


@dataclass(frozen=True, order=True)
class UserInLine:
    """One user with claimable jobs; smaller comes first."""

    running: int
    waits_since: datetime
    user_id: str
    waiting: int


def next_job(session: Session, kind: JobKind) -> str | None:
    """The job that a free worker should take now; None where nothing waits. Claiming it can still fail: then ask again."""
    now = utc_now()
    users = _line(session, kind, now)
    if not users:
        return None
    of_user = select(Job.id).where(Job.user_id == min(users).user_id, Job.kind == kind, claimable(now))
    return session.execute(of_user.order_by(_waits_since(), Job.id).limit(1)).scalar_one_or_none()


def somebody_waits(session: Session, kind: JobKind) -> bool:
    """Whether there is a job that a worker could take at once."""
    return session.execute(select(Job.id).where(Job.kind == kind, claimable(utc_now())).limit(1)).first() is not None


def queue_position(session: Session, job: Job) -> int | None:
    """1 for the next job of its kind, and so on, in the order of `next_job`; None when the job is not queued.

    Jobs that come later can go first: those of users who have waited longer, or who have fewer running.
    """
    if job.status != JobStatus.QUEUED:
        return None
    now = utc_now()
    kind = JobKind(job.kind)
    place = 1 + _own_ahead(session, job, kind, now)
    others = [user for user in _line(session, kind, now) if user.user_id != job.user_id]
    own = UserInLine(_running(session, job.user_id, kind, now), _user_waits_since(session, job, now), job.user_id, place)
    # Each user in line takes one turn per round, and this job's turn comes in the round of its place.
    return place + sum(min(user.waiting, place if user < own else place - 1) for user in others)


def _line(session: Session, kind: JobKind, now: datetime) -> Sequence[UserInLine]:
    heads = (
        select(Job.user_id, func.min(_waits_since()).label("since"), func.count().label("waiting"))
        .where(Job.kind == kind, claimable(now))
        .group_by(Job.user_id)
        .subquery()
    )
    running, served = aliased(Job), aliased(Job)
    count = select(func.count()).where(
        running.user_id == heads.c.user_id,
        running.kind == kind,
        running.status == JobStatus.RUNNING,
        running.lease_expires_at >= now,
    )
    last_turn = select(func.max(served.served_at)).where(served.user_id == heads.c.user_id, served.kind == kind)
    rows = session.execute(select(heads, count.scalar_subquery(), last_turn.scalar_subquery()))
    return [UserInLine(many, _later(since, last), user_id, waiting) for user_id, since, waiting, many, last in rows]


def _own_ahead(session: Session, job: Job, kind: JobKind, now: datetime) -> int:
    since = job.yielded_at or job.created_at
    earlier = case((_waits_since() == since, Job.id < job.id), else_=_waits_since() < since)
    own = select(func.count()).where(Job.user_id == job.user_id, Job.kind == kind, Job.id != job.id, claimable(now), earlier)
    return session.execute(own).scalar_one()


def _running(session: Session, user_id: str, kind: JobKind, now: datetime) -> int:
    running = and_(Job.status == JobStatus.RUNNING, ~expired(now))
    return session.execute(select(func.count()).where(Job.user_id == user_id, Job.kind == kind, running)).scalar_one()


def _user_waits_since(session: Session, job: Job, now: datetime) -> datetime:
    of_user = (Job.user_id == job.user_id, Job.kind == job.kind)
    head = session.execute(select(func.min(_waits_since())).where(*of_user, claimable(now))).scalar_one_or_none()
    last = session.execute(select(func.max(Job.served_at)).where(*of_user)).scalar_one_or_none()
    return _later(head or job.yielded_at or job.created_at, last)


def _later(since: datetime, last_turn: datetime | None) -> datetime:
    return since if last_turn is None else max(since, last_turn)


def _waits_since() -> ColumnElement[datetime]:
    return func.coalesce(Job.yielded_at, Job.created_at)
