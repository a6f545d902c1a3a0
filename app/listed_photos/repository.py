"""Queries on the photos that segmentations list, by the job."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.orm import Session

from app.ids import earliest_id
from app.tables import ACTIVE_STATUSES, Job, JobKind, SegmentationItem

COUNTS_KEPT = "item_counts"
"""Where the report of a segmentation has its photos' counts, once it lists them no more."""
_AT_ONCE = 500
_LOOKED_AT = 100
_DIRECT = {"synchronize_session": False}


def item_counts(session: Session, user_id: str, job_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Of each job, how many of its photos stand where: job id → status → photos (a status that none has is left out)."""
    statement = (
        select(SegmentationItem.job_id, SegmentationItem.status, func.count())
        .join(Job, SegmentationItem.job_id == Job.id)
        .where(Job.user_id == user_id, SegmentationItem.job_id.in_(job_ids))
        .group_by(SegmentationItem.job_id, SegmentationItem.status)
    )
    counts: dict[str, dict[str, int]] = {job_id: {} for job_id in job_ids}
    for job_id, status, photos in session.execute(statement):
        counts[job_id][status] = photos
    return counts


def listed(session: Session, user_id: str) -> int:
    """How many photos the user's segmentations list, those that have ended too; as often as they are listed."""
    statement = select(func.count()).select_from(SegmentationItem).join(Job, SegmentationItem.job_id == Job.id)
    return session.execute(statement.where(Job.user_id == user_id, Job.kind == JobKind.SEGMENTATION)).scalar_one()


def ended_and_listed(session: Session, user_id: str) -> Sequence[Row[str, int]]:
    """(job id, photos) of the user's segmentations that have ended and still list photos, the oldest first."""
    statement = (
        select(SegmentationItem.job_id, func.count())
        .join(Job, SegmentationItem.job_id == Job.id)
        .where(Job.user_id == user_id, Job.kind == JobKind.SEGMENTATION, Job.status.not_in(ACTIVE_STATUSES))
        .group_by(SegmentationItem.job_id)
        .order_by(SegmentationItem.job_id)
    )
    return session.execute(statement).all()


def ended_long_ago(session: Session, before: datetime, limit: int) -> Sequence[Row[str, str]]:
    """(user id, job id) of segmentations of all users that ended before this time and still list photos."""
    # From the photos, whose primary key begins with their job's id, and ids sort by time: neither what is younger is looked at, nor
    # the jobs of all the years that list none any more.
    oldest = select(SegmentationItem.job_id).where(SegmentationItem.job_id < earliest_id(before)).distinct()
    oldest = oldest.order_by(SegmentationItem.job_id).limit(_LOOKED_AT)
    statement = (
        select(Job.user_id, Job.id)
        .where(Job.id.in_(oldest), Job.finished_at < before, Job.status.not_in(ACTIVE_STATUSES))
        .order_by(Job.id)
        .limit(limit)
    )
    return session.execute(statement).all()


def shorten(session: Session, user_id: str, job_ids: Sequence[str]) -> None:
    """Keep of these segmentations' photos the counts alone, in their jobs' reports; one that has not ended stays as it is."""
    for start in range(0, len(job_ids), _AT_ONCE):
        of_user = Job.user_id == user_id, Job.status.not_in(ACTIVE_STATUSES), Job.id.in_(job_ids[start : start + _AT_ONCE])
        # In one order, so that two who shorten the same do not wait for each other.
        ended = session.scalars(select(Job.id).where(*of_user).order_by(Job.id).with_for_update()).all()
        for job_id, counts in item_counts(session, user_id, ended).items():
            if not counts:
                continue  # another was faster, and has kept them
            kept = update(Job).where(Job.user_id == user_id, Job.id == job_id).values(report={COUNTS_KEPT: counts})
            session.execute(kept, execution_options=_DIRECT)
        session.execute(delete(SegmentationItem).where(SegmentationItem.job_id.in_(ended)), execution_options=_DIRECT)
