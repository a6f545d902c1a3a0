"""Queries of an erasure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, or_, select, update
from sqlalchemy.orm import Session

from app.tables import ACTIVE_STATUSES, Erasure, IdempotencyKey, Image, Job, JobStatus, Mask, PersonalModel, SegmentationItem, Token, User

_REMOVED: dict[str, type[Any]] = {"masks": Mask, "models": PersonalModel, "images": Image, "tokens": Token}
# So many go in one transaction: on SQLite nobody else writes meanwhile.
_ROWS_AT_ONCE = 2000
_DIRECT = {"synchronize_session": False}


def get(session: Session, erasure_id: str) -> Erasure | None:
    """One erasure."""
    return session.get(Erasure, erasure_id)


def of_user(session: Session, user_id: str) -> Erasure | None:
    """The erasure of this user that goes on."""
    return session.execute(select(Erasure).where(Erasure.user_id == user_id)).scalar_one_or_none()


def begun(session: Session) -> Sequence[str]:
    """Users who are marked as erased and have no erasure yet."""
    return session.scalars(select(User.id).where(User.erased_at.is_not(None), ~User.id.in_(_erased_users()))).all()


def _erased_users() -> Select[Any]:
    return select(Erasure.user_id).where(Erasure.user_id.is_not(None))


def take_unfinished(session: Session, now: datetime, *, untouched_since: datetime) -> Sequence[str]:
    """Erasures that nobody has been at of late; they are the caller's for a while."""
    statement = (
        update(Erasure)
        .where(Erasure.finished_at.is_(None), Erasure.attempted_at < untouched_since)
        .values(attempted_at=now)
        .returning(Erasure.id)
    )
    return session.scalars(statement, execution_options=_DIRECT).all()


def forget_finished(session: Session, before: datetime) -> None:
    """Remove the reports that are old."""
    session.execute(delete(Erasure).where(Erasure.finished_at < before))


def active_jobs(session: Session, user_id: str) -> Sequence[Job]:
    """The user's jobs that are queued or running."""
    return session.scalars(select(Job).where(Job.user_id == user_id, Job.status.in_(ACTIVE_STATUSES))).all()


def job_ids(session: Session, user_id: str) -> Sequence[str]:
    """All the user's jobs."""
    return session.scalars(select(Job.id).where(Job.user_id == user_id)).all()


def is_held(session: Session, user_id: str, now: datetime) -> bool:
    """Whether a worker that is alive is still at a job of the user."""
    held = select(Job.id).where(Job.user_id == user_id, Job.status == JobStatus.RUNNING, Job.lease_expires_at >= now)
    return session.execute(held.limit(1)).first() is not None


def delete_some(session: Session, user_id: str) -> dict[str, int] | None:
    """Remove some of the rows of which a user may have very many; returns how many of what, None where there are no more.

    The masks go before the photos, which would take them along; and so do the jobs that have ended, with the lists of their photos.
    """
    masks = session.scalars(select(Mask.id).where(Mask.user_id == user_id).limit(_ROWS_AT_ONCE)).all()
    if masks:
        return _delete_these(session, "masks", Mask, masks)
    jobs = _some_jobs(session, user_id)
    if jobs:
        return _delete_these(session, "jobs", Job, jobs)
    images = session.scalars(select(Image.id).where(Image.user_id == user_id).limit(_ROWS_AT_ONCE)).all()
    return _delete_these(session, "images", Image, images) if images else None


def _some_jobs(session: Session, user_id: str) -> Sequence[str]:
    """As many jobs that have ended as list so many photos together; one at least."""
    photos = select(func.count()).where(SegmentationItem.job_id == Job.id).correlate(Job).scalar_subquery()
    ended = select(Job.id, photos).where(Job.user_id == user_id, Job.status.not_in(ACTIVE_STATUSES)).limit(_ROWS_AT_ONCE)
    found = session.execute(ended).all()
    listed = list(accumulate(of_job for _job_id, of_job in found))
    return [job_id for job_id, _photos in found[: bisect_left(listed, _ROWS_AT_ONCE) + 1]]


def _delete_these(session: Session, name: str, table: type[Mask | Job | Image], ids: Sequence[str]) -> dict[str, int]:
    session.execute(delete(table).where(table.id.in_(ids)), execution_options=_DIRECT)
    return {name: len(ids)}


def delete_content(session: Session, user_id: str) -> dict[str, int]:
    """Remove the rows of masks, models, photos and tokens, and what requests made; returns how many of each."""
    session.execute(delete(IdempotencyKey).where(or_(IdempotencyKey.user_id == user_id, IdempotencyKey.owner == user_id)))
    return {name: _delete(session, table, table.user_id == user_id) for name, table in _REMOVED.items()}


def delete_user(session: Session, user_id: str) -> dict[str, int]:
    """Remove the jobs and the user; the foreign keys take with them what is left."""
    jobs = _delete(session, Job, Job.user_id == user_id)
    session.execute(delete(User).where(User.id == user_id))
    return {"jobs": jobs}


def _delete(session: Session, table: type[Any], where: ColumnElement[bool]) -> int:
    count = session.execute(select(func.count()).select_from(table).where(where)).scalar_one()
    session.execute(delete(table).where(where), execution_options=_DIRECT)
    return count
