"""Queries on segmentations and their photos; every one is of one user."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Row, func, insert, select
from sqlalchemy.orm import Session

from app.tables import ACTIVE_STATUSES, Image, ItemStatus, Job, JobKind, JobStatus, Mask, SegmentationItem


def add_items(session: Session, job: Job, image_ids: Sequence[str]) -> None:
    """Put these photos into the job, in this order."""
    rows = [
        {"job_id": job.id, "image_id": image_id, "position": position, "status": ItemStatus.PENDING.value}
        for position, image_id in enumerate(image_ids)
    ]
    session.execute(insert(SegmentationItem), rows)


def items(session: Session, user_id: str, job_id: str) -> Sequence[Row[str, str, str, str | None, str | None]]:
    """(image id, file name, status, error code, error reason) of the job's photos, in the order of the request."""
    item = SegmentationItem
    statement = (
        select(item.image_id, Image.filename, item.status, item.error_code, item.error_reason)
        .join(Image, SegmentationItem.image_id == Image.id)
        .where(SegmentationItem.job_id == job_id, Image.user_id == user_id)
        .order_by(SegmentationItem.position)
    )
    return session.execute(statement).all()


def image_ids(session: Session, user_id: str, job_id: str) -> set[str]:
    """The photos of the job that are still there."""
    statement = select(SegmentationItem.image_id).join(Job, SegmentationItem.job_id == Job.id)
    return set(session.scalars(statement.where(Job.user_id == user_id, SegmentationItem.job_id == job_id)))


def unfinished(session: Session, user_id: str) -> int:
    """How many of the user's segmentations have not ended."""
    statement = select(func.count()).where(Job.user_id == user_id, Job.kind == JobKind.SEGMENTATION, Job.status.in_(ACTIVE_STATUSES))
    return session.execute(statement).scalar_one()


def has_ended_in_vain(session: Session, user_id: str, job_id: str) -> bool:
    """Whether nothing more will happen to the segmentation, and there is no mask of it: it failed, was cancelled, or its masks are gone."""
    of_job = select(Job.status).where(Job.user_id == user_id, Job.id == job_id)
    if session.execute(of_job).scalar_one_or_none() in ACTIVE_STATUSES:
        return False
    made = (
        select(Mask.id)
        .join(SegmentationItem, SegmentationItem.image_id == Mask.image_id)
        .join(Job, Job.id == SegmentationItem.job_id)
        .where(Job.user_id == user_id, Job.id == job_id, Job.status == JobStatus.SUCCEEDED, SegmentationItem.status == ItemStatus.DONE)
        .where(Mask.user_id == user_id, Mask.model_version == Job.model_version, Mask.base == Job.base)
    )
    return session.execute(made.limit(1)).first() is None


def pending_jobs_of(session: Session, user_id: str, image_id: str) -> Sequence[Job]:
    """The unfinished segmentations that will make a mask of this photo, newest first."""
    statement = (
        select(Job)
        .join(SegmentationItem, SegmentationItem.job_id == Job.id)
        .where(
            Job.user_id == user_id,
            Job.kind == JobKind.SEGMENTATION,
            Job.status.in_(ACTIVE_STATUSES),
            SegmentationItem.image_id == image_id,
            SegmentationItem.status == ItemStatus.PENDING,
        )
        .order_by(Job.id.desc())
    )
    return session.scalars(statement).all()
