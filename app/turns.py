"""Whose turn it is. A ring says only that there is work: the worker it wakes takes the job whose turn it is.

Users wait in one line per kind of job. First comes who has fewest jobs running, then who has waited longest: since their
last turn ended, or since their job came where that is later. So a user's thousand jobs delay another's first by the one
turn that is going on, and nobody starves, because every wait only grows. Among one user's jobs the oldest goes first;
one that gave way (`jobs.yield_turn`) waits from then on.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from heapq import nsmallest

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session, aliased

from app.clock import utc_now
from app.jobs import claimable, expired
from app.remembered import Recent
from app.tables import ACTIVE_STATUSES, Job, JobKind, JobStatus
from app.tenancy import for_everyone

_RECENT_SECONDS = 1.0
FEW = 8
"""So many free workers at once need not ask again."""


@dataclass(frozen=True, order=True)
class UserInLine:
    """One user with claimable jobs; smaller comes first."""

    running: int
    waits_since: datetime
    user_id: str
    waiting: int


def next_jobs(session: Session, kind: JobKind, few: int = FEW) -> list[str]:
    """The `few` jobs that free workers should take now, the first one first; claiming each can still fail, where another was faster."""
    now = utc_now()
    users = nsmallest(few, _line(session, kind, now))
    turns: list[tuple[int, int, UserInLine, str]] = []
    for user in users:
        of_user = select(Job.id).where(*_of_user(user.user_id, kind), *_takeable(now)).order_by(_waits_since(), Job.id)
        # A user's second job comes when the first is running.
        jobs = session.scalars(of_user.limit(-(-few // len(users))))
        turns += [(user.running + later, later, user, job_id) for later, job_id in enumerate(jobs)]
    return [job_id for *_turn, job_id in sorted(turns)[:few]]


def somebody_waits(session: Session, kind: JobKind) -> bool:
    """Whether there is a job that a worker could take at once."""
    with for_everyone():  # asked while a worker acts for one user
        return session.execute(select(Job.id).where(Job.kind == kind, claimable(utc_now())).limit(1)).first() is not None


class RecentLines:
    """The line of each kind, at most a second old: read once for all who ask for places in this process."""

    def __init__(self, seconds: float = _RECENT_SECONDS) -> None:
        self._lines: dict[JobKind, Recent[Sequence[UserInLine]]] = {kind: Recent(seconds) for kind in JobKind}

    def of(self, session: Session, kind: JobKind) -> Sequence[UserInLine]:
        """The users in line, in no order; by this session where nobody has read it of late, because one more could wait for its own."""
        return self._lines[kind].get(lambda: _line(session, kind, utc_now()))


class Places:
    """Where one user's jobs of a kind are in line: 1 for the next one, and so on, in the order of `next_jobs`.

    Jobs that come later can go first: those of users who have waited longer, or who have fewer running. The database is asked once,
    however many jobs are looked up. With `lines`, where the other users stand may be a second old.
    """

    def __init__(self, session: Session, user_id: str, kind: JobKind, lines: RecentLines | None = None) -> None:
        self._session, self._user_id, self._kind, self._now = session, user_id, kind, utc_now()
        self._lines = lines

    def of(self, job: Job) -> int | None:
        """The job's place, from 1; None when it is not queued."""
        if job.status != JobStatus.QUEUED:
            return None
        place = 1 + bisect_left(self._own, (job.yielded_at or job.created_at, job.id))
        first = self._own[0][0] if self._own else job.yielded_at or job.created_at
        own = UserInLine(self._running, _later(first, self._last_turn), self._user_id, place)
        # Each user in line takes one turn per round, and this job's turn comes in the round of its place.
        return place + sum(min(user.waiting, place if user < own else place - 1) for user in self._others)

    @cached_property
    def _others(self) -> list[UserInLine]:
        line = _line(self._session, self._kind, self._now) if self._lines is None else self._lines.of(self._session, self._kind)
        return [user for user in line if user.user_id != self._user_id]

    @cached_property
    def _own(self) -> list[tuple[datetime, str]]:
        statement = select(_waits_since(), Job.id).where(*self._of_user, *_takeable(self._now))
        return [(since, job_id) for since, job_id in self._session.execute(statement.order_by(_waits_since(), Job.id))]

    @cached_property
    def _running(self) -> int:
        running = and_(Job.status == JobStatus.RUNNING, ~expired(self._now))
        return self._session.execute(select(func.count()).where(*self._of_user, running)).scalar_one()

    @cached_property
    def _last_turn(self) -> datetime | None:
        return self._session.execute(select(func.max(Job.served_at)).where(*self._of_user)).scalar_one_or_none()

    @property
    def _of_user(self) -> tuple[ColumnElement[bool], ...]:
        return _of_user(self._user_id, self._kind)


def _of_user(user_id: str, kind: JobKind) -> tuple[ColumnElement[bool], ...]:
    return (Job.user_id == user_id, Job.kind == kind)


def _takeable(now: datetime) -> tuple[ColumnElement[bool], ...]:
    # The statuses follow from `claimable`, but not for SQLite, which would read all jobs that the user ever had.
    return (Job.status.in_(ACTIVE_STATUSES), claimable(now))


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
    with for_everyone():  # a place in line compares users
        rows = session.execute(select(heads, count.scalar_subquery(), last_turn.scalar_subquery())).all()
    return [UserInLine(many, _later(since, last), user_id, waiting) for user_id, since, waiting, many, last in rows]


def _later(since: datetime, last_turn: datetime | None) -> datetime:
    return since if last_turn is None else max(since, last_turn)


def _waits_since() -> ColumnElement[datetime]:
    return func.coalesce(Job.yielded_at, Job.created_at)
