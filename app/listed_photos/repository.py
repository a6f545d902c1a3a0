"""Queries on the photos that segmentations list, by the job."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Row, delete, exists, func, select, update
from sqlalchemy.orm import Session

from app.ids import earliest_id
from app.tables import ACTIVE_STATUSES, Image, Job, JobKind, JobStatus, SegmentationItem

COUNTS_KEPT = "item_counts"
"""Where the report of a segmentation has its photos' counts, once it lists them no more."""
_DIRECT = {"synchronize_session": False}


def item_counts(session: Session, user_id: str, job_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Of each job, how many of its photos stand where: job id → status → photos (a status that none has is left out)."""
    statement = (
        select(SegmentationItem.job_id, SegmentationItem.status, func.count())
        .join(Job, SegmentationItem.job_id == Job.id)
        .where(*_these(user_id, job_ids))
        .group_by(SegmentationItem.job_id, SegmentationItem.status)
    )
    counts: dict[str, dict[str, int]] = {job_id: {} for job_id in job_ids}
    for job_id, status, photos in session.execute(statement):
        counts[job_id][status] = photos
    return counts


def listed(session: Session, user_id: str, *, statuses: Sequence[JobStatus] | None = None) -> int:
    """How many photos the user's segmentations list, as often as they are listed; with `statuses`, of those that stand so."""
    statement = select(func.count()).select_from(SegmentationItem).join(Job, SegmentationItem.job_id == Job.id)
    statement = statement.where(Job.user_id == user_id, Job.kind == JobKind.SEGMENTATION)
    return session.execute(statement if statuses is None else statement.where(Job.status.in_(statuses))).scalar_one()


def ended_and_listed(session: Session, user_id: str, *, after: str, limit: int) -> Sequence[Row[str, int]]:
    """(job id, photos) of the user's oldest segmentations past this id that have ended and still list photos, at most `limit`."""
    item = SegmentationItem
    photos = select(func.count()).where(item.job_id == Job.id).correlate(Job).scalar_subquery()
    statement = (
        select(Job.id, photos)
        .where(Job.user_id == user_id, Job.kind == JobKind.SEGMENTATION, Job.status.not_in(ACTIVE_STATUSES), Job.id > after)
        .where(exists().where(item.job_id == Job.id))
        .order_by(Job.id)
        .limit(limit)
    )
    return session.execute(statement).all()


def listing_since(session: Session, before: datetime, *, after: str, limit: int) -> Sequence[str]:
    """The ids of up to `limit` segmentations of all users, past this id, that were made before this time and still list photos."""
    # From the photos, whose primary key begins with their job's id, and ids sort by time: neither what is younger is looked at, nor
    # the jobs of all the years that list none any more.
    oldest = select(SegmentationItem.job_id).where(SegmentationItem.job_id > after, SegmentationItem.job_id < earliest_id(before))
    return session.scalars(oldest.distinct().order_by(SegmentationItem.job_id).limit(limit)).all()


def ended_before(session: Session, job_ids: Sequence[str], before: datetime) -> Sequence[Row[str, str]]:
    """(user id, job id) of those of the jobs that ended before this time."""
    ended = (Job.id.in_(job_ids), Job.finished_at < before, Job.status.not_in(ACTIVE_STATUSES))
    return session.execute(select(Job.user_id, Job.id).where(*ended).order_by(Job.id)).all()


def shorten(session: Session, user_id: str, job_ids: Sequence[str]) -> None:
    """Keep of these segmentations' photos the counts alone, in their jobs' reports; one that has not ended stays as it is.

    Once a transaction, and for some hundred jobs at most: the rows are locked in one order, the jobs and then their photos.
    """
    # In one order, so that two who shorten the same do not wait for each other.
    of_ended = select(Job.id, Job.report).where(*_these(user_id, job_ids), Job.status.not_in(ACTIVE_STATUSES)).order_by(Job.id)
    ended = session.execute(of_ended.with_for_update()).all()
    reports = dict(tuple(row) for row in ended)
    items = SegmentationItem.job_id.in_(list(reports))
    # Whoever deletes a photo locks it before what goes with it.
    photos = select(Image.id).where(Image.user_id == user_id, Image.id.in_(select(SegmentationItem.image_id).where(items)))
    session.execute(photos.order_by(Image.id).with_for_update(read=True, key_share=True))
    for job_id, counts in item_counts(session, user_id, list(reports)).items():
        if not counts:
            continue  # another was faster, and has kept them
        kept = update(Job).where(Job.user_id == user_id, Job.id == job_id)
        session.execute(kept.values(report={**(reports[job_id] or {}), COUNTS_KEPT: counts}), execution_options=_DIRECT)
    session.execute(delete(SegmentationItem).where(items), execution_options=_DIRECT)


def _these(user_id: str, job_ids: Sequence[str]) -> tuple[ColumnElement[bool], ...]:
    # The kind is one of an index's columns: without it SQLite reads all jobs that the user ever had.
    return (Job.user_id == user_id, Job.kind == JobKind.SEGMENTATION, Job.id.in_(job_ids))
